"""Find repeated images, and say which go; near duplicates without comparing every pair.

A 64-bit perceptual hash proposes pairs, and a comparison of small thumbnails decides. Hashes are
looked up by multi-index hashing: cut into four 16-bit keys, two hashes that differ in at most 11
bits must have one key that differs in at most 2, so 137 lookups per key find every such pair.

References:
    Norouzi, Punjani & Fleet 2012, Fast search in Hamming space with multi-index hashing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from search.records import ImageRow, Problem

Hashes = NDArray[np.uint64]
Thumbs = NDArray[np.uint8]
Pairs = NDArray[np.int64]
Note = tuple[str, str, str]
"""Kind, detail and action of a problem."""

MAX_DISTANCE = 11  # bits of 64
# Of the thumbnails, each scaled to mean 0 and norm 1. On four sets of photos these two limits find
# all resized, recompressed, brightened and mirrored copies, and no pair that a person would not.
MIN_CORRELATION = 0.965
_KEY_BITS = 16
_PROBES = tuple(
    sum(1 << bit for bit in bits)
    for number in range(MAX_DISTANCE // (64 // _KEY_BITS) + 1)
    for bits in combinations(range(_KEY_BITS), number)
)
_FLAT_STD = 2.0  # grey levels; below, a thumbnail shows nothing that could be compared
_SPLIT_RANK = {"test": 0, "train": 1, None: 1, "val": 2}  # who keeps a leaked image
_MAX_BLOCK = 4_000_000  # candidate pairs held in memory at once
_MAX_THUMBS = 20_000  # thumbnails held as floats at once


def near_pairs(hashes: Hashes, mirrored: Hashes, thumbs: Thumbs) -> Pairs:
    """Return the pairs (i < j) of images that look alike, as they are or mirrored.

    Args:
        hashes: (N,) perceptual hash of each image.
        mirrored: (N,) perceptual hash of its mirror image.
        thumbs: (N, T, T, 3) uint8 small versions.

    Returns:
        (P, 2) int64, sorted, each pair once.
    """
    found = [np.empty((0, 2), np.int64)]
    shows = np.flatnonzero(_std(thumbs) >= _FLAT_STD)
    for queries, flip in ((hashes, False), (mirrored, True)):
        for near, far in _candidates(queries[shows], hashes[shows]):
            left, right = shows[near[near != far]], shows[far[near != far]]
            alike = _correlation(thumbs, left, right, flip=flip) >= MIN_CORRELATION
            pairs = np.column_stack([left[alike], right[alike]])
            found.append(np.sort(pairs, axis=1))
    return np.unique(np.concatenate(found), axis=0)


def group_numbers(num_images: int, pairs: Pairs) -> NDArray[np.int64]:
    """Number the groups that pairs make, (N,) int64, in the order of their first image."""
    ones = np.ones(len(pairs), bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(num_images, num_images))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def conflicts(rows: Sequence[ImageRow]) -> dict[int, Note]:
    """Find images whose very bytes stand in another class too: no copy can be trusted."""
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.sha256, set()).add(row.label)
    return {
        k: ("conflicting_label", "also in class " + ", ".join(sorted(others)), "dropped")
        for k, row in enumerate(rows)
        if (others := labels[row.sha256] - {row.label})
    }


def exact_copies(rows: Sequence[ImageRow]) -> dict[int, Note]:
    """Keep one of each content: the copy in test before train before val, then the first."""
    owner: dict[str, int] = {}
    ranked = sorted(range(len(rows)), key=lambda k: (_SPLIT_RANK[rows[k].split], k))
    dropped = {}
    for k in ranked:
        first = owner.setdefault(rows[k].sha256, k)
        if first != k:
            across = _SPLIT_RANK[rows[first].split] != _SPLIT_RANK[rows[k].split]
            kind = "leak" if across else "exact_duplicate"
            dropped[k] = (kind, f"same bytes as {rows[first].path}", "dropped")
    return dropped


def leaks(rows: Sequence[ImageRow], pairs: Pairs) -> dict[int, Note]:
    """Find images that look like one in a split that has the better right to it."""
    dropped: dict[int, Note] = {}
    # Test first: an image that leaves train because of test frees its look-alikes in val.
    for holder in (0, 1):
        for i, j in pairs.tolist():
            for mine, other in ((i, j), (j, i)):
                ranks = _SPLIT_RANK[rows[mine].split], _SPLIT_RANK[rows[other].split]
                if ranks[1] == holder < ranks[0] and other not in dropped:
                    detail = f"looks like {rows[other].path}"
                    dropped.setdefault(mine, ("leak", detail, "dropped"))
    return dropped


def near_problems(rows: Sequence[ImageRow], pairs: Pairs) -> list[Problem]:
    """Name one look-alike for every image that has any."""
    partner: dict[int, int] = {}
    for i, j in pairs.tolist():
        partner.setdefault(i, j)
        partner.setdefault(j, i)
    return [
        Problem(
            rows[k].path, rows[k].label, "near_duplicate", f"looks like {rows[other].path}", "kept"
        )
        for k, other in partner.items()
    ]


def _candidates(queries: Hashes, hashes: Hashes) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield blocks of (query, image) numbers whose hashes differ in at most MAX_DISTANCE bits."""
    for shift in range(0, 64, _KEY_BITS):
        keys = _key(hashes, shift)
        order = np.argsort(keys, kind="stable")
        in_order = keys[order]
        for mask in _PROBES:
            wanted = _key(queries, shift) ^ np.uint16(mask)
            start = np.searchsorted(in_order, wanted, "left")
            count = np.searchsorted(in_order, wanted, "right") - start
            for low, high in _blocks(count):
                left = np.repeat(np.arange(low, high), count[low:high])
                ends = np.cumsum(count[low:high])
                offset = np.arange(len(left)) - np.repeat(ends - count[low:high], count[low:high])
                right = order[np.repeat(start[low:high], count[low:high]) + offset]
                close = np.bitwise_count(queries[left] ^ hashes[right]) <= MAX_DISTANCE
                if close.any():
                    yield left[close], right[close]


def _key(hashes: Hashes, shift: int) -> NDArray[np.uint16]:
    return ((hashes >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.uint16)


def _blocks(count: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut the queries into runs of at most about _MAX_BLOCK pairs."""
    total = np.cumsum(count)
    low = 0
    while low < len(count):
        before = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, before + _MAX_BLOCK, "right")))
        yield low, high
        low = high


def _correlation(thumbs: Thumbs, left: Pairs, right: Pairs, *, flip: bool) -> NDArray[np.float32]:
    result = np.empty(len(left), np.float32)
    step = _MAX_THUMBS
    for k in range(0, len(left), step):
        mine = thumbs[left[k : k + step]]
        a = _normalised(mine[:, :, ::-1] if flip else mine)
        b = _normalised(thumbs[right[k : k + step]])
        result[k : k + step] = np.einsum("ij,ij->i", a, b)
    return result


def _std(thumbs: Thumbs) -> NDArray[np.float32]:
    """Return each thumbnail's standard deviation in grey levels, (N,)."""
    flat = thumbs.reshape(len(thumbs), -1)
    step = _MAX_THUMBS
    parts = [flat[k : k + step].std(axis=1, dtype=np.float32) for k in range(0, len(flat), step)]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _normalised(thumbs: Thumbs) -> NDArray[np.float32]:
    values = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(norm, 1e-6), np.float32)
