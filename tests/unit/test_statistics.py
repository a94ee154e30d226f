"""Intervals cover what they claim; tests agree with their textbook definitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from search.calibration_error import calibration_error, expected_calibration_error
from search.statistics import (
    bootstrap_interval,
    bootstrap_sums,
    mcnemar_exact,
    paired_bootstrap_difference,
    proportion,
    wilson_interval,
)


def mean(sums, num):
    return sums[..., 0] / num


def test_bootstrap_sums_draw_n_images_with_replacement():
    sums = bootstrap_sums(np.eye(7), num_resamples=500, seed=1)
    assert sums.shape == (500, 7)
    assert (sums.sum(axis=1) == 7).all()
    assert sums.max() > 1
    assert sums.mean() == pytest.approx(1.0)


def test_bootstrap_is_the_same_for_the_same_seed_only():
    values = np.random.default_rng(0).random((50, 1))
    first, again = (bootstrap_sums(values, num_resamples=20, seed=3) for _ in range(2))
    assert (first == again).all()
    assert (first != bootstrap_sums(values, num_resamples=20, seed=4)).any()


def test_bootstrap_in_chunks_is_no_different(monkeypatch):
    values = np.random.default_rng(0).random((50, 2))
    whole = bootstrap_sums(values, num_resamples=30, seed=3)
    monkeypatch.setattr("search.statistics._CHUNK_CELLS", 120)
    assert np.allclose(whole, bootstrap_sums(values, num_resamples=30, seed=3))


def test_bootstrap_interval_matches_theory_for_a_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, (400, 1))
    metric = bootstrap_interval(values, lambda sums: mean(sums, 400))
    half = 1.96 * values.std() / 20
    assert metric.value == pytest.approx(values.mean())
    assert metric.low == pytest.approx(values.mean() - half, abs=0.03)
    assert metric.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        right = (rng.random((150, 1)) < 0.8).astype(float)
        metric = bootstrap_interval(
            right, lambda sums: mean(sums, 150), num_resamples=400, seed=seed
        )
        covered += metric.low <= 0.8 <= metric.high
    assert 180 <= covered <= 198


def test_bootstrap_of_5000_images_takes_well_under_a_second():
    values = np.random.default_rng(0).random((5000, 1))
    start = time.process_time()
    bootstrap_sums(values, num_resamples=2000)
    assert time.process_time() - start < 1.0


def found_error(probs, y):
    right = int((probs.argmax(axis=1) == y).sum())
    return calibration_error(probs, y, proportion(right, len(y)))


def sure_of(chances):
    return np.stack([chances, 1 - chances], axis=1)


def test_a_calibration_error_from_zero_on_where_luck_gives_as_much():
    rng = np.random.default_rng(0)
    chances, zero = rng.uniform(0.5, 1.0, 400), 0
    for _ in range(100):
        y = (rng.random(400) > chances).astype(np.int64)
        metric = found_error(sure_of(chances), y)
        assert metric.low <= metric.value <= metric.high
        zero += metric.low == 0.0
    assert 93 <= zero <= 100  # 97.5 expected


def test_the_least_calibration_error_is_that_of_a_test_of_it():
    """One bin, nine in ten sure, 70 of 100 right: a binomial test finds the same lower end."""
    y = np.repeat([0, 1], [70, 30])
    metric = found_error(np.tile([[0.9, 0.1]], (100, 1)), y)
    exact = stats.binomtest(70, 100).proportion_ci(0.95, method="exact").high
    assert metric.value == pytest.approx(0.2)
    assert metric.low == pytest.approx(0.9 - exact, abs=0.008)
    assert metric.high == pytest.approx(0.9 - proportion(70, 100).low, abs=0.015)


def test_a_calibration_error_may_be_as_large_as_the_accuracy_leaves_room_for():
    y = np.zeros(150, dtype=np.int64)
    metric = found_error(np.tile([[0.9999, 0.0001]], (150, 1)), y)  # all right, and sure of it
    assert metric.value == pytest.approx(0.0001)
    assert metric.high == pytest.approx(0.9999 - proportion(150, 150).low)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 20), (7, 9), (20, 20), (300, 466)])
def test_wilson_agrees_with_scipy(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    metric = proportion(successes, trials)
    assert metric.value == successes / trials
    assert metric.low == pytest.approx(expected.low, abs=1e-9)
    assert metric.high == pytest.approx(expected.high, abs=1e-9)


def test_wilson_of_nothing_says_nothing():
    low, high = wilson_interval(np.array([0, 3]), np.array([0, 3]))
    assert (low[0], high[0]) == (0.0, 1.0)
    assert low[1] > 0


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 3), (40, 71)])
def test_mcnemar_is_the_exact_sign_test(only_a, only_b):
    right_a = np.array([True] * only_a + [False] * only_b + [True] * 30 + [False] * 10)
    right_b = np.array([False] * only_a + [True] * only_b + [True] * 30 + [False] * 10)
    total = only_a + only_b
    expected = stats.binomtest(only_a, total).pvalue if total else 1.0
    assert mcnemar_exact(right_a, right_b) == pytest.approx(expected)
    assert mcnemar_exact(right_b, right_a) == pytest.approx(expected)


def test_mcnemar_of_very_many_images_neither_overflows_nor_underflows():
    a = np.zeros(6000, dtype=bool)
    a[:2900] = True
    assert mcnemar_exact(a, ~a) == pytest.approx(stats.binomtest(2900, 6000).pvalue)
    assert 0.0 <= mcnemar_exact(np.ones(6000, dtype=bool), np.zeros(6000, dtype=bool)) < 1e-300


def test_paired_difference_is_narrower_than_unpaired_when_models_agree():
    rng = np.random.default_rng(0)
    b = rng.random(500) < 0.7
    a = b.copy()
    a[np.flatnonzero(~b)[:20]] = True
    metric = paired_bootstrap_difference(a, b)
    assert metric.value == pytest.approx(20 / 500)
    assert 0 < metric.low < 0.04 < metric.high < 0.07


def test_difference_of_equal_models_is_exactly_zero():
    right = np.array([True, False, True])
    metric = paired_bootstrap_difference(right, right)
    assert (metric.value, metric.low, metric.high) == (0.0, 0.0, 0.0)


def test_calibration_error_by_hand():
    # Two bins: .95 confident and half right (gap .45, 2 of 4), .55 and all right (gap .45).
    probs = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    y = np.array([0, 1, 0, 0])
    assert expected_calibration_error(probs, y, bins=15) == pytest.approx(0.45)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0.0


def test_opposite_gaps_cancel_within_a_bin_but_not_between_bins():
    probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    y = np.array([1, 0])  # gaps -.9 and +.4
    assert expected_calibration_error(probs, y, bins=1) == pytest.approx(0.25)
    assert expected_calibration_error(probs, y, bins=10) == pytest.approx(0.65)


def test_calibrated_predictions_have_a_small_error():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 50_000)
    y = (rng.random(50_000) > p).astype(np.int64)
    probs = np.stack([p, 1 - p], axis=1)
    assert expected_calibration_error(probs, y) < 0.01
