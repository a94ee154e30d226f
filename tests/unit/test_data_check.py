"""The check of a whole data set: what is dropped, what is kept, and when it is too much."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from search.data.check import (
    UnusableDataError,
    check_images,
    copies_warning,
    read_problems,
    write_problems,
)
from search.data.duplicates import leaks
from search.data.index import build_index, read_index, write_index
from search.data.rendered_cars import draw_image as draw_car
from search.data.splits import PARTS, make_split
from search.records import CheckedDataset, ImageRow
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


def test_given_test_split_is_never_thinned(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 4, "test": 3})
    shutil.copy(root / "test" / "a" / "image_000.png", root / "test" / "a" / "z again.png")
    shutil.copy(root / "test" / "a" / "image_001.png", root / "test" / "b" / "odd.png")
    shutil.copy(root / "test" / "b" / "image_002.png", root / "train" / "a" / "stray.png")
    checked = check(root)
    assert sum(row.split == "test" for row in checked.index.rows) == 8
    assert found(checked) >= {
        ("z again.png", "exact_duplicate", "kept"),
        ("image_001.png", "conflicting_label", "kept"),
        ("odd.png", "conflicting_label", "kept"),
        ("image_002.png", "conflicting_label", "kept"),
        ("stray.png", "conflicting_label", "dropped"),
    }
    assert {p.path for p in checked.problems if p.action == "dropped"} == {"train/a/stray.png"}


def test_pairs_name_the_partner(tmp_path: Path) -> None:
    one = make_folder(tmp_path / "one", size=SIZE, per_class=4)
    two = make_folder(tmp_path / "two", size=SIZE, per_class=4, seed=1)
    shutil.copy(one / "a" / "image_003.png", two / "a" / 'same, "again".png')
    with Image.open(one / "b" / "image_002.png") as image:
        ImageOps.mirror(image).save(two / "a" / "twin.png")
    checked = check_images(build_index([one, two]), max_dropped=0.1, num_workers=2)
    assert {(p.kind, p.path, p.root, p.other, p.other_root) for p in checked.problems} == {
        ("exact_duplicate", 'a/same, "again".png', 1, "a/image_003.png", 0),
        ("conflicting_label", "a/twin.png", 1, "b/image_002.png", 0),
        ("conflicting_label", "b/image_002.png", 0, "a/twin.png", 1),
    }
    write_problems(tmp_path / "problems.csv", checked.problems)
    assert read_problems(tmp_path / "problems.csv") == checked.problems


def test_near_leaks_go_from_train(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", size=SIZE, splits={"train": 5, "test": 4})
    with Image.open(root / "test" / "a" / "image_002.png") as image:
        ImageOps.mirror(image).save(root / "train" / "a" / "twin.jpg")
    checked = check(root)
    assert found(checked) == {("twin.jpg", "leak", "dropped")}
    assert sum(row.split == "test" for row in checked.index.rows) == 8


def test_copies_of_a_leaked_image_stay_together(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", size=SIZE, splits={"train": 5, "test": 4})
    car = Image.fromarray(draw_car("suv", 0)[0])
    car.save(root / "test" / "a" / "car.png")
    for k in range(1, 9):  # each is cut a little more than the one before it
        car.crop((car.width * k // 25, 0, *car.size)).save(root / "train" / "a" / f"cut {k}.png")
    checked = check(root)
    left = {Path(row.path).name: row for row in checked.index.rows if "cut" in row.path}
    assert "cut 1.png" not in left
    assert "cut 8.png" in left
    assert len({row.group for row in left.values()}) == 1
    groups = [(row.group, row.split) for row in checked.index.rows]
    assert len({group for group, _ in groups}) == len(set(groups))


def test_look_alikes_of_train_images_without_a_split_share_their_group(tmp_path: Path) -> None:
    given = make_folder(tmp_path / "given", size=SIZE, splits={"train": 12, "test": 3})
    plain = make_folder(tmp_path / "plain", size=SIZE, per_class=3, seed=1)
    for k in range(10):
        with Image.open(given / "train" / "a" / f"image_{k:03d}.png") as image:
            ImageOps.mirror(image).save(plain / "a" / f"twin {k}.png")
    index = check_images(build_index([given, plain]), max_dropped=0, num_workers=2).index
    number = {row.path: k for k, row in enumerate(index.rows)}
    pairs = [(number[f"train/a/image_{k:03d}.png"], number[f"a/twin {k}.png"]) for k in range(10)]
    assert all(index.rows[i].group == index.rows[j].group for i, j in pairs)
    split = make_split(index, val_fraction=0.4, test_fraction=0.2, seed=0)
    part_of = {int(i): part for part in PARTS for i in getattr(split, part)}
    assert all(part_of[i] == part_of[j] for i, j in pairs)
    assert "val" in {part_of[i] for i, _ in pairs}


def test_an_image_that_is_dropped_itself_makes_no_leak() -> None:
    rows = [ImageRow(f"{part}/a/1.png", 0, "a", part) for part in ("test", "train", "val")]
    found = leaks(rows, np.array([[0, 1], [1, 2]]))  # val looks like train, and train like test
    assert [(k, problem.other) for k, problem in found.items()] == [(1, "test/a/1.png")]
    assert set(leaks(rows, np.array([[0, 1], [1, 2], [0, 2]]))) == {1, 2}


def test_vanishing_class_and_too_many_dropped(root: Path) -> None:
    for path in (root / "b").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UnusableDataError) as error:
        check(root, max_dropped=0.1)
    text = str(error.value)
    assert "class b: every training image would be dropped (4 unreadable)" in text
    assert "max_dropped: at most 10.0% of the images may be dropped, got 50.0%" in text
    assert len(error.value.checked.index.rows) == 4
    assert len(error.value.checked.problems) == 4


def test_class_whose_training_images_all_leaked(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 3, "test": 3})
    for path in (root / "train" / "a").iterdir():
        shutil.copy(root / "test" / "a" / path.name, path)
    with pytest.raises(UnusableDataError, match=r"class a: every training .* \(3 leak\)"):
        check(root)


def test_copies_are_not_lost_images_but_many_are_worth_a_warning(root: Path) -> None:
    for k in range(4):
        shutil.copy(root / "a" / "image_001.png", root / "a" / f"copy {k}.png")
    checked = check(root, max_dropped=0.0)
    assert len(checked.index.rows) == 8
    assert "4 of 12 images (33%) are copies" in copies_warning(checked)
    assert copies_warning(replace(checked, problems=checked.problems[:0])) == ""


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
    (root / "a" / "car\rriage, \r\n.png").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    index = build_index([root])
    checked = check_images(
        index, max_dropped=0.9, num_workers=2, on_progress=lambda *done: calls.append(done)
    )
    assert calls[0] == calls[-1] == (10, 10)  # once as they are opened, once as they are compared
    assert [done for done, _ in calls[1:]] == sorted(done for done, _ in calls[1:])
    assert len(calls) > 5
    write_index(tmp_path / "index.csv", checked.index)
    write_problems(tmp_path / "problems.csv", checked.problems)
    assert read_index(tmp_path / "index.csv", [root]) == checked.index
    assert read_problems(tmp_path / "problems.csv") == checked.problems


def test_one_thread_and_many_agree(root: Path) -> None:
    index = build_index([root])
    assert check_images(index, max_dropped=0.1, num_workers=1) == check_images(
        index, max_dropped=0.1, num_workers=4
    )


def test_kept_rows_differ_from_the_index_only_where_checked(root: Path) -> None:
    index = build_index([root])
    blank = [
        replace(row, width_px=0, height_px=0, mode="", num_bytes=0, sha256="", phash="", group=-1)
        for row in check(root).index.rows
    ]
    assert tuple(blank) == index.rows
