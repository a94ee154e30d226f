"""Say what happens to repeated images: within a class, across classes, across given splits.

| kind | rule | action |
|---|---|---|
| exact_duplicate | the same bytes again in its class: one copy is kept | dropped |
| conflicting_label | the same bytes in two classes: no copy can be trusted | dropped |
| conflicting_label | looks like an image of another class | kept |
| leak | in two given splits, exactly or nearly: val gives way to train, both to test | dropped |
| near_duplicate | looks like another image, also mirrored; never parted by our splits | kept |

A test split that came with the data is left whole: results on it stay comparable with others'.
There the first two are noted as kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from search.data.hashes import Numbers
from search.data.matching import Pairs
from search.records import ImageRow, Problem

Found = dict[int, Problem]
"""Number of an image in the rows -> what is wrong with it."""

COPIES = frozenset({"exact_duplicate", "leak"})
"""Kinds whose dropped images are still there in another copy."""
_SPLIT_RANK = {"test": 0, "train": 1, None: 1, "val": 2}  # who keeps a leaked image


def conflicts(rows: Sequence[ImageRow]) -> Found:
    """Find images whose very bytes stand in another class too."""
    copies: dict[str, list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        copies[row.sha256].append(k)
    found = {}
    for k, row in enumerate(rows):
        others = [other for other in copies[row.sha256] if rows[other].label != row.label]
        if others:
            other = rows[others[0]]
            found[k] = _between(
                row, other, "conflicting_label", "same bytes as {other}, of class {label}"
            )
    return found


def exact_copies(rows: Sequence[ImageRow]) -> Found:
    """Keep one of each content: the copy in test before train before val, then the first."""
    owner: dict[tuple[str, str], int] = {}
    found = {}
    for k in sorted(range(len(rows)), key=lambda k: (_SPLIT_RANK[rows[k].split], k)):
        first = owner.setdefault((rows[k].sha256, rows[k].label), k)
        if first != k:
            across = _SPLIT_RANK[rows[first].split] != _SPLIT_RANK[rows[k].split]
            kind = "leak" if across else "exact_duplicate"
            found[k] = _between(rows[k], rows[first], kind, "same bytes as {other}")
    return found


def leaks(rows: Sequence[ImageRow], pairs: Pairs) -> Found:
    """Find images that look like one in a split that has the better right to it."""
    rank = np.array([_SPLIT_RANK[row.split] for row in rows], np.int64)
    turned = np.where(rank[pairs[:, :1]] <= rank[pairs[:, 1:]], pairs, pairs[:, ::-1])
    across = turned[rank[turned[:, 0]] < rank[turned[:, 1]]]
    found: Found = {}
    for stays, goes in across[np.argsort(rank[across[:, 0]], kind="stable")].tolist():
        if goes not in found and stays not in found:  # what is dropped itself has no right
            found[goes] = _between(rows[goes], rows[stays], "leak", "looks like {other}")
    return found


def near_duplicates(rows: Sequence[ImageRow], pairs: Pairs, leaked: Found) -> list[Problem]:
    """Name one look-alike for every image that has any, one of another class if there is one.

    Args:
        rows: Images.
        pairs: Which look alike.
        leaked: Images dropped as leaks, which are left out.
    """
    partner: dict[int, int] = {}
    for i, j in pairs.tolist():
        if i in leaked or j in leaked:
            continue
        for mine, other in ((i, j), (j, i)):
            known = partner.setdefault(mine, other)
            if rows[known].label == rows[mine].label != rows[other].label:
                partner[mine] = other
    problems = []
    for k, other in partner.items():
        kind, words = "near_duplicate", "looks like {other}"
        if rows[other].label != rows[k].label:
            kind, words = "conflicting_label", "looks like {other}, of class {label}"
        problems.append(_between(rows[k], rows[other], kind, words, "kept"))
    return problems


def parts_of(rows: Sequence[ImageRow]) -> Numbers:
    """Number the classes within given splits: in one of them, images can stand for one another."""
    numbers: dict[tuple[str, str | None], int] = {}
    found = [numbers.setdefault((row.label, row.split), len(numbers)) for row in rows]
    return np.array(found, np.int64)


def _between(
    row: ImageRow, other: ImageRow, kind: str, words: str, action: str = "dropped"
) -> Problem:
    return Problem(
        row.path,
        row.label,
        kind,
        words.format(other=other.path, label=other.label),
        "kept" if row.split == "test" else action,
        row.root,
        other.path,
        other.root,
    )
