"""The image store: right pixels, never half, rebuilt when it does not fit, built once."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from search.data import cache as cache_module
from search.data.augment import evaluation_transform
from search.data.cache import build_cache, open_cache, read_image, stored_side
from search.data.check import check_images
from search.data.decode import FITS, read_square
from search.data.index import build_index
from search.data.loader import open_trial_data
from search.data.store import open_images
from search.errors import DatasetError, ResourceError
from search.records import DatasetIndex
from tests.images import draw_image, make_folder


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    root = make_folder(tmp_path / "data", per_class=5, size=(60, 40))
    return check_images(build_index([root]), max_dropped=0.1, num_workers=1).index


def smooth(size: tuple[int, int]) -> Image.Image:
    """Draw a large picture without fine detail, so that resizers agree on it."""
    coarse = np.random.default_rng(3).integers(30, 225, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("fit", FITS)
def test_store_holds_every_image(index: DatasetIndex, tmp_path: Path, fit: str) -> None:
    cache = build_cache(index, tmp_path / "store", size_px=32, fit=fit, num_workers=2)
    images, labels = open_images(open_cache(tmp_path / "store"))
    assert images.shape == (10, 36, 36, 3)
    assert len(images) == 10
    assert labels.tolist() == index.labels.tolist()
    for k in range(10):
        assert np.array_equal(images[k], read_square(index.file(k), 36, fit))
    assert open_cache(tmp_path / "store") == cache
    assert {path.name for path in tmp_path.iterdir()} == {"data", "store", "store.lock"}


def test_store_is_reused_until_something_changes(index: DatasetIndex, tmp_path: Path) -> None:
    store, calls = tmp_path / "store", list[tuple[int, int]]()

    def build(size_px: int = 32, fit: str = "crop", format: str = "pixels") -> int:
        build_cache(
            index, store, size_px=size_px, fit=fit, num_workers=1, format=format,
            on_progress=lambda *done: calls.append(done),
        )  # fmt: skip
        return (store / "meta.json").stat().st_mtime_ns

    first = build()
    assert calls == [(10, 10)]
    assert build() == first
    assert calls == [(10, 10)] * 2  # read and found sound
    changed = [build(fit="squash"), build(fit="squash", size_px=24), build(format="jpeg")]
    assert len({first, *changed}) == 4
    assert {file.name for file in store.iterdir()} == {
        "images.jpegs", "labels.npy", "chunks.txt", "meta.json",
    }  # fmt: skip


def test_images_gone_bad_since_the_check_are_named(index: DatasetIndex, tmp_path: Path) -> None:
    longer = index.file(3).read_bytes() + b" "
    index.file(7).write_bytes(b"gone bad since the check")
    index.file(3).write_bytes(longer)
    index.file(5).unlink()
    with pytest.raises(DatasetError) as caught:
        build_cache(index, tmp_path / "store", size_px=32, fit="crop", num_workers=2)
    text = str(caught.value)
    assert text.startswith("3 images changed or vanished since they were checked:")
    assert all(str(index.file(k)) in text for k in (3, 5, 7))
    assert f"{len(longer):,} bytes where there were {len(longer) - 1:,}" in text
    with pytest.raises(DatasetError, match="complete image store"):
        open_cache(tmp_path / "store")


def test_full_disk_is_said_before_building(
    index: DatasetIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # a full disk cannot be had in a test
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage(10, 9, 1000))
    with pytest.raises(ResourceError, match=r"needs [\d,]+ bytes of disk, got 1,000 free"):
        build_cache(index, tmp_path / "store", size_px=32, fit="crop", num_workers=1)


def test_unknown_fit(index: DatasetIndex, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="crop, squash, pad"):
        build_cache(index, tmp_path / "store", size_px=32, fit="stretch", num_workers=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_like_pillow(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth((640, 400)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as image:
        expected = ImageOps.exif_transpose(image).resize((64, 64), Image.Resampling.BOX)
    got = read_square(tmp_path / "turned.jpg", 64, "squash")
    assert np.abs(got.astype(int) - np.asarray(expected).astype(int)).mean() < 2


@pytest.mark.parametrize("size", [(2000, 1500), (300, 500), (61, 60), (40, 30)])
@pytest.mark.parametrize("fit", FITS)
def test_reduced_decoding_loses_nothing(tmp_path: Path, size: tuple[int, int], fit: str) -> None:
    smooth(size).save(tmp_path / "photo.jpg", quality=95)
    with Image.open(tmp_path / "photo.jpg") as image:
        image.save(tmp_path / "photo.png")  # never decoded at reduced scale
    jpeg, png = (read_square(tmp_path / f"photo.{kind}", 60, fit) for kind in ("jpg", "png"))
    assert np.abs(jpeg.astype(int) - png.astype(int)).mean() < 2.5


def test_fits(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    assert (read_square(path, 30, "crop") == (0, 255, 0)).all()
    squashed = read_square(path, 30, "squash")
    assert (squashed[:, 0] == (255, 0, 0)).all()
    assert (squashed[:, -1] == (0, 0, 255)).all()
    padded = read_square(path, 30, "pad")
    assert (padded[10:20, 0] == (255, 0, 0)).all()
    assert (padded[0] == padded[0, 0]).all()  # one colour above, the border's mean
    assert (padded[10:20] == squashed[10:20]).all()


def test_odd_modes(tmp_path: Path) -> None:
    pixels = draw_image(0, (50, 50), np.random.default_rng(0))
    clear = Image.fromarray(np.dstack([pixels, np.zeros((50, 50), np.uint8)]))
    clear.save(tmp_path / "clear.png")
    assert (read_square(tmp_path / "clear.png", 32, "crop") == 255).all()
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    eight, sixteen = (read_square(tmp_path / f"{n}.png", 50, "crop") for n in ("grey", "deep"))
    assert np.array_equal(eight, sixteen)
    assert np.array_equal(eight[:, :, 0], grey)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    printed = read_square(tmp_path / "print.jpg", 50, "crop")
    assert np.abs(printed.astype(int) - pixels).mean() < 8


def test_read_image_is_what_evaluation_sees(index: DatasetIndex, tmp_path: Path) -> None:
    build_cache(index, tmp_path / "store", size_px=32, fit="crop", num_workers=1)
    images, _ = open_images(open_cache(tmp_path / "store"))
    shrunk = np.empty((32, 32, 3), np.uint8)
    evaluation_transform(np.asarray(images[3]), shrunk)
    assert np.array_equal(read_image(index.file(3), size_px=32, fit="crop"), shrunk)
    assert stored_side(128) == 144
    with pytest.raises(DatasetError, match="readable image"):
        read_image(tmp_path / "none.jpg", size_px=32, fit="crop")


def test_read_image_from_the_stored_side_of_a_larger_size(
    index: DatasetIndex, tmp_path: Path
) -> None:
    cache = build_cache(index, tmp_path / "store", size_px=48, fit="pad", num_workers=1)
    none = np.array([], np.int64)
    data = open_trial_data(cache, none, none, size_px=24)
    ((seen, _),) = data.clean_batches(np.array([6]), batch_size=1)
    image = read_image(index.file(6), size_px=24, fit="pad", side_px=cache.side_px)
    assert np.array_equal(seen[0].permute(1, 2, 0).numpy(), image)


def test_meta_names_the_files_and_their_sizes(index: DatasetIndex, tmp_path: Path) -> None:
    build_cache(index, tmp_path / "store", size_px=32, fit="crop", num_workers=1)
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    for name, size in meta["num_bytes"].items():
        assert (tmp_path / "store" / name).stat().st_size == size
