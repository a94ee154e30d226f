"""Open every image, find repeated ones, and drop or note what would spoil a study.

The rules for one image are in `look.py`, those between images in `duplicates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from search.data.duplicates import (
    COPIES,
    Found,
    conflicts,
    exact_copies,
    leaks,
    near_duplicates,
    parts_of,
)
from search.data.index import dataset_error
from search.data.look import THUMB_PX, Look, look_at
from search.data.matching import Pairs, group_numbers, in_order, near_pairs
from search.errors import DatasetError
from search.records import (
    CheckedDataset,
    DatasetIndex,
    ImageRow,
    Problem,
    fingerprint,
    read_csv,
    write_csv,
)

_CHUNK = 64  # images that one task looks at
_MANY_COPIES = 0.05  # share of the images from which their loss is worth a warning

Progress = Callable[[int, int], None]


class UnusableDataError(DatasetError):
    """Too little is left for a study; `checked` is what was found all the same."""

    def __init__(self, message: str, checked: CheckedDataset) -> None:
        super().__init__(message)
        self.checked = checked


def check_images(
    index: DatasetIndex,
    *,
    max_dropped: float,
    num_workers: int,
    on_progress: Progress | None = None,
) -> CheckedDataset:
    """Decode every image and apply the rules.

    Args:
        index: What `build_index` found.
        max_dropped: Largest share of the images, in 0..1, that may be lost. A copy that is dropped
            is not lost: the image is still there.
        num_workers: Threads that decode; with 1 no thread is started.
        on_progress: Called with (images done, images in all), as they are opened, and then once
            more from 0 as they are compared.

    Returns:
        The kept images with every field filled, the problems sorted by path, and a fingerprint
        of the kept content that names, order and machine do not change.

    Raises:
        UnusableDataError: A class would lose its last training image, or more than `max_dropped`
            of the images are lost.
    """
    looks = _look_at_all(index, num_workers, on_progress)
    problems = [problem for look in looks for problem in look.problems]
    kept = [look for look in looks if look.thumb is not None]
    kept = _drop(kept, conflicts(_rows(kept)), problems)
    kept = _drop(kept, exact_copies(_rows(kept)), problems)
    rows = _rows(kept)
    thumbs = np.array([look.thumb for look in kept], np.uint8).reshape(-1, THUMB_PX, THUMB_PX)
    pairs, hashes = near_pairs(thumbs, parts_of(rows), _in_images(on_progress, len(index.rows)))
    leaked = leaks(rows, pairs)
    problems += [*leaked.values(), *near_duplicates(rows, pairs, leaked)]
    rows = [replace(row, phash=f"{int(h):016x}") for row, h in zip(rows, hashes, strict=True)]
    rows = _grouped(rows, pairs, leaked)
    problems.sort(key=lambda p: (p.path, p.root, p.kind, p.detail))
    left = replace(index, rows=tuple(rows))
    checked = CheckedDataset(left, tuple(problems), content_fingerprint(left))
    _require_enough(checked, len(index.rows), max_dropped)
    return checked


def content_fingerprint(index: DatasetIndex) -> str:
    """Identify the data by what it holds: labels, given splits and content of all images."""
    return fingerprint(sorted([row.label, row.split or "", row.sha256] for row in index.rows))


def copies_warning(checked: CheckedDataset) -> str:
    """Return a sentence when many images turned out to be copies of others, "" otherwise."""
    gone = Counter(p.kind for p in checked.problems if p.action == "dropped")
    copies = sum(gone[kind] for kind in COPIES)
    total = len(checked.index.rows) + gone.total()
    if copies < _MANY_COPIES * total:
        return ""
    return (
        f"{copies:,} of {total:,} images ({copies / total:.0%}) are copies of others and were left "
        "out: there is less data here than there seems to be."
    )


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write problems.csv."""
    write_csv(path, [f.name for f in fields(Problem)], (asdict(p) for p in problems))


def read_problems(path: Path) -> tuple[Problem, ...]:
    """Read problems.csv back."""
    return tuple(_problem(line) for line in read_csv(path))


def _problem(line: Mapping[str, str]) -> Problem:
    values: dict[str, Any] = dict(line)
    return Problem(**(values | {name: int(line[name]) for name in ("root", "other_root")}))


def _look_at_all(index: DatasetIndex, num_workers: int, on_progress: Progress | None) -> list[Look]:
    looks: list[Look] = []
    total = len(index.rows)
    for chunk in _in_threads(index, num_workers):
        looks += chunk
        if on_progress:
            on_progress(len(looks), total)
    return looks


def _in_threads(index: DatasetIndex, num_workers: int) -> Iterator[list[Look]]:
    """Look at the images chunk by chunk, in order, with no more chunks under way than needed."""

    def look(start: int) -> list[Look]:
        ids = range(start, min(start + _CHUNK, len(index.rows)))
        return look_at([index.rows[k] for k in ids], [index.file(k) for k in ids])

    starts = iter(range(0, len(index.rows), _CHUNK))
    if num_workers <= 1:
        yield from map(look, starts)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        waiting = [pool.submit(look, start) for start in islice(starts, 2 * num_workers)]
        while waiting:
            done = waiting.pop(0)
            waiting += [pool.submit(look, start) for start in islice(starts, 1)]
            yield done.result()


def _in_images(on_progress: Progress | None, num_images: int) -> Progress | None:
    """Return a callback for rounds that tells `on_progress` of images."""
    if on_progress is None:
        return None
    return lambda done, total: on_progress(num_images * done // total, num_images)


def _rows(looks: Sequence[Look]) -> list[ImageRow]:
    return [look.row for look in looks]


def _drop(looks: list[Look], found: Found, problems: list[Problem]) -> list[Look]:
    """Return the images that stay, noting what was found."""
    problems += found.values()
    dropped = {k for k, problem in found.items() if problem.action == "dropped"}
    return [look for k, look in enumerate(looks) if k not in dropped]


def _grouped(rows: Sequence[ImageRow], pairs: Pairs, leaked: Found) -> list[ImageRow]:
    """Return the rows that stay, with the numbers of their groups.

    Look-alikes of one dropped image stay together, but no group reaches over given splits.
    """
    groups = group_numbers(len(rows), pairs)
    # Images without a split of their own are train images, as `make_split` sees them.
    splits = np.unique([row.split or "train" for row in rows], return_inverse=True)[1]
    stay = [k for k in range(len(rows)) if k not in leaked]
    numbers = in_order((groups * (len(rows) + 1) + splits)[stay])
    return [replace(rows[k], group=int(number)) for k, number in zip(stay, numbers, strict=True)]


def _require_enough(checked: CheckedDataset, num_images: int, max_dropped: float) -> None:
    gone = [p for p in checked.problems if p.action == "dropped"]
    trained = {row.label for row in checked.index.rows if row.split in (None, "train")}
    found = [
        f"class {name}: every training image would be dropped "
        f"({_counts(p for p in gone if p.label == name)}). "
        "Replace the images, or remove the class."
        for name in checked.index.classes
        if name not in trained
    ]
    lost = [p for p in gone if p.kind not in COPIES]
    share = len(lost) / max(1, num_images)
    if share > max_dropped:
        found.append(
            f"max_dropped: at most {max_dropped:.1%} of the images may be dropped, got "
            f"{share:.1%} ({_counts(lost)}; for example {lost[0].path} "
            f"({lost[0].kind}: {lost[0].detail})). Mend the images, or raise max_dropped."
        )
    if found:
        raise UnusableDataError(str(dataset_error("The check", found)), checked)


def _counts(problems: Iterable[Problem]) -> str:
    kinds = Counter(p.kind for p in problems)
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
