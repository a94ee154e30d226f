"""Counts of confusions, and how far the figures made of them vary: against draws of them."""

from __future__ import annotations

import numpy as np
import pytest

from search.confusions import (
    confusion_figures,
    count_confusions,
    effective_images,
    likely_confusions,
    ranked_confusions,
    standard_errors,
)


def test_confusions_are_counted_and_ranked():
    counts = count_confusions(np.array([0, 0, 2, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 1]), 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0]]
    assert ranked_confusions(counts) == [(2, 0), (0, 1), (2, 1)]


def test_likely_confusions_keep_the_classes_and_allow_for_mistakes():
    counts = np.diag([40, 6, 0, 3])
    counts[0, 1] = 1
    shares = likely_confusions(counts)
    assert shares.shape == (3, 3)  # the class that neither occurs nor is named is left out
    assert shares.sum(axis=1) == pytest.approx(np.array([41, 6, 3]) / 50)
    assert (shares > 0).all()
    right = 50 / 52
    assert shares[2, 2] == pytest.approx(3 / 50 * (3 + 2 * right) / 5)
    assert shares[2, 0] == pytest.approx(3 / 50 * (1 - right) / 5)


@pytest.mark.parametrize(
    "counts",
    [
        [[300, 20], [40, 240]],
        [[200, 10, 5], [10, 60, 8], [0, 6, 30]],
        np.diag([20] * 12) + np.eye(12, k=1, dtype=int) * 4,
    ],
)
def test_standard_errors_are_those_of_draws(counts):
    counts = np.array(counts)
    shares, total = likely_confusions(counts), int(counts.sum())
    draws = np.random.default_rng(0).multinomial(total, shares.ravel(), 3000)
    figures = [confusion_figures(draw.reshape(shares.shape)) for draw in draws]
    for name, error in standard_errors(shares, total).items():
        assert np.std([one[name] for one in figures]) == pytest.approx(error, rel=0.06), name


def test_equal_classes_count_as_many_images_as_there_are():
    counts = np.diag([57] * 4) + 1 - np.eye(4, dtype=int)
    assert effective_images(likely_confusions(counts), 240) == pytest.approx(240, rel=0.02)
    rare = np.diag([200, 15])
    assert effective_images(likely_confusions(rare), 215) < 60


def test_all_of_one_class_is_as_uncertain_as_the_accuracy():
    shares = likely_confusions(np.diag([0, 9]))
    errors = standard_errors(shares, 9)
    assert errors["mcc"] == errors["kappa"] == errors["accuracy"] > 0
    assert effective_images(shares, 9) == 9
