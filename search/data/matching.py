"""Decide which images show the same photo: resized, recompressed, brightened, mirrored, cropped.

Perceptual hashes propose pairs: the whole of one image against the whole of another or its mirror
image, and the whole against windows of 95 % (at nine places) and 90 % (centre) of the other. A
comparison of gradients decides, after the window has been moved and scaled to fit best. Gradients,
because what photos of one kind share is the broad light and dark; of two shots of a shark against
blue water the outline decides.

Photos on one background resemble each other in every pair, and fitting them all would take hours.
So of an image with many partners only those are fitted that first promise to match: of planted
copies all do through one of the windows, of pairs on one background one in twenty.

An image with hardly any fine detail, such as a tiny scan enlarged, shows too little to be told from
its like; it must match almost perfectly. One colour alone never matches.

The limits come from four sets of photos (7,000 in all). The 30 pairs found there are, by eye, one
photo twice; the first that is not scores 0.86. Of planted copies of every kind 99 % are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from search.data.fitting import FREQUENCY, Unit, fitted, normalised, slopes_of
from search.data.hashes import Hashes, Numbers, Spectra, Thumbs, Window, near_hashes, spectra_of

Pairs = NDArray[np.int64]
"""(P, 2): numbers of two images."""

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
_CLOSE = 0.8  # of an image with many partners
_PROMISING = 0.9  # similarity that the slopes of a spectrum foretell
_CROWD = 8  # partners of one image through one window; of more, the promising are fitted
_MOST_FITTED = 16
_FLAT_STD = 2.0  # grey levels; below, there is nothing to compare
_BATCH = 4096  # pairs fitted, or found alike, at once
_POOL = 200_000  # pairs gathered before they are compared
_DENSE = 16  # multiply all with all where up to so many times the pairs asked for come out


def near_pairs(
    thumbs: Thumbs, parts: Numbers, on_round: Callable[[int, int], None] | None = None
) -> tuple[Pairs, Hashes]:
    """Find the pairs of images that show the same photo.

    A film of a thousand frames has half a million such pairs. Only as many are returned as connect
    all look-alikes, and give each image one in every part where it has any.

    Args:
        thumbs: (N, THUMB_PX, THUMB_PX) uint8 grey.
        parts: (N,) number of the part of each image, such as its class and split.
        on_round: Called with (rounds done, rounds in all).

    Returns:
        Pairs (P, 2), sorted, each once; and the perceptual hash of every image, (N,).
    """
    shows = np.flatnonzero(_std(thumbs) >= _FLAT_STD)
    spectra, hashes, _ = spectra_of(thumbs, WHOLE)
    matcher = _Matcher(thumbs[shows], spectra[shows], parts[shows])
    of_shown = hashes[shows]
    for done, window in enumerate((WHOLE, *CROPS), start=1):
        spectra, plain, turned = spectra_of(thumbs[shows], window)
        key_bits = _WHOLE_KEY_BITS if window == WHOLE else _CROP_KEY_BITS
        for flip, queries in ((False, plain), (True, turned)):
            proposed = near_hashes(queries, of_shown, max_bits=MAX_BITS, key_bits=key_bits)
            matcher.compare(proposed, window, normalised(spectra, flip), flip)
        if on_round:
            on_round(done, 1 + len(CROPS))
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
        self._whole = normalised(spectra)
        fine = np.square(self._whole[:, FREQUENCY.ravel() > _FINE]).sum(axis=1)
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
            left, right = pairs.T
            plain = self._plain[left] | self._plain[right]
            needed = np.where(plain, MIN_PLAIN_SIMILARITY, MIN_SIMILARITY)
            score = _products(ours, left, self._whole, right)
            for some in self._news_of(pairs[score >= needed]):
                self._add(some)
            near = (score >= _WORTH_FITTING) & (score < needed) & ~plain
            near[near] = self._is_news(pairs[near])
            for some in self._news_of(self._to_fit(pairs[near], score[near], window, flip)):
                left, right = some.T
                score = fitted(self._thumbs[left], window, self._whole[right], flip)
                self._add(some[score >= MIN_SIMILARITY])

    def _pooled(self, proposed: Iterator[tuple[Numbers, Numbers]]) -> Iterator[Pairs]:
        """Gather pairs that would be news, each once, until comparing them is worth a step."""
        num = max(1, len(self._thumbs))
        pool: list[Numbers] = []
        for block in proposed:
            pairs = np.column_stack(block)
            pairs = pairs[self._is_news(pairs)]
            pool.append(pairs[:, 0] * num + pairs[:, 1])
            if sum(map(len, pool)) >= _POOL:
                yield np.column_stack(np.divmod(np.unique(np.concatenate(pool)), num))
                pool = []
        if pool:
            yield np.column_stack(np.divmod(np.unique(np.concatenate(pool)), num))

    def _news_of(self, pairs: Pairs) -> Iterator[Pairs]:
        """Yield batches of those pairs that, after all batches before, would still be news."""
        while len(pairs := pairs[self._is_news(pairs)]):
            yield pairs[:_BATCH]
            pairs = pairs[_BATCH:]

    def _to_fit(
        self, pairs: Pairs, score: NDArray[np.float32], window: Window, flip: bool
    ) -> Pairs:
        """Return all partners of an image that has few, else those that promise most."""
        crowded = np.bincount(pairs[:, 0], minlength=len(self._thumbs))[pairs[:, 0]] > _CROWD
        close = crowded & (score >= _CLOSE)
        promise = self._promise(pairs[close], score[close], window, flip)
        hopeful = np.flatnonzero(promise >= _PROMISING)
        left = pairs[close][hopeful, 0]
        order = np.lexsort((-promise[hopeful], left))
        left = left[order]
        rank = np.arange(len(left)) - np.searchsorted(left, left)  # among the image's partners
        best = pairs[close][hopeful[order[rank < _MOST_FITTED]]]
        return np.concatenate([pairs[~crowded], best])

    def _promise(
        self, pairs: Pairs, score: NDArray[np.float32], window: Window, flip: bool
    ) -> NDArray[np.float32]:
        """Foretell the similarity after fitting.

        What small moves of a window's edges make of a spectrum lies, to first order, in the space
        of the spectrum and its four slopes: they bring it as near to another as that one's
        projection on the space.
        """
        images, place = _places(pairs[:, 0], len(self._thumbs))
        slopes = slopes_of(self._thumbs[images], window, flip)
        square = np.square(score)
        for k in range(slopes.shape[1]):
            square += np.square(_products(slopes[:, k], place, self._whole, pairs[:, 1]))
        return np.sqrt(square)

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
        if not len(pairs):
            return
        left, right = pairs.T
        self.pairs = np.concatenate([self.pairs, pairs])
        self._groups = group_numbers(len(self._thumbs), self.pairs)
        codes = [self._codes(left, right), self._codes(right, left)]
        self._known = np.union1d(self._known, np.concatenate(codes))


def _products(ours: Unit, left: Numbers, theirs: Unit, right: Numbers) -> NDArray[np.float32]:
    """Multiply ours[left[k]] with theirs[right[k]] for every k, (P,)."""
    rows, row = _places(left, len(ours))
    columns, column = _places(right, len(theirs))
    if len(rows) * len(columns) <= _DENSE * len(left):
        return np.asarray((ours[rows] @ theirs[columns].T)[row, column], np.float32)
    found = np.empty(len(left), np.float32)
    for k in range(0, len(left), _BATCH):
        some = slice(k, k + _BATCH)
        np.einsum("ij,ij->i", ours[left[some]], theirs[right[some]], out=found[some])
    return found


def _places(numbers: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """Return the numbers that occur, below `most`, and the place of each among them."""
    occurs = np.bincount(numbers, minlength=most) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


def _std(thumbs: Thumbs) -> NDArray[np.float64]:
    """Return each thumbnail's standard deviation in grey levels, (N,)."""
    return np.array([thumb.std() for thumb in thumbs], np.float64)
