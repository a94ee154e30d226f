"""Decode every image once into a store of squares that all workers of a node share."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock

from search.data import store
from search.data.augment import evaluation_transform
from search.data.decode import FITS, Pixels, describe, read_square
from search.data.store import Chunk, chunk_size, image_file
from search.errors import DatasetError, ResourceError
from search.records import DatasetIndex, ImageCache, fingerprint, write_json, write_text

_FORMAT = 3  # part of the fingerprint: a store of another format is built anew
_SPARE_BYTES = 64 * 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMED = 10  # files that one error names

Progress = Callable[[int, int], None]
Warn = Callable[[str], None]


def build_cache(
    index: DatasetIndex,
    folder: Path,
    *,
    size_px: int,
    fit: str,
    num_workers: int,
    format: str = "pixels",
    on_progress: Progress | None = None,
    on_warning: Warn | None = None,
) -> ImageCache:
    """Decode the images of a checked index into `folder`, as far as they are not there already.

    What is there is read and compared with its checksums; damaged parts are decoded again. A build
    that was cut short goes on, and is not used before it is finished. Two processes that build at
    once build it once.

    Args:
        index: Checked images; row i of the store is image id i.
        folder: Where the store lives; anything there that does not fit is replaced.
        size_px: Side of the largest training images. The squares stored are an eighth larger, so
            that random crops keep quality.
        fit: How a photo becomes square: "crop", "squash" or "pad".
        num_workers: Threads that decode.
        format: "pixels", or "jpeg": at most a third of the size, decoded again for every batch.
        on_progress: Called with (images in the store and sound, images in all).
        on_warning: Told in one sentence what was damaged.

    Raises:
        DatasetError: Images changed or vanished since the check, or `fit` is unknown.
        ResourceError: Too little disk space.
    """
    cache = _describe(index, folder, size_px, fit, format)
    builder = _Builder(index, cache, on_progress)
    try:
        cache.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.folder.with_name(f"{cache.folder.name}.lock")):
            builder.run(num_workers)
    except OSError as error:
        advice = "Free disk space" if error.errno in _FULL else "Mend that, or remove the folder,"
        raise ResourceError(
            f"{cache.folder}: the image store could not be written, got {describe(error)}. "
            f"{advice} and run the same command again: it goes on from here."
        ) from error
    if builder.num_damaged and on_warning:
        on_warning(
            f"{cache.folder}: {builder.num_damaged} of {builder.num_chunks} parts of the image "
            "store were damaged, and decoded again from the photos."
        )
    return cache


def _describe(index: DatasetIndex, folder: Path, size_px: int, fit: str, format: str) -> ImageCache:
    for name, value, known in (("fit", fit, FITS), ("format", format, tuple(store.IMAGES))):
        if value not in known:
            raise DatasetError(f"{name}: must be one of {', '.join(known)}, got {value!r}.")
    side = stored_side(size_px)
    content = [(row.label, row.sha256) for row in index.rows]
    identity = fingerprint(_FORMAT, content, index.classes, size_px, side, fit, format)
    return ImageCache(folder.resolve(), index.classes, side, size_px, fit, identity, format)


def open_cache(folder: Path) -> ImageCache:
    """Open a store built before.

    Raises:
        DatasetError: There is none, or its files are not as they were written.
    """
    cache = store.read_cache(folder.resolve())
    if cache is None:
        raise DatasetError(
            f"{folder}: must be a complete image store, got none. Start the study again: it is "
            "built."
        )
    store.open_images(cache)
    return cache


def read_image(path: Path, *, size_px: int, fit: str, side_px: int | None = None) -> Pixels:
    """Read a file exactly as evaluation sees it: through the stored square, then shrunk.

    Args:
        side_px: Side of the squares the model was trained from, when they were not made for
            `size_px` alone.

    Returns:
        (S, S, 3) uint8 RGB.

    Raises:
        DatasetError: The file cannot be read as an image.
    """
    out = np.empty((size_px, size_px, 3), np.uint8)
    evaluation_transform(read_square(path, side_px or stored_side(size_px), fit), out)
    return out


def stored_side(size_px: int) -> int:
    """Return the side of the stored squares for training images of `size_px`."""
    return round(size_px * 1.125)


class _Builder:
    """Brings one store to completion, chunk by chunk, in any order and by several threads."""

    def __init__(
        self, index: DatasetIndex, cache: ImageCache, on_progress: Progress | None
    ) -> None:
        self.index, self.cache, self.on_progress = index, cache, on_progress
        self.num_images = len(index.rows)
        self.chunk_size = chunk_size(cache.side_px)
        self.num_chunks = -(-self.num_images // self.chunk_size)
        self.num_damaged = self.num_done = 0
        self.unreadable: list[str] = []
        self.header = b""
        if cache.format == "pixels":
            self.header = store.pixel_header(cache, self.num_images)
        self.lock, self.kept = threading.Lock(), threading.local()

    def run(self, num_workers: int) -> None:
        self.known = store.read_chunks(self.cache)
        if not self.known:
            self._start_anew()
        ends = (chunk.start + chunk.num_bytes for chunk in self.known.values())
        self.end = max(ends, default=0)  # where the next JPEG goes
        cv2.setNumThreads(1)  # the pool is the parallelism
        self.file = os.open(image_file(self.cache), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._require_space()
            if os.pread(self.file, len(self.header), 0) != self.header:
                os.pwrite(self.file, self.header, 0)
            with ThreadPoolExecutor(num_workers) as pool:
                for number in pool.map(self._complete, range(self.num_chunks)):
                    self.num_done += len(self._ids(number))
                    if self.on_progress:
                        self.on_progress(self.num_done, self.num_images)
        finally:
            os.close(self.file)
        if self.unreadable:
            raise DatasetError(_changed(self.unreadable))
        self._finish()

    def _start_anew(self) -> None:
        shutil.rmtree(self.cache.folder, ignore_errors=True)
        self.cache.folder.mkdir()
        write_text(self.cache.folder / store.CHUNKS, f"{store.first_line(self.cache)}\n")

    def _require_space(self) -> None:
        whole = store.store_bytes(self.num_images, self.cache.side_px, self.cache.format)
        missing = 1 - len(self.known) / self.num_chunks
        needed = round(whole * missing) + _SPARE_BYTES
        free = shutil.disk_usage(self.cache.folder).free
        if missing > 0 and free < needed:
            raise ResourceError(
                f"{self.cache.folder}: the image store needs {needed:,} bytes of disk, got "
                f"{free:,} free. Free some space, lower size_px, or name another folder."
            )

    def _ids(self, number: int) -> range:
        start = number * self.chunk_size
        return range(start, min(start + self.chunk_size, self.num_images))

    def _complete(self, number: int) -> int:
        """Decode and write one chunk unless it is there and sound; returns its number."""
        known, ids = self.known.get(number), self._ids(number)
        if known is None or not known.is_sound(self.file):
            with self.lock:
                self.num_damaged += known is not None
            squares = self._buffer()[: len(ids)]
            read = [self._read(image_id, out) for image_id, out in zip(ids, squares, strict=True)]
            if all(read):
                self._write(number, squares)
        return number

    def _buffer(self) -> Pixels:
        """Return this thread's memory for one chunk; memory anew each time would cost more."""
        if not hasattr(self.kept, "squares"):
            side = self.cache.side_px
            self.kept.squares = np.empty((self.chunk_size, side, side, 3), np.uint8)
        squares: Pixels = self.kept.squares
        return squares

    def _read(self, image_id: int, out: Pixels) -> bool:
        path, num_bytes = self.index.file(image_id), self.index.rows[image_id].num_bytes
        try:
            out[:] = read_square(
                path, self.cache.side_px, self.cache.fit, num_bytes=num_bytes or None
            )
        except DatasetError as error:
            with self.lock:
                self.unreadable.append(str(error))
            return False
        return True

    def _write(self, number: int, squares: Pixels) -> None:
        data, sizes, start = squares.reshape(-1).data, tuple[int, ...](), len(self.header)
        start += number * self.chunk_size * squares[0].nbytes
        if self.cache.format == "jpeg":
            images = [store.encode(square) for square in squares]
            data, sizes = memoryview(b"".join(images)), tuple(len(image) for image in images)
        with self.lock:
            (self.cache.folder / store.META).unlink(missing_ok=True)  # not finished, for now
            if sizes:  # a chunk written again may be longer than it was: it goes to the end
                start, self.end = self.end, self.end + len(data)
        written = 0
        while written < len(data):  # a disk about to be full takes less than it is given
            written += os.pwrite(self.file, data[written:], start + written)
        chunk = Chunk(number, start, len(data), zlib.crc32(data), sizes)
        with self.lock, (self.cache.folder / store.CHUNKS).open("a", encoding="utf-8") as file:
            # The line before may have been cut off.
            file.write(f"\n{store.chunk_line(chunk)}\n")

    def _finish(self) -> None:
        folder, labels = self.cache.folder, self.index.labels
        try:
            finished = np.array_equal(store.open_images(self.cache)[1], labels)
        except DatasetError:
            finished = False
        if not finished:
            np.save(folder / store.LABELS, labels)
            write_json(folder / store.META, store.describe_store(self.cache, self.num_images))


def _changed(unreadable: list[str]) -> str:
    named = sorted(unreadable)[:_NAMED]
    more = len(unreadable) - len(named)
    return "\n".join(
        [
            f"{len(unreadable)} images changed or vanished since they were checked:",
            *(f"  {line}" for line in named),
            *([f"  and {more:,} more"] if more else []),
            "Put them back and run the same command again: the image store goes on from here.",
        ]
    )
