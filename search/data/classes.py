"""Rename, merge, drop and cap classes, by names alone: no image is opened for it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from search.data.layout import class_name
from search.dataset_section import ClassesConfig
from search.findings import closest, listed, unknown_name
from search.records import ImageRow

_SLIP = 0.75  # likeness from which a name in `rename` is a slip of the pen (difflib's ratio)
_MAX_SHOWN = 12


def name_problems(classes: ClassesConfig, present: Iterable[str]) -> tuple[list[str], list[str]]:
    """Compare the names in a space file with the classes that are there.

    A name in `drop` must be there. One in `rename` may be missing, since one space file serves the
    original folders, some of them, folders renamed before, and photos of other things; but not
    where a class looks like it, which then would keep its name, or not be merged. Photos of other
    things have none of the other old names, and likeness says nothing there.

    Args:
        present: Class names as folders and lists have them.

    Returns:
        Problems, and warnings.
    """
    names = sorted(set(present))
    rename, drop = _spelled(classes)
    final = sorted({rename.get(name, name) for name in names})
    problems = [
        f"dataset.classes.drop: {name!r}: {unknown_name(name, final)}"
        for name in drop
        if name not in final
    ]
    untouched = [name for name in names if name not in rename and name not in rename.values()]
    missing = [old for old in rename if old not in names]
    slips = {old: match for old in missing if (match := closest(old, untouched, _SLIP))}
    if len(rename) == 1 or len(missing) < len(rename):
        problems += [
            f"dataset.classes.rename: {old!r}: unknown name. Did you mean {match}?"
            for old, match in slips.items()
        ]
    of_no_use = [old for old in missing if rename[old] not in names or old in slips]
    if problems or not of_no_use:
        return problems, []
    return [], [
        f"dataset.classes.rename: no class is called {_some(of_no_use)}, so nothing is renamed "
        f"there. The classes are {_some(final)}."
    ]


def name_classes(rows: Sequence[ImageRow], classes: ClassesConfig) -> list[ImageRow]:
    """Return the rows of the classes that stay, under their new names."""
    rename, drop = _spelled(classes)
    named = [replace(row, label=rename[row.label]) if row.label in rename else row for row in rows]
    return [row for row in named if row.label not in drop]


def is_dropped(label: str, classes: ClassesConfig) -> bool:
    """Tell whether a class, by the name of its folder, is left out."""
    rename, drop = _spelled(classes)
    return rename.get(label, label) in drop


def cap_classes(rows: list[ImageRow], max_images: int | None) -> tuple[list[ImageRow], list[str]]:
    """Keep at most `max_images` of every class; return the rows, and a warning if any went.

    A class keeps the images whose hashed path comes first: the same ones on every machine and for
    every seed. Each given split gives its share.
    """
    if max_images is None:
        return rows, []
    members: dict[str, dict[str, list[ImageRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        members[row.label][row.split or ""].append(row)
    kept: list[ImageRow] = []
    for by_split in members.values():
        shares = split_shares({split: len(of) for split, of in by_split.items()}, max_images)
        for split, of in by_split.items():
            kept += sorted(of, key=_draw)[: shares[split]]
    if len(kept) == len(rows):
        return rows, []
    return kept, [
        f"dataset.classes.max_images: {len(kept):,} of {len(rows):,} images are used, at most "
        f"{max_images:,} of a class. More would take longer, and make a better model."
    ]


def _spelled(classes: ClassesConfig) -> tuple[dict[str, str], list[str]]:
    rename = {class_name(old): class_name(new) for old, new in classes.rename.items()}
    return rename, [class_name(name) for name in classes.drop]


def split_shares(counts: Mapping[str, int], max_images: int) -> dict[str, int]:
    """Return how many images of a class each split keeps: in proportion, and at least one. Pure.

    References:
        Hamilton's method of largest remainders.
    """
    total = sum(counts.values())
    if total <= max_images:
        return dict(counts)
    exact = {split: max_images * number / total for split, number in counts.items()}
    shares = Counter({split: max(1, int(share)) for split, share in exact.items()})
    for split in sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name)):
        shares[split] += shares.total() < max_images
    shares[max(shares, key=lambda name: (shares[name], name))] -= shares.total() - max_images
    return dict(shares)


def _draw(row: ImageRow) -> tuple[str, int]:
    # Not the bytes: capping must not read 25,000 images. A Mac may hand out decomposed names.
    path = unicodedata.normalize("NFC", row.path)
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest(), row.root


def _some(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MAX_SHOWN else ""
    return listed(names[:_MAX_SHOWN]) + more
