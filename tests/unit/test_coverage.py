"""A 95 % interval holds the truth 93 to 97 times in 100: drawn over and over from known truths."""

from __future__ import annotations

from functools import partial
from statistics import NormalDist

import numpy as np
import pytest

from search import calibration_error
from search.scores import score_predictions
from search.statistics import (
    auc_interval,
    bootstrap_sums,
    difference_of_proportions,
    f1_interval,
    mean_of_proportions,
    paired_bootstrap_difference,
    wilson_interval,
)

NUM_DRAWS = 4000  # of which chance alone moves the share by 0.3 points


def share(held: object) -> float:
    return float(np.mean(np.asarray(held)))


@pytest.mark.parametrize("num_images", [60, 150, 466, 2000])
@pytest.mark.parametrize("accuracy", [0.55, 0.75, 0.9, 0.96])
def test_accuracy(num_images, accuracy):
    rng = np.random.default_rng(num_images)
    # The truth is spread a little: at single values of it the steps between whole images show.
    truth = accuracy + rng.uniform(-0.02, 0.02, NUM_DRAWS)
    low, high = wilson_interval(rng.binomial(num_images, truth), np.full(NUM_DRAWS, num_images))
    assert 0.93 <= share((low <= truth) & (truth <= high)) <= 0.97


@pytest.mark.parametrize(
    ("counts", "recalls"),
    [
        ((30, 30), (0.9, 0.95)),
        ((120, 22, 8), (0.8, 0.75, 0.9)),
        ((320, 60, 20), (0.9, 0.75, 0.5)),
        ((160, 120, 60, 40, 20), (0.6, 0.7, 0.65, 0.8, 0.5)),
        ((100, 80, 60, 40, 32, 28, 20, 16, 12, 12), np.linspace(0.85, 0.99, 10)),
        ((6,) * 10, (0.85,) * 10),
        ((14,) * 33, np.linspace(0.5, 0.9, 33)),
        ((48, 9, 3), (0.95, 0.9, 0.8)),
        ((60, 30, 20, 10, 5), (0.9,) * 5),
        ((200, 15), (0.99, 0.9)),
    ],
)
def test_balanced_accuracy_of_unequal_classes(counts, recalls):
    rng = np.random.default_rng(0)
    counts, truth = np.array(counts), float(np.mean(recalls))
    drawn = rng.binomial(counts, recalls, (NUM_DRAWS, len(counts)))
    found = [mean_of_proportions(hits, counts) for hits in drawn]
    assert all(m.low <= m.value <= m.high for m in found)
    assert 0.93 <= share([m.low <= truth <= m.high for m in found]) <= 0.97


def test_a_plain_bootstrap_would_not_do_for_unequal_classes():
    """Why balanced accuracy has an interval of its own: 3 images of a class are soon all right."""
    rng = np.random.default_rng(0)
    counts, recalls = np.array([48, 9, 3]), np.array([0.95, 0.9, 0.8])
    held = []
    for hits in rng.binomial(counts, recalls, (400, 3)):
        draws = (rng.binomial(counts, hits / counts, (400, 3)) / counts).mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        held.append(low <= recalls.mean() <= high)
    assert share(held) < 0.88


@pytest.mark.parametrize("chances", [(0.1, 0.02, 0.02), (0.04, 0.03, 0.01), (0.3, 0.1, 0.05)])
def test_f1_of_a_class(chances):
    rng = np.random.default_rng(0)
    hits, false_alarms, misses, _ = rng.multinomial(400, [*chances, 1 - sum(chances)], NUM_DRAWS).T
    low, high = f1_interval(hits, hits + false_alarms + misses)
    truth = 2 * chances[0] / (2 * chances[0] + chances[1] + chances[2])
    assert 0.93 <= share((low <= truth) & (truth <= high)) <= 0.97


@pytest.mark.parametrize(("num_a", "num_b"), [(60, 60), (150, 400)])
@pytest.mark.parametrize(("a", "b"), [(0.9, 0.85), (0.7, 0.7), (0.97, 0.9)])
def test_difference_of_two_sets_of_images(num_a, num_b, a, b):
    rng = np.random.default_rng(0)
    found = [
        difference_of_proportions(int(x), num_a, int(y), num_b)
        for x, y in zip(rng.binomial(num_a, a, 2000), rng.binomial(num_b, b, 2000), strict=True)
    ]
    assert 0.93 <= share([m.low <= a - b <= m.high for m in found]) <= 0.97


@pytest.mark.parametrize("num_images", [100, 250])
def test_paired_difference(num_images):
    rng = np.random.default_rng(num_images)
    held = []
    for seed in range(300):
        kind = rng.choice(4, num_images, p=(0.75, 0.1, 0.05, 0.1))  # both, only a, only b, none
        metric = paired_bootstrap_difference(kind < 2, kind % 2 == 0, num_resamples=200, seed=seed)
        held.append(metric.low <= 0.85 - 0.80 <= metric.high)
    assert 0.91 <= share(held) <= 0.99  # 300 draws leave 2.5 points to chance


def predictions(
    rng: np.random.Generator, num_images: int, chances: list[float], gains: list[float], sure: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw from a model of known quality: classes by their chances, `gains` of the true logit."""
    y_true = rng.choice(len(chances), num_images, p=chances)
    logits = rng.normal(size=(num_images, len(chances)))
    logits[np.arange(num_images), y_true] += np.array(gains)[y_true]
    weights = np.exp(sure * (logits - logits.max(axis=1, keepdims=True)))
    return y_true, weights / weights.sum(axis=1, keepdims=True)


REGIMES = [
    pytest.param(60, [0.8, 0.15, 0.05], [3.5, 3.0, 2.0], 1.5, id="three images of a class"),
    pytest.param(100, [0.5, 0.35, 0.15], [3.5, 3.0, 2.0], 1.5, id="a rare and hard class"),
    pytest.param(150, [0.5, 0.5], [2.0, 2.0], 2.0, id="two classes, calibrated"),
    pytest.param(150, [0.4, 0.4, 0.2], [4.4] * 3, 3.0, id="hardly an image wrong"),
    pytest.param(150, [0.5, 0.5], [4.07, 4.07], 8.0, id="hardly an image wrong, too sure"),
    pytest.param(250, [0.4, 0.3, 0.15, 0.1, 0.05], [2.0] * 5, 1.5, id="hard, not sure enough"),
    pytest.param(400, [0.1] * 10, [3.0] * 10, 5.0, id="ten classes, too sure"),
    pytest.param(1000, [0.5, 0.5], [2.0, 2.0], 2.1, id="all but calibrated"),
]


@pytest.mark.parametrize(("num_images", "chances", "gains", "sure"), REGIMES)
def test_figures_of_a_whole_test(monkeypatch, num_images, chances, gains, sure):
    draw = partial(predictions, np.random.default_rng(3), chances=chances, gains=gains, sure=sure)
    monkeypatch.setattr(calibration_error, "NUM_RESAMPLES", 2)
    truth = {name: m.value for name, m in score_predictions(*draw(300_000)).items()}
    monkeypatch.setattr(calibration_error, "NUM_RESAMPLES", 200)
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(400):
        for name, metric in score_predictions(*draw(num_images)).items():
            assert metric.low <= metric.value <= metric.high
            held[name].append(metric.low <= truth[name] <= metric.high)
    # 400 draws leave 2.5 points to chance.
    found = {name: share(values) for name, values in held.items()}
    assert {name: value for name, value in found.items() if value < 0.915} == {}


def test_a_plain_bootstrap_would_not_do_for_the_log_loss():
    """Why mistakes are counted by themselves: a few that are surely wrong are most of the loss."""
    rng, held = np.random.default_rng(0), []
    make = partial(predictions, rng, chances=[0.5, 0.35, 0.15], gains=[3.5, 3.0, 2.0], sure=3.0)
    y_true, probabilities = make(400_000)
    truth = -np.log(probabilities[np.arange(400_000), y_true]).mean()
    for _ in range(400):
        y_true, probabilities = make(100)
        mine = -np.log(probabilities[np.arange(100), y_true])[:, None]
        low, high = np.quantile(bootstrap_sums(mine, num_resamples=300) / 100, [0.025, 0.975])
        better = score_predictions(y_true, probabilities)["log_loss"]
        held.append((low <= truth <= high, better.low <= truth <= better.high))
    plain_share, share_ = np.mean(held, axis=0)
    assert plain_share < 0.88
    assert 0.93 <= share_ <= 0.985


@pytest.mark.parametrize("num_wrong", [0, 1, 2, 4])
def test_the_log_loss_of_few_mistakes_has_ends_of_its_own_size(num_wrong):
    """A studentized bootstrap put the upper end at 5 to 10^6 here."""
    y_true = (np.arange(150) < num_wrong).astype(np.int64)
    metric = score_predictions(y_true, np.tile([[0.99, 0.01]], (150, 1)))["log_loss"]
    most = 1 - wilson_interval(np.array([150 - num_wrong]), np.array([150]))[0][0]
    assert metric.high == pytest.approx(most * -np.log(0.01) + (1 - most) * -np.log(0.99), rel=0.03)
    assert metric.low < metric.value or not num_wrong


@pytest.mark.parametrize("num_images", [(14, 450), (5, 60), (28, 36)])
@pytest.mark.parametrize("distance", [1.5, 3.0])
def test_area_under_a_roc_curve(num_images, distance):
    rng, (positive, negative) = np.random.default_rng(0), num_images
    of_class = rng.normal(distance, 1, (1000, positive, 1))
    areas = (of_class > rng.normal(0, 1, (1000, 1, negative))).mean(axis=(1, 2))
    low, high = auc_interval(areas, np.full(1000, positive), np.full(1000, negative))
    assert ((low <= areas) & (areas <= high)).all()
    truth = NormalDist().cdf(distance / 2**0.5)
    assert 0.94 <= share((low <= truth) & (truth <= high)) <= 0.995
