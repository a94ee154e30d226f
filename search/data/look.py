"""Open one image file: what it is, what is wrong with it, and a small grey picture of it.

| kind | rule | action |
|---|---|---|
| bad_name | not UTF-8, or with a carriage return: cannot be written to a table | dropped |
| unreadable | no bytes, or cannot be decoded to the last row | dropped |
| too_large | over 100 million pixels, or 512 MiB: a decompression bomb, or near one | dropped |
| too_small | short side under 16 px | dropped |
| extreme_aspect | long side over 4 times the short one | kept |
| blank | one colour all over | kept |
| wrong_extension | the content is of another format than the name says | kept |
| animated | only the first frame is used | converted |
| cmyk, 16_bit, palette, other_mode, exif_rotation | to upright 8-bit RGB | converted |
| alpha | flattened on white | converted |
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from search.data.decode import ORIENTATION_TAG, describe, has_alpha, to_rgb
from search.data.layout import shown
from search.records import ImageRow, Problem

THUMB_PX = 32  # what a 64-bit perceptual hash looks at
MIN_SIDE_PX = 16
MAX_ASPECT = 4.0
MAX_PIXELS = 100_000_000  # 300 MB decoded
MAX_BYTES = 512 * 2**20
BLANK_RANGE = 2  # grey levels from the darkest to the brightest part
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # a phone's JPEG with a second picture inside is MPO
_FOREIGN = (  # what often carries an image's name: place and first bytes of the content
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "a HEIC photo. Convert it to JPEG"),
    (0, (b"<", b"\xef\xbb\xbf<"), "a web page or drawing in text, not an image"),
    (0, (b"%PDF",), "a PDF, not an image"),
    (0, (b"version https://git-lfs",), "a Git LFS pointer. Fetch the file itself: git lfs pull"),
)


@dataclass(frozen=True)
class Look:
    """What opening one image told.

    Attributes:
        row: The image's row, with every field filled but `phash` and `group`.
        problems: What the rules above say of it.
        thumb: (THUMB_PX, THUMB_PX) uint8 grey, upright; None when the image is dropped.
    """

    row: ImageRow
    problems: tuple[Problem, ...] = ()
    thumb: NDArray[np.uint8] | None = None


class _Dropped(Exception):
    """An image that cannot be used; carries the kind and the detail."""


def look_at(rows: Sequence[ImageRow], paths: Sequence[Path]) -> list[Look]:
    """Open and fully decode some images; small in and out, so that any process can do it.

    Args:
        rows: Rows of an index.
        paths: Their files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what the rules above already name
        return [_look(row, path) for row, path in zip(rows, paths, strict=True)]


def _look(row: ImageRow, path: Path) -> Look:
    if shown(row.path) != row.path or "\r" in row.path:
        return _dropped(row, "bad_name", "its name cannot be written to a table")
    try:
        data = _read(path)
        row = replace(row, num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        with Image.open(BytesIO(data)) as image:
            return _examine(row, image)
    except _Dropped as reason:
        return _dropped(row, *reason.args)
    except Image.DecompressionBombError as error:
        return _dropped(row, "too_large", describe(error))
    except UnidentifiedImageError:
        return _dropped(row, "unreadable", _foreign(data))
    except Exception as error:  # decoders raise anything on damaged bytes
        return _dropped(row, "unreadable", describe(error))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if not data:
        raise _Dropped("unreadable", "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise _Dropped("too_large", f"over {MAX_BYTES // 2**20} MiB")
    return data


def _examine(row: ImageRow, image: Image.Image) -> Look:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _Dropped("too_large", f"{width} x {height} px")
    notes = _mode_notes(image)
    orientation = int(image.getexif().get(ORIENTATION_TAG, 1))  # decodes some kinds
    if orientation > 4:
        width, height = height, width
    row = replace(row, width_px=width, height_px=height, mode=image.mode)
    if min(width, height) < MIN_SIDE_PX:
        raise _Dropped("too_small", f"{width} x {height} px")
    notes += _notes(row, image, orientation)
    thumb = _thumb(image, orientation)
    if int(thumb.max()) - int(thumb.min()) <= BLANK_RANGE:
        notes.append(("blank", "one colour all over", "kept"))
    return Look(row, tuple(_problem(row, *note) for note in notes), thumb)


def _thumb(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    if image.format == "JPEG":
        image.draft("L", (2 * THUMB_PX, 2 * THUMB_PX))  # every byte is still decoded
    size = (THUMB_PX, THUMB_PX)
    flat = image if image.mode == "L" and not has_alpha(image) else to_rgb(image)
    small = flat.resize(size, Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    if orientation > 1:
        small.getexif()[ORIENTATION_TAG] = orientation
        small = ImageOps.exif_transpose(small)
    return np.asarray(small, dtype=np.uint8)


def _notes(row: ImageRow, image: Image.Image, orientation: int) -> list[tuple[str, str, str]]:
    notes = []
    aspect = max(row.width_px, row.height_px) / min(row.width_px, row.height_px)
    if aspect > MAX_ASPECT:
        notes.append(("extreme_aspect", f"{row.width_px} x {row.height_px} px", "kept"))
    content = str(image.format)
    named = Image.registered_extensions().get(Path(row.path).suffix.lower(), content)
    if _SAME_FORMAT.get(content, content) != _SAME_FORMAT.get(named, named):
        notes.append(("wrong_extension", f"the content is {content}", "kept"))
    if getattr(image, "is_animated", False) and content != "MPO":
        frames = getattr(image, "n_frames", 0)
        notes.append(("animated", f"{frames} frames, the first is used", "converted"))
    if orientation > 1:
        notes.append(("exif_rotation", f"EXIF orientation {orientation}", "converted"))
    return notes


def _mode_notes(image: Image.Image) -> list[tuple[str, str, str]]:
    mode = image.mode
    # A 16-bit colour PNG or TIFF is already RGB to Pillow; only its tiles tell.
    if mode == "F" or mode.startswith("I") or ";16" in str(getattr(image, "tile", "")):
        return [("16_bit", f"mode {mode}, to 8-bit RGB", "converted")]
    if mode == "CMYK":
        return [("cmyk", "to RGB", "converted")]
    if has_alpha(image):
        return [("alpha", f"mode {mode}, flattened on white", "converted")]
    if mode == "P":
        return [("palette", "to RGB", "converted")]
    if mode not in ("RGB", "L"):
        return [("other_mode", f"mode {mode}, to RGB", "converted")]
    return []


def _foreign(data: bytes) -> str:
    """Say what bytes are that Pillow does not know."""
    for place, starts, meaning in _FOREIGN:
        if data[place:].startswith(starts) if place else data.lstrip().startswith(starts):
            return meaning
    return "not an image of a known format"


def _dropped(row: ImageRow, kind: str, detail: str) -> Look:
    return Look(row, (_problem(row, kind, detail, "dropped"),))


def _problem(row: ImageRow, kind: str, detail: str, action: str) -> Problem:
    return Problem(shown(row.path), row.label, kind, detail, action, row.root)
