"""Decode every image once into a store of uint8 squares that all workers of a node share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock

from search.data.augment import evaluation_transform
from search.data.decode import FITS, Pixels, describe, read_square
from search.errors import DatasetError, ResourceError
from search.records import DatasetIndex, Ids, ImageCache, fingerprint, write_json

_FORMAT = 1  # part of the fingerprint: a store of another format is built anew
_CHUNK = 256  # images decoded before they are written: bounds memory
_SPARE_BYTES = 64 * 2**20
_IMAGES, _LABELS, _META = "images.npy", "labels.npy", "meta.json"

Progress = Callable[[int, int], None]


def build_cache(
    index: DatasetIndex,
    folder: Path,
    *,
    size_px: int,
    fit: str,
    num_workers: int,
    on_progress: Progress | None = None,
) -> ImageCache:
    """Decode the images of a checked index into `folder`, or reuse the store that is there.

    The store is written beside and renamed, so half a store is never used; two processes that
    build at once build it once.

    Args:
        index: Checked images; row i of the store is image id i.
        folder: Where the store lives; anything there that does not fit is replaced.
        size_px: Side of the training images. The squares stored are an eighth larger, so that
            random crops keep quality.
        fit: How a photo becomes square: "crop", "squash" or "pad".
        num_workers: Threads that decode.
        on_progress: Called with (images done, images in all).

    Raises:
        DatasetError: An image cannot be read, or `fit` is unknown.
        ResourceError: Too little disk space.
    """
    if fit not in FITS:
        raise DatasetError(f"fit: must be one of {', '.join(FITS)}, got {fit!r}.")
    side = stored_side(size_px)
    content = [(row.label, row.sha256) for row in index.rows]
    cache = ImageCache(
        folder.resolve(), index.classes, side, size_px, fit,
        fingerprint(_FORMAT, content, index.classes, size_px, side, fit),
    )  # fmt: skip
    cache.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.folder.with_name(f"{cache.folder.name}.lock")):
        if _stored(cache.folder) != cache:
            _require_space(cache, len(content))
            _build(index, cache, num_workers, on_progress)
    return cache


def open_cache(folder: Path) -> ImageCache:
    """Open a store built before.

    Raises:
        DatasetError: There is none, or its files are not as they were written.
    """
    cache = _stored(folder.resolve())
    if cache is None:
        raise DatasetError(
            f"{folder}: must be a complete image store, got a missing or damaged one. "
            "Start the study again: it is rebuilt."
        )
    return cache


def load_arrays(cache: ImageCache) -> tuple[Pixels, Ids]:
    """Return images (N, R, R, 3) uint8, mapped read-only from disk, and labels (N,) int64."""
    images = np.load(cache.folder / _IMAGES, mmap_mode="r")
    return images, np.load(cache.folder / _LABELS)


def read_image(path: Path, *, size_px: int, fit: str) -> Pixels:
    """Read a file exactly as evaluation sees it: through the stored square, then shrunk.

    Returns:
        (S, S, 3) uint8 RGB.

    Raises:
        DatasetError: The file cannot be read as an image.
    """
    out = np.empty((size_px, size_px, 3), np.uint8)
    evaluation_transform(read_square(path, stored_side(size_px), fit), out)
    return out


def stored_side(size_px: int) -> int:
    """Return the side of the stored squares for training images of `size_px`."""
    return round(size_px * 1.125)


def _build(
    index: DatasetIndex, cache: ImageCache, num_workers: int, on_progress: Progress | None
) -> None:
    beside = cache.folder.with_name(f".{cache.folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        _write_images(index, cache, beside / _IMAGES, num_workers, on_progress)
        np.save(beside / _LABELS, index.labels)
        write_json(beside / _META, _meta(cache, beside, len(index.rows)))
        if cache.folder.exists():
            shutil.rmtree(cache.folder)
        beside.rename(cache.folder)
    except OSError as error:
        raise ResourceError(
            f"{cache.folder}: the image store could not be written, got {describe(error)}. "
            "Free disk space, or name another folder."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_images(
    index: DatasetIndex,
    cache: ImageCache,
    path: Path,
    num_workers: int,
    on_progress: Progress | None,
) -> None:
    total, side = len(index.rows), cache.side_px
    header = {"descr": "|u1", "fortran_order": False, "shape": (total, side, side, 3)}
    cv2.setNumThreads(1)  # the pool is the parallelism
    # Written as a stream: on a full disk this raises, where a memory map would kill the process.
    with path.open("wb") as file, ThreadPoolExecutor(num_workers) as pool:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, total, _CHUNK):
            ids = range(start, min(start + _CHUNK, total))
            for image in pool.map(lambda i: read_square(index.file(i), side, cache.fit), ids):
                file.write(image.data)
            if on_progress:
                on_progress(ids.stop, total)


def _require_space(cache: ImageCache, num_images: int) -> None:
    needed = num_images * (cache.side_px**2 * 3 + 8) + _SPARE_BYTES
    free = shutil.disk_usage(cache.folder.parent).free
    if free < needed:
        raise ResourceError(
            f"{cache.folder}: the image store needs {needed:,} bytes of disk, got {free:,} free. "
            "Free some space, lower size_px, or name another folder."
        )


def _meta(cache: ImageCache, folder: Path, num_images: int) -> dict[str, Any]:
    files = {name: (folder / name).stat().st_size for name in (_IMAGES, _LABELS)}
    about = {k: v for k, v in asdict(cache).items() if k != "folder"}
    return about | {"num_images": num_images, "num_bytes": files}


def _stored(folder: Path) -> ImageCache | None:
    """Return the store in a folder, None unless every file is as it was written."""
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        cache = ImageCache(
            folder, tuple(meta["classes"]), meta["side_px"], meta["size_px"], meta["fit"],
            meta["fingerprint"],
        )  # fmt: skip
        sizes_fit = _meta(cache, folder, meta["num_images"])["num_bytes"] == meta["num_bytes"]
        images, labels = load_arrays(cache)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    expected = (meta["num_images"], cache.side_px, cache.side_px, 3)
    whole = sizes_fit and images.shape == expected and len(labels) == expected[0]
    return cache if whole else None
