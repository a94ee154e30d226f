"""The files of an image store, and how one image is read back from them.

A store is a folder. `images.npy` holds the squares as pixels, row i is image id i; where those are
too many for the disk, `images.jpegs` holds them as JPEG, one after the other. Either is written in
chunks, and `chunks.txt` lists them, a line each: the line's own CRC-32, then place in the file,
length and CRC-32 of the chunk. `labels.npy` holds the labels. `meta.json` is written last: a folder
without it is not finished.
"""

from __future__ import annotations

import json
import os
import sys
import weakref
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from search.data.decode import Pixels
from search.errors import DatasetError
from search.records import Ids, ImageCache

IMAGES = {"pixels": "images.npy", "jpeg": "images.jpegs"}
LABELS, CHUNKS, META = "labels.npy", "chunks.txt", "meta.json"
JPEG_QUALITY = 95
_JPEG_SHARE = 0.3  # of the bytes of the pixels, at most, in sets of real photos
_JPEG_FLAGS = [
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]
_CHUNK_IMAGES, _CHUNK_BYTES = 64, 16 * 2**20  # at most: a builder's thread holds one


@dataclass(frozen=True)
class Chunk:
    """Some images in a row, as they lie in the images' file.

    Attributes:
        number: Chunk k begins at image k * `chunk_size`.
        start, num_bytes: Where it lies in the file.
        crc32: Of these bytes.
        sizes: Bytes of each image, () where all are alike.
    """

    number: int
    start: int
    num_bytes: int
    crc32: int
    sizes: tuple[int, ...] = ()

    def is_sound(self, file: int) -> bool:
        """Tell whether the bytes are as they were written."""
        data = os.pread(file, self.num_bytes, self.start)
        return len(data) == self.num_bytes and zlib.crc32(data) == self.crc32


class StoredImages:
    """The squares of a store: (N, R, R, 3) uint8, read from disk one at a time.

    They are read, not mapped: mapped pages count as memory of every process that touched them, and
    a file cut short would kill it (SIGBUS) where reading raises an error. What is read stays in
    the page cache, which all processes share and the system takes back when it needs to.
    """

    def __init__(self, path: Path, starts: Ids, sizes: Ids, side_px: int) -> None:
        self.shape = (len(starts), side_px, side_px, 3)
        self._path, self._starts, self._sizes = path, starts, sizes
        self._decode = path.name == IMAGES["jpeg"]
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        if sys.platform == "linux":  # images are drawn at random: what follows is not wanted
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, image_id: int) -> Pixels:
        """Return one image, (R, R, 3) uint8 RGB, read-only.

        Raises:
            DatasetError: The file was cut short or damaged since it was opened.
        """
        start, size = int(self._starts[image_id]), int(self._sizes[image_id])
        data = os.pread(self._file, size, start)
        pixels = self._pixels(data) if len(data) == size else None
        if pixels is None or pixels.shape != self.shape[1:]:
            raise DatasetError(
                f"{self._path}: must hold {len(self):,} whole images, got a damaged one at "
                f"{image_id}. Start the study again: it is rebuilt."
            )
        return pixels

    def prefetch(self, ids: Ids) -> None:
        """Ask the system to read these images ahead, where it can be asked."""
        if sys.platform == "linux":
            for image_id in ids.tolist():
                start, size = int(self._starts[image_id]), int(self._sizes[image_id])
                os.posix_fadvise(self._file, start, size, os.POSIX_FADV_WILLNEED)

    def _pixels(self, data: bytes) -> Pixels | None:
        flat = np.frombuffer(data, np.uint8)
        if self._decode:
            return cv2.imdecode(flat, cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]
        return flat.reshape(self.shape[1:])


Images = StoredImages | NDArray[np.uint8]
"""(N, R, R, 3) uint8 RGB squares, in a store or in memory; one is had by its id."""


def open_images(cache: ImageCache) -> tuple[StoredImages, Ids]:
    """Open a store: its images, and labels (N,) int64.

    Raises:
        DatasetError: The files are missing, or not as they were written.
    """
    try:
        meta = json.loads((cache.folder / META).read_text(encoding="utf-8"))
        num_images, expected = meta["num_images"], describe_store(cache, meta["num_images"])
        if meta != expected:
            raise ValueError("other files than its meta.json says")
        chunks = read_chunks(cache)
        starts, sizes = _places(cache, num_images, chunks)
        labels = _read_labels(cache.folder / LABELS)
        if len(labels) != num_images:
            raise ValueError(f"{len(labels)} labels of {num_images} images")
        return StoredImages(image_file(cache), starts, sizes, cache.side_px), labels
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{cache.folder}: must be a complete image store, got a missing or damaged one "
            f"({error}). Start the study again: it is rebuilt."
        ) from error


def is_sound(cache: ImageCache) -> bool:
    """Read a whole store, and tell whether all of it is as it was written."""
    chunks = read_chunks(cache)
    try:
        num_images = len(open_images(cache)[0])
        with image_file(cache).open("rb") as file:
            whole = -(-num_images // chunk_size(cache.side_px)) == len(chunks)
            return whole and all(chunk.is_sound(file.fileno()) for chunk in chunks.values())
    except (OSError, DatasetError):
        return False


def _read_labels(path: Path) -> Ids:
    try:
        labels: Ids = np.load(path)
    except Exception as error:  # NumPy parses the header as Python: damage raises anything
        raise ValueError(f"{path.name} is damaged") from error
    return labels


def choose_format(
    num_images: int, side_px: int, wanted: str, budget_gb: float | None, room: float
) -> str:
    """Return the format of a store: "pixels", or "jpeg" where pixels are too much. Pure.

    Args:
        wanted: "pixels", "jpeg" or "auto".
        budget_gb: What pixels may take, in GB; None for no limit.
        room: Bytes the disk can spare.
    """
    if wanted != "auto":
        return wanted
    limit = room if budget_gb is None else min(room, budget_gb * 1e9)
    return "pixels" if store_bytes(num_images, side_px, "pixels") <= limit else "jpeg"


def store_bytes(num_images: int, side_px: int, format: str) -> int:
    """Return the bytes that a store takes, an upper estimate for "jpeg"."""
    share = _JPEG_SHARE if format == "jpeg" else 1.0
    return round(num_images * (side_px**2 * 3 * share + 8))


def bytes_there(folder: Path) -> int:
    """Return the disk that a store takes so far; chunks not written yet are holes."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sum(file.stat().st_blocks * 512 for file in files)


def chunk_size(side_px: int) -> int:
    """Return how many images make a chunk."""
    return max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (side_px**2 * 3)))


def image_file(cache: ImageCache) -> Path:
    """Return the file of a store that holds the images."""
    return cache.folder / IMAGES[cache.format]


def pixel_header(cache: ImageCache, num_images: int) -> bytes:
    """Return what precedes the pixels: the header that makes their file a NumPy array."""
    header = BytesIO()
    shape = (num_images, cache.side_px, cache.side_px, 3)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def encode(pixels: Pixels) -> bytes:
    """Return a square as JPEG, colour at full resolution."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG_FLAGS)
    return data.tobytes()


def describe_store(cache: ImageCache, num_images: int) -> dict[str, Any]:
    """Return what meta.json says of a finished store.

    Raises:
        OSError: A file is missing.
    """
    files = (IMAGES[cache.format], LABELS, CHUNKS)
    about = {name: value for name, value in asdict(cache).items() if name != "folder"}
    sizes = {name: (cache.folder / name).stat().st_size for name in files}
    return about | {"classes": list(cache.classes), "num_images": num_images, "num_bytes": sizes}


def read_cache(folder: Path) -> ImageCache | None:
    """Return which store a folder holds, finished; None where there is none."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        return ImageCache(
            folder, tuple(meta["classes"]), meta["side_px"], meta["size_px"], meta["fit"],
            meta["fingerprint"], meta["format"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_chunks(cache: ImageCache) -> dict[int, Chunk]:
    """Return the chunks written so far, by number; of a chunk written twice the later line counts.

    A list that belongs to other images or another format counts as none.
    """
    try:
        text = (cache.folder / CHUNKS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first, *lines = text.split("\n")
    return _parse_chunks(lines) if first == first_line(cache) else {}


def first_line(cache: ImageCache) -> str:
    """Return the first line of a store's list of chunks: whose they are."""
    return json.dumps({"fingerprint": cache.fingerprint})


def chunk_line(chunk: Chunk) -> str:
    """Return a chunk as it stands in the list."""
    text = json.dumps(asdict(chunk))
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _parse_chunks(lines: Iterable[str]) -> dict[int, Chunk]:
    chunks = {}
    for line in lines:
        checksum, _, text = line.partition(" ")
        # A line that was cut off or damaged counts as none: its images are decoded again.
        if checksum == f"{zlib.crc32(text.encode()):08x}" and text:
            fields = json.loads(text)
            chunk = Chunk(**fields | {"sizes": tuple(fields["sizes"])})
            chunks[chunk.number] = chunk
    return chunks


def _places(cache: ImageCache, num_images: int, chunks: dict[int, Chunk]) -> tuple[Ids, Ids]:
    """Return where each image starts in its file, and how long it is, (N,) int64 each."""
    if cache.format == "pixels":
        size = cache.side_px**2 * 3
        header = len(pixel_header(cache, num_images))
        starts = header + size * np.arange(num_images, dtype=np.int64)
        return starts, np.full(num_images, size, np.int64)
    ordered = [chunks[number] for number in range(-(-num_images // chunk_size(cache.side_px)))]
    sizes = np.array([size for chunk in ordered for size in chunk.sizes], np.int64)
    starts = np.concatenate([c.start + np.cumsum((0, *c.sizes[:-1])) for c in ordered])
    if len(sizes) != num_images:
        raise ValueError(f"{len(sizes)} images listed of {num_images}")
    return starts.astype(np.int64), sizes
