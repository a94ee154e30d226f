"""Decide which images show the same photo: resized, recompressed, brightened, mirrored, cropped.

Perceptual hashes propose pairs: the whole of one image against the whole of another or its mirror
image, and the whole against windows of 95 % (at nine places) and 90 % (centre) of the other. A
comparison of gradients decides, after the window has been moved and scaled to fit best. Gradients,
because what photos of one kind share is the broad light and dark; of two shots of a shark against
blue water the outline decides.

An image with hardly any fine detail, such as a tiny scan enlarged, shows too little to be told from
its like; it must match almost perfectly. One colour alone never matches.

The limits come from four sets of photos (7,000 in all). The 30 pairs found there are, by eye, one
photo twice; the first that is not scores 0.86. Of planted copies of every kind 99 % are found.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from search.data.hashes import (
    MIRROR,
    WAVES,
    Hashes,
    Numbers,
    Spectra,
    Thumbs,
    Window,
    near_hashes,
    spectra_of,
    waves,
)

Pairs = NDArray[np.int64]
"""(P, 2): numbers of two images."""
Unit = NDArray[np.float32]
"""(N, WAVES²) gradient spectra of length 1: their products are similarities in -1..1."""

WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
CROPS: tuple[Window, ...] = (
    *((top, left, 0.95, 0.95) for top in (0.0, 0.025, 0.05) for left in (0.0, 0.025, 0.05)),
    (0.05, 0.05, 0.9, 0.9),
)
MAX_BITS = 11  # of 64
_WHOLE_KEY_BITS = 2  # all pairs of whole images within MAX_BITS
_CROP_KEY_BITS = 1  # with a window: all within 7 bits, 95 % of those at 8, 74 % of those at 10
MIN_SIMILARITY = 0.94
MIN_PLAIN_SIMILARITY = 0.995  # where detail is below MIN_DETAIL
MIN_DETAIL = 0.3
_FINE = 8  # waves across the image; above is detail
_WORTH_FITTING = 0.5  # similarity before the window is fitted
_FLAT_STD = 2.0  # grey levels; below, there is nothing to compare
_FIT_STEPS = 3
_FIT_MOVE = 0.03  # longest step of a window's edge, in shares of the image
_DELTA = 0.01
_DAMPING = 1e-6
_BATCH = 4096  # pairs compared at once
_POOL = 200_000  # pairs gathered before they are compared

_FREQUENCY = np.hypot(np.arange(WAVES)[:, None], np.arange(WAVES))
_SHARE = np.where(np.arange(WAVES) == 0, np.sqrt(0.5), 1.0)  # the constant wave has half the weight
# Amplitude times frequency: the amplitude of the gradient.
_GRADIENT = (_FREQUENCY * _SHARE[:, None] * _SHARE).astype(np.float32)


def near_pairs(thumbs: Thumbs, parts: Numbers) -> tuple[Pairs, Hashes]:
    """Find the pairs of images that show the same photo.

    A film of a thousand frames has half a million such pairs. Only as many are returned as connect
    all look-alikes, and give each image one in every part where it has any.

    Args:
        thumbs: (N, THUMB_PX, THUMB_PX) uint8 grey.
        parts: (N,) number of the part of each image, such as its class and split.

    Returns:
        Pairs (P, 2), sorted, each once; and the perceptual hash of every image, (N,).
    """
    shows = np.flatnonzero(_std(thumbs) >= _FLAT_STD)
    spectra, hashes, _ = spectra_of(thumbs, WHOLE)
    matcher = _Matcher(thumbs[shows], spectra[shows], parts[shows])
    of_shown = hashes[shows]
    for window in (WHOLE, *CROPS):
        spectra, plain, turned = spectra_of(thumbs[shows], window)
        key_bits = _WHOLE_KEY_BITS if window == WHOLE else _CROP_KEY_BITS
        for flip, queries in ((False, plain), (True, turned)):
            proposed = near_hashes(queries, of_shown, max_bits=MAX_BITS, key_bits=key_bits)
            matcher.compare(proposed, window, _normalised(spectra, flip), flip)
    return np.unique(np.sort(shows[matcher.pairs], axis=1), axis=0), hashes


def group_numbers(num_images: int, pairs: Pairs) -> Numbers:
    """Number the groups that pairs make, (N,) int64, in the order of their first image."""
    ones = np.ones(len(pairs), bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(num_images, num_images))
    return in_order(connected_components(graph, directed=False)[1])


def in_order(labels: Numbers) -> Numbers:
    """Number labels anew, (N,) int64, in the order of their first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


class _Matcher:
    """Compares proposed pairs and keeps those that match, skipping what would tell nothing new."""

    def __init__(self, thumbs: Thumbs, spectra: Spectra, parts: Numbers) -> None:
        self.pairs: Pairs = np.empty((0, 2), np.int64)
        self._thumbs = thumbs
        self._whole = _normalised(spectra)
        fine = np.square(self._whole[:, _FREQUENCY.ravel() > _FINE]).sum(axis=1)
        self._plain = fine < MIN_DETAIL
        self._groups = np.arange(len(thumbs))
        self._parts = parts
        self._known: Numbers = np.empty(0, np.int64)  # which image has a look-alike in which part

    def compare(
        self, proposed: Iterator[tuple[Numbers, Numbers]], window: Window, ours: Unit, flip: bool
    ) -> None:
        """Compare a window of the first image of each pair with the whole of the second.

        Args:
            proposed: Blocks of pairs.
            window: What is seen of the first image.
            ours: Its normalised spectrum, of all images.
            flip: The first image is mirrored.
        """
        for pairs in self._pooled(proposed):
            while len(pairs):
                some, pairs = pairs[:_BATCH], pairs[_BATCH:]
                alike = some[self._match(some, window, ours, flip)]
                if len(alike):
                    self._add(alike)
                    pairs = pairs[self._is_news(pairs)]

    def _pooled(self, proposed: Iterator[tuple[Numbers, Numbers]]) -> Iterator[Pairs]:
        """Gather pairs that would be news, each once, until comparing them is worth a step."""
        pool = np.empty((0, 2), np.int64)
        for block in proposed:
            pairs = np.column_stack(block)
            pool = np.concatenate([pool, pairs[self._is_news(pairs)]])
            if len(pool) >= _POOL:
                yield np.unique(pool, axis=0)
                pool = pool[:0]
        yield np.unique(pool, axis=0)

    def _match(self, pairs: Pairs, window: Window, ours: Unit, flip: bool) -> NDArray[np.bool_]:
        left, right = pairs.T
        plain = self._plain[left] | self._plain[right]
        needed = np.where(plain, MIN_PLAIN_SIMILARITY, MIN_SIMILARITY)
        theirs = self._whole[right]
        score = np.einsum("ij,ij->i", ours[left], theirs)
        fit = np.flatnonzero((score >= _WORTH_FITTING) & (score < needed) & ~plain)
        score[fit] = _fitted(self._thumbs[left[fit]], window, theirs[fit], flip)
        return np.asarray(score >= needed)

    def _is_news(self, pairs: Pairs) -> NDArray[np.bool_]:
        left, right = pairs.T
        news: NDArray[np.bool_] = self._groups[left] != self._groups[right]
        across = np.flatnonzero(~news & (self._parts[left] != self._parts[right]))
        left, right = left[across], right[across]
        news[across] = ~(self._knows(left, right) & self._knows(right, left))
        return news

    def _knows(self, images: Numbers, others: Numbers) -> NDArray[np.bool_]:
        if not len(self._known):
            return np.zeros(len(images), bool)
        codes = self._codes(images, others)
        place = np.minimum(np.searchsorted(self._known, codes), len(self._known) - 1)
        return np.asarray(self._known[place] == codes)

    def _codes(self, images: Numbers, others: Numbers) -> Numbers:
        """Write an image and the part of another as one number."""
        return np.asarray(self._parts[others] * len(self._parts) + images)

    def _add(self, pairs: Pairs) -> None:
        left, right = pairs.T
        self.pairs = np.concatenate([self.pairs, pairs])
        self._groups = group_numbers(len(self._thumbs), self.pairs)
        codes = [self._codes(left, right), self._codes(right, left)]
        self._known = np.union1d(self._known, np.concatenate(codes))


def _fitted(thumbs: Thumbs, window: Window, theirs: Unit, flip: bool) -> NDArray[np.float32]:
    """Move and scale a window of each image to where it looks most like its partner.

    Gauss-Newton steps on the four edges.

    Returns:
        The similarity there, (P,).
    """
    windows = np.tile(np.array(window), (len(thumbs), 1))
    best = _seen_through(thumbs, windows, flip)
    score: NDArray[np.float32] = np.einsum("ij,ij->i", best, theirs)
    for _ in range(_FIT_STEPS):
        slopes = np.stack(
            [
                _seen_through(thumbs, windows + edge, flip)
                - _seen_through(thumbs, windows - edge, flip)
                for edge in np.eye(4) * _DELTA
            ],
            axis=-1,
        ) / (2 * _DELTA)
        missing = theirs - best * score[:, None]
        turned = slopes.transpose(0, 2, 1)
        step = np.linalg.solve(turned @ slopes + _DAMPING * np.eye(4), turned @ missing[..., None])
        moved = windows + np.clip(step[..., 0], -_FIT_MOVE, _FIT_MOVE)
        seen = _seen_through(thumbs, moved, flip)
        new = np.einsum("ij,ij->i", seen, theirs)
        better = new > score
        windows[better], best[better], score[better] = moved[better], seen[better], new[better]
    return score


def _seen_through(thumbs: Thumbs, windows: NDArray[np.float64], flip: bool) -> Unit:
    """Return the normalised spectrum of a window of its own for each image."""
    down, across = (waves(windows[:, k], windows[:, 2 + k]).astype(np.float32) for k in (0, 1))
    return _normalised(down @ thumbs.astype(np.float32) @ across.transpose(0, 2, 1), flip)


def _normalised(spectra: Spectra, flip: bool = False) -> Unit:
    weights = _GRADIENT * MIRROR if flip else _GRADIENT
    gradient = (spectra * weights).reshape(len(spectra), WAVES * WAVES)
    norm = np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.asarray(gradient / np.maximum(norm, 1e-6), np.float32)


def _std(thumbs: Thumbs) -> NDArray[np.float64]:
    """Return each thumbnail's standard deviation in grey levels, (N,)."""
    return np.array([thumb.std() for thumb in thumbs], np.float64)
