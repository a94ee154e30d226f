"""Every rule of the check, on files that break it, and duplicates planted in many forms."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from search.data.check import check_images, read_problems, write_problems
from search.data.duplicates import group_numbers, near_pairs
from search.data.index import build_index, read_index, write_index
from search.errors import DatasetError
from search.records import CheckedDataset
from tests.images import draw_image, make_folder

SIZE = (120, 96)


def check(root: Path, max_dropped: float = 0.9) -> CheckedDataset:
    return check_images(build_index([root]), max_dropped=max_dropped, num_workers=2)


def found(checked: CheckedDataset) -> set[tuple[str, str, str]]:
    return {(Path(p.path).name, p.kind, p.action) for p in checked.problems}


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(draw_image(seed % 5, size, np.random.default_rng(seed)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data", per_class=4)


def test_clean_data_has_no_problems(root: Path) -> None:
    checked = check(root)
    assert checked.problems == ()
    row = checked.index.rows[0]
    assert (row.width_px, row.height_px, row.mode) == (40, 48, "RGB")
    assert row.num_bytes == (root / row.path).stat().st_size
    assert len(row.sha256) == 64
    assert len(row.phash) == 16
    assert sorted(row.group for row in checked.index.rows) == list(range(8))


def truncate(path: Path) -> None:
    picture(50, (400, 300)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-2000])


def tiny_bomb(path: Path) -> None:
    """Write a PNG whose header claims 60,000 × 60,000 pixels."""
    picture(51).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def animate(path: Path) -> None:
    picture(52).save(path, save_all=True, append_images=[picture(53), picture(54)])


def rotate(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(55).save(path, exif=exif)


def deep(path: Path) -> None:
    values = np.asarray(picture(56).convert("L"), np.uint16) * 257
    Image.fromarray(values).save(path)


BROKEN: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("no bytes.jpg", lambda path: path.write_bytes(b""), "unreadable", "dropped"),
    ("not an image.png", lambda path: path.write_text("hello"), "unreadable", "dropped"),
    ("dangling.jpg", lambda path: path.symlink_to("nowhere"), "unreadable", "dropped"),
    ("truncated.jpg", truncate, "unreadable", "dropped"),
    ("bomb.png", tiny_bomb, "too_large", "dropped"),
    ("small.png", lambda path: picture(57, (15, 200)).save(path), "too_small", "dropped"),
    ("long.png", lambda path: picture(58, (300, 40)).save(path), "extreme_aspect", "kept"),
    ("really a png.jpg", lambda path: picture(59).save(path, "PNG"), "wrong_extension", "kept"),
    ("moving.gif", animate, "animated", "converted"),
    ("print.jpg", lambda path: picture(60).convert("CMYK").save(path), "cmyk", "converted"),
    ("deep.png", deep, "16_bit", "converted"),
    ("glass.png", lambda path: picture(61).convert("RGBA").save(path), "alpha", "converted"),
    ("few.png", lambda path: picture(62).quantize(16).save(path), "palette", "converted"),
    ("turned.jpg", rotate, "exif_rotation", "converted"),
]


@pytest.mark.parametrize(("name", "make", "kind", "action"), BROKEN, ids=[b[0] for b in BROKEN])
def test_rules(
    root: Path, name: str, make: Callable[[Path], object], kind: str, action: str
) -> None:
    make(root / "a" / name)
    checked = check(root)
    assert (name, kind, action) in found(checked)
    kept = {Path(row.path).name for row in checked.index.rows}
    assert (name in kept) == (action != "dropped")
    assert len(kept) == 4 + (action != "dropped")


def test_exif_rotation_counts_in_the_size(root: Path) -> None:
    rotate(root / "a" / "turned.jpg")
    row = next(row for row in check(root).index.rows if row.path.endswith("turned.jpg"))
    assert (row.width_px, row.height_px) == (96, 120)


def test_name_that_is_not_utf8(root: Path) -> None:
    (root / "a" / "image_000.png").rename(root / "a" / "bad\udcff.png")
    checked = check(root)
    assert {(p.path, p.kind) for p in checked.problems} == {("a/bad\\udcff.png", "bad_name")}
    write_problems(root.parent / "problems.csv", checked.problems)


def test_exact_copies_in_a_class_leave_one(root: Path) -> None:
    for k in range(3):
        shutil.copy(root / "a" / "image_001.png", root / "a" / f"copy {k}.png")
    checked = check(root)
    assert len([row for row in checked.index.rows if row.label == "a"]) == 4
    assert [p.kind for p in checked.problems] == ["exact_duplicate"] * 3


def test_same_content_in_two_classes_goes(root: Path) -> None:
    shutil.copy(root / "a" / "image_001.png", root / "b" / "stray.png")
    checked = check(root)
    assert found(checked) == {
        ("image_001.png", "conflicting_label", "dropped"),
        ("stray.png", "conflicting_label", "dropped"),
    }
    assert len(checked.index.rows) == 7


def test_exact_leaks_leave_test_whole(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 4, "val": 3, "test": 3})
    shutil.copy(root / "test" / "a" / "image_000.png", root / "train" / "a" / "leak1.png")
    shutil.copy(root / "test" / "a" / "image_000.png", root / "val" / "a" / "leak2.png")
    shutil.copy(root / "train" / "b" / "image_000.png", root / "val" / "b" / "leak3.png")
    checked = check(root)
    assert found(checked) == {(f"leak{k}.png", "leak", "dropped") for k in (1, 2, 3)}
    assert len(checked.index.rows) == 20


DISGUISES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((70, 56)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "mirrored": ImageOps.mirror,
    "mirrored and resized": lambda image: ImageOps.mirror(image).resize((200, 160)),
    "recompressed": lambda image: image,
}


@pytest.mark.parametrize("disguise", list(DISGUISES))
def test_near_duplicates_share_a_group(tmp_path: Path, disguise: str) -> None:
    root = make_folder(tmp_path / "data", per_class=5, size=SIZE)
    with Image.open(root / "a" / "image_002.png") as image:
        DISGUISES[disguise](image.convert("RGB")).save(root / "a" / "twin.jpg", quality=60)
    checked = check(root)
    groups = {Path(row.path).name: row.group for row in checked.index.rows if row.label == "a"}
    assert groups["twin.jpg"] == groups["image_002.png"]
    assert len({row.group for row in checked.index.rows}) == 10
    assert found(checked) == {
        ("twin.jpg", "near_duplicate", "kept"),
        ("image_002.png", "near_duplicate", "kept"),
    }


def test_near_leaks_go_from_train(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", size=SIZE, splits={"train": 5, "test": 4})
    with Image.open(root / "test" / "a" / "image_002.png") as image:
        ImageOps.mirror(image).save(root / "train" / "a" / "twin.jpg")
    checked = check(root)
    assert found(checked) == {("twin.jpg", "leak", "dropped")}
    assert sum(row.split == "test" for row in checked.index.rows) == 8


def test_vanishing_class_and_too_many_dropped(root: Path) -> None:
    for path in (root / "b").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DatasetError) as error:
        check(root, max_dropped=0.1)
    text = str(error.value)
    assert "class b: every image would be dropped (4 unreadable)" in text
    assert "max_dropped: at most 10.0% of the images may be dropped, got 50.0%" in text


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one, two = (make_folder(tmp_path / name, per_class=4) for name in ("one", "two"))
    for k, path in enumerate(sorted((two / "a").iterdir(), reverse=True)):
        path.rename(two / "a" / f"renamed {k}.png")
    same = check(one).fingerprint
    assert check(two).fingerprint == same
    picture(1).save(two / "a" / "one more.png")
    assert check(two).fingerprint != same


def test_tables_round_trip_and_progress(root: Path, tmp_path: Path) -> None:
    (root / "a" / 'line\nbreak, "quoted".png').write_bytes(b"")
    calls: list[tuple[int, int]] = []
    index = build_index([root])
    checked = check_images(
        index, max_dropped=0.9, num_workers=2, on_progress=lambda *done: calls.append(done)
    )
    assert calls[-1] == (9, 9)
    write_index(tmp_path / "index.csv", checked.index)
    write_problems(tmp_path / "problems.csv", checked.problems)
    assert read_index(tmp_path / "index.csv", [root]) == checked.index
    assert read_problems(tmp_path / "problems.csv") == checked.problems


def test_one_thread_and_many_agree(root: Path) -> None:
    index = build_index([root])
    assert check_images(index, max_dropped=0.1, num_workers=1) == check_images(
        index, max_dropped=0.1, num_workers=4
    )


def test_pair_search_finds_what_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 400, dtype=np.uint64)
    for k in range(200):  # neighbours at 0 to 14 bits
        flips = np.bitwise_or.reduce(
            np.uint64(1) << rng.choice(64, k % 15, replace=False).astype(np.uint64), initial=0
        )
        hashes[200 + k] = hashes[k] ^ np.uint64(flips)
    same = np.tile(rng.integers(0, 255, (1, 16, 16, 3), dtype=np.uint8), (400, 1, 1, 1))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(distance <= 11, 1))
    unlike = rng.integers(0, 2**63, 400, dtype=np.uint64)
    assert near_pairs(hashes, unlike, same).tolist() == expected.tolist()


def test_flat_images_are_never_alike() -> None:
    same = np.zeros(50, np.uint64)
    flat = np.full((50, 16, 16, 3), 255, np.uint8)
    assert len(near_pairs(same, same, flat)) == 0


def test_groups_are_numbered_by_their_first_image() -> None:
    pairs = np.array([[1, 4], [4, 5], [0, 2]])
    assert group_numbers(6, pairs).tolist() == [0, 1, 0, 2, 1, 1]
    assert group_numbers(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_kept_rows_differ_from_the_index_only_where_checked(root: Path) -> None:
    index = build_index([root])
    blank = [
        replace(row, width_px=0, height_px=0, mode="", num_bytes=0, sha256="", phash="", group=-1)
        for row in check(root).index.rows
    ]
    assert tuple(blank) == index.rows
