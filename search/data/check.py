"""Open every image, and drop or note what would spoil a study.

| kind | rule | action |
|---|---|---|
| bad_name | not UTF-8, or with a carriage return: cannot be written to a table | dropped |
| unreadable | cannot be decoded to the last row, or has no bytes | dropped |
| too_large | a decompression bomb by Pillow's limit | dropped |
| too_small | short side under 16 px | dropped |
| extreme_aspect | long side over 4 times the short one | kept |
| wrong_extension | the content is of another format than the name says | kept |
| animated | only the first frame is used | converted |
| cmyk, 16_bit, palette, alpha, exif_rotation | to upright 8-bit RGB, alpha on white | converted |
| exact_duplicate | the same bytes again in its class: one copy is kept | dropped |
| conflicting_label | the same bytes in two classes: no copy can be trusted | dropped |
| leak | in two of the given splits, exactly or nearly; test stays whole, val gives way | dropped |
| near_duplicate | looks like another image, also mirrored; never parted by our splits | kept |
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from search.data.decode import ORIENTATION_TAG, describe, has_alpha, to_rgb
from search.data.duplicates import (
    Note,
    conflicts,
    exact_copies,
    group_numbers,
    leaks,
    near_pairs,
    near_problems,
)
from search.data.index import dataset_error
from search.records import (
    CheckedDataset,
    DatasetIndex,
    ImageRow,
    Problem,
    fingerprint,
    read_csv,
    write_csv,
)

MIN_SIDE_PX = 16
MAX_ASPECT = 4.0
_HASH_PX = 32  # what a 64-bit perceptual hash looks at
_THUMB_PX = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Seen:
    """What opening one image told; `thumb` is None when it is dropped."""

    row: ImageRow
    notes: tuple[Note, ...]
    thumb: NDArray[np.uint8] | None = None
    phash: int = 0
    mirrored_phash: int = 0


def check_images(
    index: DatasetIndex,
    *,
    max_dropped: float,
    num_workers: int,
    on_progress: Progress | None = None,
) -> CheckedDataset:
    """Decode every image and apply the rules above.

    Args:
        index: What `build_index` found.
        max_dropped: Largest share of the images, in 0..1, that may be dropped.
        num_workers: Threads that decode (decoding releases the interpreter lock).
        on_progress: Called with (images done, images in all).

    Returns:
        The kept images with every field filled, the problems sorted by path, and a fingerprint
        of the kept content that names, order and machine do not change.

    Raises:
        DatasetError: A class would vanish, or more than `max_dropped` of the images.
    """
    seen = _open_all(index, num_workers, on_progress)
    problems = [
        Problem(_shown(one.row.path), one.row.label, *note) for one in seen for note in one.notes
    ]
    kept = [one for one in seen if one.thumb is not None]
    kept = _drop(kept, conflicts([one.row for one in kept]), problems)
    kept = _drop(kept, exact_copies([one.row for one in kept]), problems)
    pairs = _near(kept)
    leaked = leaks([one.row for one in kept], pairs)
    kept, pairs = _drop_pairs(kept, pairs, leaked, problems)
    problems += near_problems([one.row for one in kept], pairs)
    groups = group_numbers(len(kept), pairs)
    rows = tuple(replace(one.row, group=int(g)) for one, g in zip(kept, groups, strict=True))
    problems.sort(key=lambda p: (p.path, p.label, p.kind, p.detail))
    _require_enough(index, rows, problems, max_dropped)
    checked = replace(index, rows=rows)
    return CheckedDataset(checked, tuple(problems), content_fingerprint(checked))


def content_fingerprint(index: DatasetIndex) -> str:
    """Identify the data by what it holds: labels, given splits and content of all images."""
    return fingerprint(sorted([row.label, row.split or "", row.sha256] for row in index.rows))


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write problems.csv."""
    write_csv(path, [f.name for f in fields(Problem)], (asdict(p) for p in problems))


def read_problems(path: Path) -> tuple[Problem, ...]:
    """Read problems.csv back."""
    return tuple(Problem(**line) for line in read_csv(path))


def _open_all(index: DatasetIndex, num_workers: int, on_progress: Progress | None) -> list[_Seen]:
    seen = []
    total = len(index.rows)
    with warnings.catch_warnings(), ThreadPoolExecutor(num_workers) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of what the rules above already name
        for one in pool.map(lambda i: _open(index.rows[i], index.file(i)), range(total)):
            seen.append(one)
            if on_progress and (len(seen) % 50 == 0 or len(seen) == total):
                on_progress(len(seen), total)
    return seen


def _open(row: ImageRow, path: Path) -> _Seen:
    if _shown(row.path) != row.path or "\r" in row.path:
        return _Seen(row, (("bad_name", "its name cannot be written to a table", "dropped"),))
    try:
        data = path.read_bytes()
        row = replace(row, num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        if not data:
            return _Seen(row, (("unreadable", "the file has no bytes", "dropped"),))
        with Image.open(BytesIO(data)) as image:
            return _look(row, image)
    except Image.DecompressionBombError as error:
        return _Seen(row, (("too_large", describe(error), "dropped"),))
    except Exception as error:  # decoders raise anything on damaged bytes
        return _Seen(row, (("unreadable", describe(error), "dropped"),))


def _look(row: ImageRow, image: Image.Image) -> _Seen:
    orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
    width, height = image.size if orientation < 5 else image.size[::-1]
    row = replace(row, width_px=width, height_px=height, mode=image.mode)
    if min(width, height) < MIN_SIDE_PX:
        return _Seen(row, (("too_small", f"{width} x {height} px", "dropped"),))
    notes = _notes(row, image, orientation)
    if image.format == "JPEG":
        image.draft(None, (2 * _HASH_PX, 2 * _HASH_PX))  # every byte is still decoded
    rgb = to_rgb(image).resize((_HASH_PX, _HASH_PX), Image.Resampling.BOX, reducing_gap=2.0)
    if orientation > 1:
        rgb.getexif()[ORIENTATION_TAG] = orientation
        rgb = ImageOps.exif_transpose(rgb)
    phash = imagehash.phash(rgb)
    return _Seen(
        replace(row, phash=str(phash)),
        tuple(notes),
        np.asarray(rgb.resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BOX), dtype=np.uint8),
        int(str(phash), 16),
        int(str(imagehash.phash(ImageOps.mirror(rgb))), 16),
    )


def _notes(row: ImageRow, image: Image.Image, orientation: int) -> list[Note]:
    notes: list[Note] = []
    aspect = max(row.width_px, row.height_px) / min(row.width_px, row.height_px)
    if aspect > MAX_ASPECT:
        notes.append(("extreme_aspect", f"{row.width_px} x {row.height_px} px", "kept"))
    named = Image.registered_extensions().get(Path(row.path).suffix.lower(), image.format)
    # A phone's JPEG with a second picture inside opens as MPO.
    if image.format != named and {image.format, named} != {"JPEG", "MPO"}:
        notes.append(("wrong_extension", f"the content is {image.format}", "kept"))
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", 0)
        notes.append(("animated", f"{frames} frames, the first is used", "converted"))
    if image.mode == "CMYK":
        notes.append(("cmyk", "to RGB", "converted"))
    elif image.mode == "F" or image.mode.startswith("I"):
        notes.append(("16_bit", f"mode {image.mode}, to 8-bit RGB", "converted"))
    elif has_alpha(image):
        notes.append(("alpha", f"mode {image.mode}, flattened on white", "converted"))
    elif image.mode == "P":
        notes.append(("palette", "to RGB", "converted"))
    if orientation > 1:
        notes.append(("exif_rotation", f"EXIF orientation {orientation}", "converted"))
    return notes


def _near(kept: Sequence[_Seen]) -> NDArray[np.int64]:
    thumbs = [one.thumb for one in kept if one.thumb is not None]
    return near_pairs(
        np.array([one.phash for one in kept], np.uint64),
        np.array([one.mirrored_phash for one in kept], np.uint64),
        np.array(thumbs, np.uint8).reshape(-1, _THUMB_PX, _THUMB_PX, 3),
    )


def _drop(seen: list[_Seen], dropped: dict[int, Note], problems: list[Problem]) -> list[_Seen]:
    """Return the images that stay, noting those that go."""
    problems += [Problem(seen[k].row.path, seen[k].row.label, *note) for k, note in dropped.items()]
    return [one for k, one in enumerate(seen) if k not in dropped]


def _drop_pairs(
    seen: list[_Seen],
    pairs: NDArray[np.int64],
    dropped: dict[int, Note],
    problems: list[Problem],
) -> tuple[list[_Seen], NDArray[np.int64]]:
    """Drop images together with their pairs, and number the pairs of the others anew."""
    stays = np.array([k not in dropped for k in range(len(seen))], bool)
    renumbered = np.cumsum(stays) - 1
    left = renumbered[pairs[stays[pairs].all(axis=1)]]
    return _drop(seen, dropped, problems), left


def _require_enough(
    index: DatasetIndex,
    rows: Sequence[ImageRow],
    problems: Sequence[Problem],
    max_dropped: float,
) -> None:
    gone = [p for p in problems if p.action == "dropped"]
    why: dict[str, Counter[str]] = {name: Counter() for name in index.classes}
    for problem in gone:
        why[problem.label][problem.kind] += 1
    left = {row.label for row in rows}
    found = [
        f"class {name}: every image would be dropped ({_counts(why[name])}). "
        "Replace the images, or remove the class."
        for name in index.classes
        if name not in left
    ]
    share = 1 - len(rows) / max(1, len(index.rows))
    if share > max_dropped:
        total = sum(why.values(), Counter())
        example = f"{gone[0].path} ({gone[0].kind}: {gone[0].detail})" if gone else ""
        found.append(
            f"max_dropped: at most {max_dropped:.1%} of the images may be dropped, got "
            f"{share:.1%} ({_counts(total)}; for example {example}). "
            "Mend the images, or raise max_dropped."
        )
    if found:
        raise dataset_error("The check", found)


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())


def _shown(text: str) -> str:
    """Return a name that can be written anywhere; bytes that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
