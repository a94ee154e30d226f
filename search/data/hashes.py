"""Perceptual hashes of windows of images, and looking up near ones without comparing every pair.

A 64-bit perceptual hash keeps, of the 8 × 8 lowest cosine waves of a 32 × 32 px grey image, which
are above their median: the definition of the ImageHash library, computed here for many images and
windows at once. A window needs no resizing, because a cosine wave may be laid over any part of the
pixels, and mirroring only changes the sign of the odd waves.

Hashes are looked up by multi-index hashing: of the four 16-bit keys of two hashes that differ in d
bits, one differs in at most d // 4. Where many hashes share their keys, as photos on one background
do, looking up would cost more than comparing them all, and they are compared.

References:
    Zauner 2010, Implementation and benchmarking of perceptual image hash functions.
    Norouzi, Punjani & Fleet 2012, Fast search in Hamming space with multi-index hashing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.look import THUMB_PX

Thumbs = NDArray[np.uint8]
"""(N, THUMB_PX, THUMB_PX) grey."""
Hashes = NDArray[np.uint64]
"""(N,)"""
Spectra = NDArray[np.float32]
"""(N, WAVES, WAVES): amplitude of each pair of vertical and horizontal cosine waves."""
Numbers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Window = tuple[float, float, float, float]
"""Top, left, height and width, in shares of the image."""

WAVES = 16
MIRROR = np.where(np.arange(WAVES) % 2, -1, 1).astype(np.float32)
"""A spectrum times this is the spectrum of the mirror image."""
_HASHED = 8  # lowest waves that a hash is made of
_KEY_BITS = 16
_BLOCK = 1_000_000  # pairs held in memory at once
_BATCH = 4096  # images transformed at once
_LOOKED_UP = 8  # looking up a pair takes as long as comparing so many


def spectra_of(thumbs: Thumbs, window: Window) -> tuple[Spectra, Hashes, Hashes]:
    """Transform one window of every image.

    Returns:
        The spectra, the perceptual hashes, and the perceptual hashes of the mirror images.
    """
    spectra = np.empty((len(thumbs), WAVES, WAVES), np.float32)
    hashes, mirrored = np.empty((2, len(thumbs)), np.uint64)
    top, left, height, width = window
    down, across = waves(np.array([top, left]), np.array([height, width]))
    for k in range(0, len(thumbs), _BATCH):
        # In double precision, so that a wave near the median falls on the same side everywhere.
        exact = down @ (thumbs[k : k + _BATCH] @ across.T)
        spectra[k : k + _BATCH] = exact
        low = exact[:, :_HASHED, :_HASHED]
        hashes[k : k + _BATCH] = _phash(low)
        mirrored[k : k + _BATCH] = _phash(low * MIRROR[:_HASHED])
    return spectra, hashes, mirrored


def waves(start: Floats, length: Floats) -> Floats:
    """Return cosine waves over parts of a row of pixels, (..., WAVES, THUMB_PX).

    Args:
        start: Where each part begins, in shares of the row; its precision is the result's.
        length: How long each part is.
    """
    edges = (np.arange(THUMB_PX + 1) / THUMB_PX).astype(start.dtype)
    number = np.arange(WAVES)[:, None].astype(start.dtype)
    begin, end = start[..., None], (start + length)[..., None]
    low, high = np.clip(edges[:-1], begin, end), np.clip(edges[1:], begin, end)
    middle = ((low + high) / 2 - begin) / length[..., None]
    covered = (high - low) * THUMB_PX  # how much of each pixel lies inside
    return np.asarray(np.cos(np.pi * number * middle[..., None, :]) * covered[..., None, :])


def near_hashes(
    queries: Hashes, hashes: Hashes, *, max_bits: int, key_bits: int
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield blocks of (query, image) numbers whose hashes are near; a pair may come repeatedly.

    Args:
        queries: Hashes to look up.
        hashes: Hashes to find.
        max_bits: In how many bits the two may differ.
        key_bits: In how many bits one of the four keys may differ, k. Every pair that differs in
            up to 4 k + 3 bits is found, and a falling share of those beyond.
    """
    left_to_look_up = len(queries) * len(hashes) // _LOOKED_UP
    probes = [
        np.uint16(sum(1 << bit for bit in bits))
        for number in range(key_bits + 1)
        for bits in combinations(range(_KEY_BITS), number)
    ]
    for shift in range(0, 64, _KEY_BITS):
        order, starts = _table(_key(hashes, shift))
        keys = _key(queries, shift)
        for probe in probes:
            first, last = starts[keys ^ probe], starts[(keys ^ probe).astype(np.int64) + 1]
            left_to_look_up -= int((last - first).sum())
            if left_to_look_up < 0:
                yield from _compared(queries, hashes, max_bits)
                return
            for left, places in _spread(first, last - first):
                right = order[places]
                close = np.bitwise_count(queries[left] ^ hashes[right]) <= max_bits
                if close.any():
                    yield left[close], right[close]


def _compared(queries: Hashes, hashes: Hashes, max_bits: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Compare all with all: yield blocks of pairs that differ in up to `max_bits` bits."""
    rows = max(1, _BLOCK // max(1, len(hashes)))
    for low in range(0, len(queries), rows):
        bits = np.bitwise_count(queries[low : low + rows, None] ^ hashes)
        left, right = np.nonzero(bits <= max_bits)
        yield left + low, right


def _phash(low: NDArray[np.float64]) -> Hashes:
    flat = low.reshape(len(low), _HASHED * _HASHED)
    bits = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _key(hashes: Hashes, shift: int) -> NDArray[np.uint16]:
    return ((hashes >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.uint16)


def _table(keys: NDArray[np.uint16]) -> tuple[Numbers, Numbers]:
    """Return the images in the order of their keys, and where each of the 65,536 keys begins."""
    counts = np.bincount(keys, minlength=1 << _KEY_BITS)
    return np.argsort(keys, kind="stable"), np.concatenate([[0], np.cumsum(counts)])


def _spread(first: Numbers, count: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield (query, place) for `count` places from `first` on, about _BLOCK pairs at a time."""
    total = np.cumsum(count)
    low = 0
    while low < len(count):
        before = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, before + _BLOCK, "right")))
        number = count[low:high]
        left = np.repeat(np.arange(low, high), number)
        run_start = np.repeat(total[low:high] - number - before, number)
        yield left, np.arange(len(left)) - run_start + np.repeat(first[low:high], number)
        low = high
