"""Figures of a classifier's predictions: with intervals, and per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.calibration_error import calibration_columns, calibration_interval, errors_by_luck
from search.records import Ids, Metric
from search.statistics import (
    Floats,
    bootstrap_sums,
    f1_interval,
    mean_of_proportions,
    proportion,
    studentized_interval,
    wilson_interval,
)

TOP5_FROM = 11  # classes; with fewer, five guesses say little
_SMALLEST = 1e-12  # probability whose logarithm stands in for that of zero
_LEAST = {"macro_f1": 0.0, "mcc": -1.0, "kappa": -1.0}  # figures that go with the accuracy


def score_predictions(y_true: Ids, probabilities: Floats, *, seed: int = 0) -> dict[str, Metric]:
    """Compute every figure of the test with its 95 % interval.

    Accuracies are proportions and get Wilson's interval, the balanced one that of a mean of
    proportions; macro F1, mcc and kappa the shape of the accuracy's with the spread of a bootstrap
    over images; log loss a studentized bootstrap; ece one that allows for its bias. A plain
    bootstrap is too narrow where few images are wrong: without any it has no spread at all.

    In simulated tests of 100 to 2,000 images (2 to 33 classes, accuracies from 79 to 99.8 %) macro
    F1, mcc and kappa held the truth 92 to 97 times in 100. The log loss did 93 to 96 times, but 82
    where hardly an image is wrong (0.3 of 150): what one more would cost cannot be known then.

    Args:
        y_true: (N,) true classes.
        probabilities: (N, C).
        seed: Of the resampling.

    Returns:
        accuracy, balanced_accuracy, macro_f1, top5_accuracy (from 11 classes on), mcc, kappa,
        log_loss and ece. Balanced accuracy and macro F1 are means over the classes that occur.

    References:
        Brodersen et al. 2010 (balanced accuracy); Gorodkin 2004 (mcc of many classes);
        Cohen 1960 (kappa); Guo et al. 2017 (ece).
    """
    columns, parts = _image_columns(y_true, probabilities)
    sums, num_images = columns.sum(axis=0), len(y_true)
    whole = {name: float(value) for name, value in _figures(sums, parts).items()}
    resampled = bootstrap_sums(columns, seed=seed)
    draws = _figures(resampled, parts)
    found = {
        name: proportion(whole[name] * num_images, num_images)
        for name in ("accuracy", "top5_accuracy")
    }
    hits, true = (sums[parts[name]].round().astype(np.int64) for name in ("hits", "true"))
    found["balanced_accuracy"] = mean_of_proportions(hits, true)
    for name, least in _LEAST.items():
        ratio = _ratio(draws[name], draws["accuracy"])
        found[name] = _scaled(found["accuracy"], whole[name], ratio, least)
    squares = resampled[:, parts["log_loss_squared"]][:, 0] / num_images
    losses = columns[:, parts["log_loss"]][:, 0]
    found["log_loss"] = studentized_interval(losses, draws["log_loss"], squares, least=0.0)
    by_luck = errors_by_luck(probabilities, seed=seed)
    found["ece"] = calibration_interval(whole["ece"], draws["ece"], by_luck)
    if len(probabilities[0]) < TOP5_FROM:
        del found["top5_accuracy"]
    return {name: found[name] for name in whole if name in found}


def _ratio(draws: Floats, of_accuracy: Floats) -> float:
    """Return how much wider than the accuracy a figure spreads; as wide where neither does."""
    spread = float(of_accuracy.std())
    return float(draws.std()) / spread if spread else 1.0


def _scaled(accuracy: Metric, value: float, ratio: float, least: float) -> Metric:
    low = value - ratio * (accuracy.value - accuracy.low)
    high = value + ratio * (accuracy.high - accuracy.value)
    return Metric(value, max(low, least), min(high, 1.0))


def _image_columns(y_true: Ids, probabilities: Floats) -> tuple[Floats, dict[str, slice]]:
    """Lay out per image what the figures are sums of, and where each kind of column lies."""
    num_images, num_classes = probabilities.shape
    one_hot = np.eye(num_classes)
    predicted = probabilities.argmax(axis=1)
    own = probabilities[np.arange(num_images), y_true]
    losses = -np.log(np.maximum(own, _SMALLEST))[:, None]
    better = (probabilities > own[:, None]).sum(axis=1)
    blocks = {
        "true": one_hot[y_true],
        "predicted": one_hot[predicted],
        "hits": one_hot[y_true] * (predicted == y_true)[:, None],
        "top5": (better < 5).astype(np.float64)[:, None],
        "log_loss": losses,
        "log_loss_squared": losses**2,
        "ece": calibration_columns(probabilities, y_true),
    }
    parts, start = {}, 0
    for name, block in blocks.items():
        parts[name] = slice(start, start + block.shape[1])
        start += block.shape[1]
    return np.concatenate(list(blocks.values()), axis=1), parts


def _figures(sums: Floats, parts: dict[str, slice]) -> dict[str, Floats]:
    """Turn column sums (..., K) into figures (...)."""
    true, predicted, hits = (sums[..., parts[name]] for name in ("true", "predicted", "hits"))
    total, right = true.sum(axis=-1), hits.sum(axis=-1)
    occurs = true > 0
    recall = np.where(occurs, hits / np.maximum(true, 1), 0.0)
    named = true + predicted > 0
    f1 = np.where(named, 2 * hits / np.maximum(true + predicted, 1), 0.0)
    covariance = right * total - (true * predicted).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (predicted**2).sum(axis=-1))
    room = total**2 - (true * predicted).sum(axis=-1)
    return {
        "accuracy": right / total,
        "balanced_accuracy": recall.sum(axis=-1) / occurs.sum(axis=-1),
        "macro_f1": f1.sum(axis=-1) / named.sum(axis=-1),
        "top5_accuracy": sums[..., parts["top5"]].sum(axis=-1) / total,
        "mcc": np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0),
        "kappa": np.where(room > 0, covariance / np.maximum(room, 1), 0.0),
        "log_loss": sums[..., parts["log_loss"]].sum(axis=-1) / total,
        "ece": np.abs(sums[..., parts["ece"]]).sum(axis=-1) / total,
    }


def per_class_scores(
    classes: Sequence[str], y_true: Ids, predicted: Ids
) -> list[dict[str, str | float | int]]:
    """Return support, and precision, recall and f1 with their 95 % intervals, of each class.

    A ratio without a denominator (a class never predicted, or without test images) is 0, its
    interval 0 to 1.
    """
    num = len(classes)
    support = np.bincount(y_true, minlength=num)
    guesses = np.bincount(predicted, minlength=num)
    hits = np.bincount(y_true[predicted == y_true], minlength=num)
    values = {
        "precision": (hits / np.maximum(guesses, 1), wilson_interval(hits, guesses)),
        "recall": (hits / np.maximum(support, 1), wilson_interval(hits, support)),
        "f1": (
            2 * hits / np.maximum(support + guesses, 1),
            f1_interval(hits, support + guesses - hits),
        ),
    }
    rows: list[dict[str, str | float | int]] = []
    for k, name in enumerate(classes):
        row: dict[str, str | float | int] = {"class": name, "support": int(support[k])}
        for figure, (value, (low, high)) in values.items():
            row[figure] = float(value[k])
            row[f"{figure}_low"], row[f"{figure}_high"] = float(low[k]), float(high[k])
        rows.append(row)
    return rows


def count_confusions(y_true: Ids, predicted: Ids, num_classes: int) -> Ids:
    """Return (C, C): how many images of each class (row) were called each class (column)."""
    places = y_true * num_classes + predicted
    return np.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes)


def ranked_confusions(counts: Ids) -> list[tuple[int, int]]:
    """Return (true, predicted) of each kind of mistake that was made, the most frequent first.

    Args:
        counts: (C, C) images by true and predicted class.
    """
    true, predicted = np.nonzero(counts * (1 - np.eye(len(counts), dtype=np.int64)))
    order = np.argsort(-counts[true, predicted], kind="stable")
    return list(zip(true[order].tolist(), predicted[order].tolist(), strict=True))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return (N, C) probabilities as they are when all logits are divided by a temperature."""
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: Floats = weights / weights.sum(axis=1, keepdims=True)
    return scaled
