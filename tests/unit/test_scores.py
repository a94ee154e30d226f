"""Figures of a test agree with scikit-learn, and their intervals mean something."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as sk

from search.records import Metric
from search.scores import per_class_scores, score_predictions, tempered
from search.verdicts import compare_models, comparison_text, worth_it


def predictions(num_images=400, num_classes=12, seed=0, skill=2.0):
    rng = np.random.default_rng(seed)
    y_true = rng.choice(num_classes, num_images, p=rng.dirichlet(np.ones(num_classes)))
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), y_true] += skill
    weights = np.exp(logits)
    return y_true, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("num_classes", [2, 5, 12, 33])
def test_figures_agree_with_scikit_learn(num_classes):
    y_true, probabilities = predictions(300, num_classes)
    predicted = probabilities.argmax(axis=1)
    metrics = score_predictions(y_true, probabilities)
    labels = np.arange(num_classes)
    expected = {
        "accuracy": sk.accuracy_score(y_true, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(y_true, predicted),
        "macro_f1": sk.f1_score(y_true, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(y_true, predicted),
        "kappa": sk.cohen_kappa_score(y_true, predicted),
        "log_loss": sk.log_loss(y_true, probabilities, labels=labels),
    }
    if num_classes > 10:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(
            y_true, probabilities, k=5, labels=labels
        )
    for name, value in expected.items():
        assert metrics[name].value == pytest.approx(value), name
    assert set(metrics) == {*expected, "ece"}
    for name, metric in metrics.items():
        assert metric.low <= metric.value <= metric.high, name
        assert metric.high - metric.low < 0.5, name


def test_intervals_narrow_with_more_images():
    few = score_predictions(*predictions(100))
    many = score_predictions(*predictions(2500))
    for name in few:
        assert many[name].high - many[name].low < 0.5 * (few[name].high - few[name].low), name


def test_a_perfect_score_on_few_images_is_not_called_certain():
    metrics = score_predictions(np.arange(20) % 4, np.eye(4)[np.arange(20) % 4])
    assert metrics["accuracy"].value == 1.0
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "kappa"):
        assert 0.7 < metrics[name].low < 0.95, name
        assert metrics[name].high == pytest.approx(1.0), name
    assert metrics["log_loss"].value == 0.0


def test_a_certain_mistake_costs_a_finite_log_loss():
    metrics = score_predictions(np.array([1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert 10 < metrics["log_loss"].value < 20


def test_one_image_and_one_class_predicted_give_figures():
    metrics = score_predictions(np.array([1]), np.array([[0.9, 0.1]]))
    assert metrics["accuracy"].value == 0.0
    assert metrics["mcc"].value == 0.0
    assert all(np.isfinite([m.value, m.low, m.high]).all() for m in metrics.values())


def test_figures_of_466_images_and_33_classes_take_well_under_2_seconds():
    y_true, probabilities = predictions(466, 33)
    start = time.process_time()
    score_predictions(y_true, probabilities)
    assert time.process_time() - start < 2.0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_per_class_scores_agree_with_scikit_learn():
    y_true, probabilities = predictions(200, 12)
    y_true = np.where(y_true == 3, 4, y_true)  # a class without test images
    predicted = probabilities.argmax(axis=1)
    predicted = np.where(predicted == 5, 6, predicted)  # a class never predicted
    rows = per_class_scores([f"class {k}" for k in range(12)], y_true, predicted)
    expected = sk.precision_recall_fscore_support(y_true, predicted, labels=range(12))
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in rows] == pytest.approx(list(values)), name
    assert (rows[3]["support"], rows[3]["recall_low"], rows[3]["recall_high"]) == (0, 0.0, 1.0)
    assert (rows[5]["precision_low"], rows[5]["precision_high"]) == (0.0, 1.0)
    for name in ("precision", "recall", "f1"):
        assert all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for row in rows), name
    few, *_, many = sorted((row for row in rows if row["support"]), key=lambda r: r["support"])
    assert few["f1_high"] - few["f1_low"] > many["f1_high"] - many["f1_low"]


def one_hot(guesses):
    return np.eye(2)[guesses]


def test_a_clear_gain_is_called_more_than_noise():
    y = np.zeros(466, dtype=np.int64)
    worse = np.zeros(466, dtype=np.int64)
    worse[:30] = 1
    result = compare_models(y, one_hot(y), one_hot(worse))
    assert result["difference"] == pytest.approx(30 / 466)
    assert 0 < result["low"] < result["difference"] < result["high"]
    assert result["text"] == (
        f"Tuning gained 6.4 points of accuracy over the default recipe (95 % interval "
        f"{100 * result['low']:.1f} to {100 * result['high']:.1f}; McNemar p < 0.001): "
        "more than noise."
    )
    swapped = compare_models(y, one_hot(worse), one_hot(y))
    assert swapped["text"].startswith("Tuning lost 6.4 points of accuracy against the default")
    assert swapped["text"].endswith(": more than noise.")


def test_a_gain_of_a_few_images_is_called_noise():
    text = comparison_text(Metric(0.012, -0.008, 0.031), 0.31, 466)
    assert text == (
        "Tuning gained 1.2 points of accuracy over the default recipe (95 % interval -0.8 to 3.1; "
        "McNemar p = 0.31): not more than noise with 466 test images."
    )
    # The test decides as well as the interval.
    assert "not more than noise" in comparison_text(Metric(0.02, 0.001, 0.04), 0.07, 466)


def test_no_difference_is_said_plainly():
    text = comparison_text(Metric(0.0, 0.0, 0.0), 1.0, 60)
    assert text.startswith("Tuning made no difference to the accuracy of the default recipe")
    assert "not more than noise with 60 test images" in text


def test_a_perfectly_calibrated_model_may_have_an_error_of_zero():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.5, 1.0, 300)
    y_true = (rng.random(300) > chances).astype(np.int64)
    ece = score_predictions(y_true, np.stack([chances, 1 - chances], axis=1))["ece"]
    assert (ece.low, ece.value > 0.02) == (0.0, True)
    sure = score_predictions(y_true, np.stack([chances**0.2, 1 - chances**0.2], axis=1))["ece"]
    assert 0.05 < sure.low < sure.value, "too sure of itself by more than luck"


def test_a_temperature_changes_how_sure_and_not_of_what():
    _, probabilities = predictions(50, 5)
    soft = tempered(probabilities, 2.0)
    assert soft.sum(axis=1) == pytest.approx(1)
    assert (soft.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert (soft.max(axis=1) < probabilities.max(axis=1)).all()
    assert tempered(probabilities, 1.0) == pytest.approx(probabilities)
    assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 0.3)).all()


@pytest.mark.parametrize(
    ("low", "value", "p", "answer"),
    [
        (0.01, 0.05, 0.01, "yes"),
        (-0.01, 0.02, 0.2, "not shown"),
        (0.001, 0.02, 0.07, "not shown"),
        (-0.01, 0.0, 1.0, "no"),
        (-0.03, -0.01, 0.4, "no"),
    ],
)
def test_whether_tuning_was_worth_it(low, value, p, answer):
    assert worth_it(Metric(value, low, 2 * value - low), p) == answer


def test_the_runner_up_is_compared_by_name():
    y = np.zeros(100, dtype=np.int64)
    worse = np.zeros(100, dtype=np.int64)
    worse[:3] = 1
    told = compare_models(y, one_hot(y), one_hot(worse), "trial 7")
    assert told["name"] == "trial 7"
    assert told["text"].startswith(
        "The winner is 3.0 points of accuracy above the runner-up, trial"
    )
    assert told["text"].endswith(": not more than noise with 100 test images.")
    swapped = compare_models(y, one_hot(worse), one_hot(y), "trial 7")["text"]
    assert "3.0 points of accuracy below the runner-up" in swapped
