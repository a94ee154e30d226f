"""Intervals and tests for figures measured on a finite number of images. Pure numpy.

Every metric here is a function of sums over images, so one matrix product of resampling counts with
the columns to be summed bootstraps all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from search.records import Ids, Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = Floats | Ids

NUM_RESAMPLES = 2000
LEVEL = 0.95
_CHUNK_CELLS = 4_000_000  # resampling counts held at once: 32 MB


def bootstrap_sums(columns: Floats, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Floats:
    """Sum the rows of each bootstrap resample.

    Args:
        columns: (N, K), one row per image.
        num_resamples: B.
        seed: The same seed draws the same resamples for the same N.

    Returns:
        (B, K): for each resample of N images with replacement, the K column sums.
    """
    num_images = len(columns)
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // num_images)
    sums = np.empty((num_resamples, columns.shape[1]))
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        drawn = rng.integers(0, num_images, (rows, num_images))
        drawn += np.arange(rows)[:, None] * num_images
        counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
        sums[start : start + rows] = counts.reshape(rows, num_images).astype(np.float64) @ columns
    return sums


def percentile_interval(value: float, draws: Floats, *, recentre: bool = False) -> Metric:
    """Return the value with the central 95 % of its bootstrap draws.

    Args:
        value: The figure on the images themselves.
        draws: (B,) the figure on each resample.
        recentre: Shift the interval by the mean of the draws minus the value. Needed for figures
            that resampling pushes one way, such as calibration error.

    References:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    shift = float(draws.mean()) - value if recentre else 0.0
    return Metric(float(value), float(low) - shift, float(high) - shift)


def bootstrap_interval(
    columns: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Metric:
    """Return a statistic of column sums with its 95 % percentile bootstrap interval over images.

    Args:
        columns: (N, K), one row per image.
        statistic: Maps sums (..., K) to figures (...).
    """
    draws = statistic(bootstrap_sums(columns, num_resamples=num_resamples, seed=seed))
    return percentile_interval(float(statistic(columns.sum(axis=0))), draws)


def paired_bootstrap_difference(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Metric:
    """Return mean(a) - mean(b) with its 95 % interval; a and b (N,) belong to the same images."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return bootstrap_interval(
        difference[:, None],
        lambda sums: sums[..., 0] / len(difference),
        num_resamples=num_resamples,
        seed=seed,
    )


def wilson_interval(successes: Numbers, trials: Numbers) -> tuple[Floats, Floats]:
    """Return the 95 % Wilson score interval of each proportion, 0 to 1 where there are no trials.

    References:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    n = np.maximum(np.asarray(trials, dtype=np.float64), 1.0)
    rate = np.asarray(successes, dtype=np.float64) / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    seen = np.asarray(trials) > 0
    # All or none right: rounding must not leave the rate itself outside.
    low, high = np.minimum(centre - half, rate), np.maximum(centre + half, rate)
    low = np.where(seen, np.clip(low, 0.0, 1.0), 0.0)
    return low, np.where(seen, np.clip(high, 0.0, 1.0), 1.0)


def proportion(successes: float, trials: int) -> Metric:
    """Return a proportion with its 95 % Wilson interval."""
    low, high = wilson_interval(np.array([successes]), np.array([trials]))
    return Metric(successes / trials, float(low[0]), float(high[0]))


def mean_of_proportions(successes: Ids, trials: Ids) -> Metric:
    """Return the plain mean of proportions, such as recalls, with its 95 % interval.

    A bootstrap finds no spread in a small class that is all right, and is too narrow. Here each
    proportion's variance is that of a rate drawn towards the common one by two images, and the
    mean gets Wilson's interval for the number of images that would vary as much.

    Args:
        successes, trials: (K,) of each class; classes without trials are left out.

    References:
        Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010, on why;
        Korn & Graubard, Survey Methodology 24, 1998, on effective numbers in score intervals.
    """
    seen = trials > 0
    hits, n = successes[seen].astype(np.float64), trials[seen].astype(np.float64)
    common = (hits.sum() + 1) / (n.sum() + 2)
    rates = (hits + 2 * common) / (n + 2)
    variance = float((rates * (1 - rates) / n).sum()) / len(n) ** 2
    effective = rates.mean() * (1 - rates.mean()) / variance
    value = float((hits / n).mean())
    low, high = wilson_interval(np.array([value * effective]), np.array([effective]))
    return Metric(value, float(low[0]), float(high[0]))


def median_interval(values: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a median: the values between which it lies, NaN below 6 values.

    Each value is above the median or below like a fair coin, whatever they are distributed like.

    References:
        Conover, Practical Nonparametric Statistics, 1999, section 3.2.
    """
    count, ordered = len(values), np.sort(values)
    rank, ways, tail = 0, 1, 1  # whole numbers: of 2^count ways to fall, those with few below
    while 40 * tail <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        tail += ways
    if not rank:
        return float("nan"), float("nan")
    return float(ordered[rank - 1]), float(ordered[count - rank])


def f1_interval(hits: Ids, named: Ids) -> tuple[Floats, Floats]:
    """Return the 95 % interval of each class's F1.

    F1 rises with the share of hits among the images that are of the class or are called so, which
    is a proportion: its Wilson interval, carried over.

    Args:
        hits: (K,) images of the class that are called so.
        named: (K,) images that are of the class, or called so, or both.
    """
    low, high = wilson_interval(hits, named)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def difference_of_proportions(hits_a: int, num_a: int, hits_b: int, num_b: int) -> Metric:
    """Return a's rate minus b's with its 95 % interval, for two separate sets of images.

    References:
        Newcombe, Statistics in Medicine 17, 1998: method 10, from both Wilson intervals.
    """
    a, b = proportion(hits_a, num_a), proportion(hits_b, num_b)
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Metric(value, low, high)


def two_proportions_p(hits_a: int, num_a: int, hits_b: int, num_b: int) -> float:
    """Return the two-sided p-value that two separate sets of images are got right equally often.

    The normal test with a pooled rate; 1 where every image of both is right, or none.
    """
    pooled = (hits_a + hits_b) / (num_a + num_b)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / num_a + 1 / num_b))
    if not spread:
        return 1.0
    z = abs(hits_a / num_a - hits_b / num_b) / float(spread)
    return 2 * (1 - NormalDist().cdf(z))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that allow for having made all of these comparisons.

    References:
        Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for place, k in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - place) * p_values[k]))
        adjusted[k] = floor
    return adjusted


def mcnemar_exact(right_a: Bools, right_b: Bools) -> float:
    """Return the two-sided exact p-value that two classifiers err equally often.

    Only images that one gets right and the other wrong count; under the null each is a fair coin.

    Args:
        right_a, right_b: (N,) whether each classifier got the image right.

    References:
        McNemar, Psychometrika 12, 1947; the exact form is a sign test.
    """
    only_a = int(np.sum(right_a & ~right_b))
    only_b = int(np.sum(right_b & ~right_a))
    discordant, fewer = only_a + only_b, min(only_a, only_b)
    ways, tail = 1, 0  # whole numbers of any size: no underflow, however many images
    for k in range(fewer + 1):
        tail += ways
        ways = ways * (discordant - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**discordant))


def calibration_columns(probs: Floats, y: Ids, bins: int = 15) -> Floats:
    """Return (N, bins): right minus confidence, in the column of the image's confidence bin."""
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == y
    # A confidence on an edge belongs to the bin below it, as in the reference.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    columns = np.zeros((len(y), bins))
    columns[np.arange(len(y)), place] = right - confidence
    return columns


def chance_calibration_errors(probs: Floats, bins: int = 15, seed: int = 0) -> Floats:
    """Return (B,) calibration errors that luck alone would give these very confidences.

    References:
        Bröcker & Smith, Increasing the reliability of reliability diagrams, 2007.
    """
    confidence = probs.max(axis=1)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    spread = np.sqrt(np.bincount(place, confidence * (1 - confidence), bins))
    gaps = np.random.default_rng(seed).normal(0.0, 1.0, (NUM_RESAMPLES, bins)) * spread
    errors: Floats = np.abs(gaps).sum(axis=1) / len(probs)
    return errors


def expected_calibration_error(probs: Floats, y: Ids, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence.

    Args:
        probs: (N, C) class probabilities.
        y: (N,) true classes.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    return float(np.abs(calibration_columns(probs, y, bins).sum(axis=0)).sum() / len(y))
