"""The image store under attack: kill -9, a full disk, two builders, damage, files cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data.cache import build_cache, open_cache
from search.data.index import build_index
from search.data.loader import open_trial_data
from search.data.store import bytes_there, choose_format, chunk_size, open_images, store_bytes
from search.errors import DatasetError, ResourceError
from search.records import DatasetIndex, ImageCache, write_json
from tests.images import make_folder

REPO = Path(__file__).resolve().parents[2]
CHUNK = 64
BUILD = """
import os, resource, sys
from pathlib import Path
from search.data.cache import build_cache
from search.data.index import build_index

root, folder, attack = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
index = build_index([root])
if attack == "hang":  # in the middle of the third chunk
    index.file(150).unlink()
    os.mkfifo(index.file(150))
elif attack.isdigit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(attack), int(attack)))
build_cache(
    index, folder, size_px=16, fit="crop", num_workers=1,
    on_progress=lambda done, total: print(done, total, flush=True),
)
"""


def start(root: Path, folder: Path, attack: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(root), str(folder), attack]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPO, stdout=pipe, stderr=pipe, text=True)


def build(index: DatasetIndex, folder: Path, format: str = "pixels") -> tuple[ImageCache, str]:
    """Build a store; also return what was warned of."""
    warnings: list[str] = []
    cache = build_cache(
        index, folder, size_px=16, fit="crop", num_workers=2, format=format,
        on_warning=warnings.append,
    )  # fmt: skip
    return cache, "".join(warnings)


def written_chunks(folder: Path) -> list[int]:
    return [chunk["number"] for chunk in chunk_list(folder)]


def chunk_list(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "chunks.txt").read_text().splitlines()
    return [json.loads(line.partition(" ")[2]) for line in lines[1:] if line]


def all_pixels(cache: ImageCache) -> bytes:
    images, _ = open_images(cache)
    return b"".join(images[k].tobytes() for k in range(len(images)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos, of 'ünits'")
    return make_folder(folder, classes=("-a", 'b "b"'), per_class=130, size=(20, 24))


@pytest.fixture(scope="module")
def index(root: Path) -> DatasetIndex:
    return build_index([root])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a store"


def test_several_chunks_hold_every_image(index: DatasetIndex, folder: Path) -> None:
    assert chunk_size(18) == CHUNK
    cache, warning = build(index, folder)
    assert warning == ""
    assert sorted(written_chunks(folder)) == [0, 1, 2, 3, 4]
    array = np.load(folder / "images.npy", mmap_mode="r")  # anyone can read it
    assert array.shape == (260, 18, 18, 3)
    assert array.tobytes() == all_pixels(cache)


def test_killed_build_goes_on_where_it_was(tmp_path: Path, folder: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=130, size=(20, 24))
    index = build_index([root])
    whole, _ = build(index, tmp_path / "whole")
    photo = index.file(150).read_bytes()
    with start(root, folder, "hang") as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["64 260\n", "128 260\n"]
        process.send_signal(signal.SIGKILL)
    with pytest.raises(DatasetError, match="complete image store"):
        open_cache(folder)
    assert written_chunks(folder) == [0, 1]
    with (folder / "chunks.txt").open("a") as file:
        file.write('01ab23cd {"number": 2, "sta')  # killed while writing a line
    index.file(150).unlink()
    index.file(150).write_bytes(photo)
    for image_id in range(2 * CHUNK):
        index.file(image_id).unlink()  # what is stored is not read again
    cache, warning = build(index, folder)
    assert warning == ""
    assert all_pixels(cache) == all_pixels(whole)


def test_full_disk_is_an_error_and_the_build_goes_on_later(
    root: Path, index: DatasetIndex, folder: Path
) -> None:
    room = 128 + 3 * CHUNK * 18 * 18 * 3 + 1000
    with start(root, folder, str(room)) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ResourceError" in errors.splitlines()[-1]
    assert "File too large. Free disk space and run the same command again" in errors
    with pytest.raises(DatasetError, match="complete image store"):
        open_cache(folder)
    assert written_chunks(folder) == [0, 1, 2]
    cache, warning = build(index, folder)
    assert (warning, len(open_images(cache)[0])) == ("", 260)


def test_two_processes_at_once_build_once(root: Path, folder: Path) -> None:
    processes = [start(root, folder, "") for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert sorted(written_chunks(folder)) == [0, 1, 2, 3, 4]  # none twice


@pytest.mark.parametrize("format", ["pixels", "jpeg"])
@pytest.mark.parametrize("damage", ["bit", "cut", "grown", "header", "gone"])
def test_damage_is_found_and_only_that_is_mended(
    index: DatasetIndex, folder: Path, format: str, damage: str
) -> None:
    cache, _ = build(index, folder, format)
    before = all_pixels(cache)
    path = folder / {"pixels": "images.npy", "jpeg": "images.jpegs"}[format]
    data = bytearray(path.read_bytes())
    last = chunk_list(folder)[-1]
    if damage == "gone":
        path.unlink()
    else:
        data[last["start"] + 2000] ^= damage == "bit"
        data[5] ^= damage == "header"
        path.write_bytes(data[:-1] if damage == "cut" else data + b"!" * (damage == "grown"))
    cache, warning = build(index, folder, format)
    mended = len(written_chunks(folder)) - 5
    expected = {"bit": 1, "cut": 1, "grown": 0, "header": int(format == "jpeg"), "gone": 5}
    assert mended == expected[damage]
    assert (f"{mended} of 5 parts of the image store were damaged" in warning) == (mended > 0)
    assert all_pixels(cache) == before
    assert build(index, folder, format) == (cache, "")
    assert open_cache(folder) == cache


@pytest.mark.parametrize("name", ["labels.npy", "meta.json", "chunks.txt"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_damaged_lists_are_found_and_mended(
    index: DatasetIndex, folder: Path, name: str, damage: str
) -> None:
    cache, _ = build(index, folder)
    before, data = all_pixels(cache), (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        changed = data[:-300] + data[-300:].replace(b"1", b"2").replace(b"\x00", b"\x01")
        (folder / name).write_bytes(data[:-9] if damage == "cut" else changed)
    cache, _ = build(index, folder)
    _, labels = open_images(open_cache(folder))
    assert all_pixels(cache) == before
    assert labels.tolist() == index.labels.tolist()


@pytest.mark.parametrize("format", ["pixels", "jpeg"])
@pytest.mark.parametrize("name", ["labels.npy", "chunks.txt"])
def test_any_byte_changed_in_a_list_is_found_and_mended(
    index: DatasetIndex, folder: Path, name: str, format: str
) -> None:
    cache, _ = build(index, folder, format)
    before, data = all_pixels(cache), (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, min(600, len(data)), 25).tolist():
        changed = bytearray(data)
        changed[place] = (changed[place] + int(rng.integers(1, 256))) % 256
        (folder / name).write_bytes(changed)
        cache, _ = build(index, folder, format)
        _, labels = open_images(open_cache(folder))
        assert all_pixels(cache) == before
        assert labels.tolist() == index.labels.tolist()


def test_a_store_cut_short_while_in_use_is_an_error_not_a_crash(
    index: DatasetIndex, folder: Path
) -> None:
    cache, _ = build(index, folder)
    data = open_trial_data(cache, np.arange(200), np.arange(200, 260))
    os.truncate(folder / "images.npy", 100_000)
    with pytest.raises(DatasetError, match="got a damaged one at 200"):
        list(data.val_batches(batch_size=8))
    with pytest.raises(IndexError):
        data.images[260]


def test_jpeg_takes_less_and_looks_the_same(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=40, size=(200, 160))
    index = build_index([root])
    stores = {}
    for format in ("pixels", "jpeg"):
        cache = build_cache(
            index, tmp_path / format, size_px=112, fit="crop", num_workers=2, format=format
        )
        assert (cache.format, open_cache(cache.folder)) == (format, cache)
        stores[format] = open_trial_data(cache, np.arange(60), np.arange(60, 80))
    pixels, jpeg = stores["pixels"], stores["jpeg"]
    assert jpeg.images.shape == pixels.images.shape
    assert jpeg.labels.tolist() == pixels.labels.tolist()
    assert bytes_there(tmp_path / "jpeg") < bytes_there(tmp_path / "pixels") / 2
    both = zip(jpeg.val_batches(batch_size=8), pixels.val_batches(batch_size=8), strict=True)
    for (a, _), (b, _) in both:
        # Noise of standard deviation 6, which the photos have, is what JPEG keeps worst.
        assert 0 < (a.float() - b.float()).abs().mean() < 4
        assert (a.float().mean((2, 3)) - b.float().mean((2, 3))).abs().max() < 1


def test_format_is_chosen_by_budget_and_disk() -> None:
    size = store_bytes(1000, 144, "pixels")
    assert size == 1000 * (144 * 144 * 3 + 8)
    for wanted, budget_gb, room, expected in (
        ("auto", None, size, "pixels"),
        ("auto", None, size - 1, "jpeg"),
        ("auto", size / 1e9, size, "pixels"),
        ("auto", size / 1e9 - 1e-9, 1e12, "jpeg"),
        ("pixels", 0.001, 0, "pixels"),
        ("jpeg", None, 1e12, "jpeg"),
    ):
        assert choose_format(1000, 144, wanted, budget_gb, room) == expected


def test_another_store_in_the_place_is_not_taken(index: DatasetIndex, folder: Path) -> None:
    cache, _ = build(index, folder)
    meta = json.loads((folder / "meta.json").read_text())
    write_json(folder / "meta.json", meta | {"fingerprint": "0123456789abcdef"})
    with pytest.raises(DatasetError, match="complete image store"):
        open_images(cache)


def test_unwritable_place(index: DatasetIndex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ResourceError, match="could not be written, got"):
        build(index, tmp_path / "file" / "store")
