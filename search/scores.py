"""Figures of a classifier's predictions: with intervals, per class, and against another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from search.records import Ids, Metric
from search.statistics import (
    Floats,
    bootstrap_sums,
    calibration_columns,
    mcnemar_exact,
    paired_bootstrap_difference,
    percentile_interval,
    proportion,
    wilson_interval,
)

TOP5_FROM = 11  # classes; with fewer, five guesses say little
_SMALLEST = 1e-12  # probability whose logarithm stands in for that of zero


def score_predictions(y_true: Ids, probabilities: Floats, *, seed: int = 0) -> dict[str, Metric]:
    """Compute every figure of the test with its 95 % interval.

    Accuracies are proportions and get Wilson's interval, the others a bootstrap over images.

    Args:
        y_true: (N,) true classes.
        probabilities: (N, C).
        seed: Of the resampling.

    Returns:
        accuracy, balanced_accuracy, macro_f1, top5_accuracy (from 11 classes on), mcc, log_loss
        and ece. Balanced accuracy and macro F1 are means over the classes that occur.

    References:
        Brodersen et al. 2010 (balanced accuracy); Gorodkin 2004 (mcc of many classes);
        Guo et al. 2017 (ece).
    """
    columns, parts = _image_columns(y_true, probabilities)
    whole = _figures(columns.sum(axis=0), parts)
    draws = _figures(bootstrap_sums(columns, seed=seed), parts)
    metrics = {
        name: percentile_interval(float(value), draws[name], recentre=name == "ece")
        for name, value in whole.items()
    }
    metrics["ece"] = replace(metrics["ece"], low=max(metrics["ece"].low, 0.0))
    # Resampling images that are all right gives 1 to 1, as if nothing could go wrong.
    for name in ("accuracy", "top5_accuracy"):
        metrics[name] = proportion(metrics[name].value * len(y_true), len(y_true))
    if len(probabilities[0]) < TOP5_FROM:
        del metrics["top5_accuracy"]
    return metrics


def _image_columns(y_true: Ids, probabilities: Floats) -> tuple[Floats, dict[str, slice]]:
    """Lay out per image what the figures are sums of, and where each kind of column lies."""
    num_images, num_classes = probabilities.shape
    one_hot = np.eye(num_classes)
    predicted = probabilities.argmax(axis=1)
    own = probabilities[np.arange(num_images), y_true]
    better = (probabilities > own[:, None]).sum(axis=1)
    blocks = {
        "true": one_hot[y_true],
        "predicted": one_hot[predicted],
        "hits": one_hot[y_true] * (predicted == y_true)[:, None],
        "top5": (better < 5).astype(np.float64)[:, None],
        "log_loss": -np.log(np.maximum(own, _SMALLEST))[:, None],
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
    return {
        "accuracy": right / total,
        "balanced_accuracy": recall.sum(axis=-1) / occurs.sum(axis=-1),
        "macro_f1": f1.sum(axis=-1) / named.sum(axis=-1),
        "top5_accuracy": sums[..., parts["top5"]].sum(axis=-1) / total,
        "mcc": np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0),
        "log_loss": sums[..., parts["log_loss"]].sum(axis=-1) / total,
        "ece": np.abs(sums[..., parts["ece"]]).sum(axis=-1) / total,
    }


def per_class_scores(
    classes: Sequence[str], y_true: Ids, predicted: Ids
) -> list[dict[str, str | float | int]]:
    """Return precision, recall, f1, support and the recall's Wilson interval of each class.

    A ratio without a denominator (a class never predicted, or without test images) is 0.
    """
    num = len(classes)
    support = np.bincount(y_true, minlength=num)
    guesses = np.bincount(predicted, minlength=num)
    hits = np.bincount(y_true[predicted == y_true], minlength=num)
    low, high = wilson_interval(hits, support)
    return [
        {
            "class": name,
            "precision": float(hits[k] / max(guesses[k], 1)),
            "recall": float(hits[k] / max(support[k], 1)),
            "f1": float(2 * hits[k] / max(support[k] + guesses[k], 1)),
            "support": int(support[k]),
            "recall_low": float(low[k]),
            "recall_high": float(high[k]),
        }
        for k, name in enumerate(classes)
    ]


def compare_models(y_true: Ids, tuned: Floats, baseline: Floats) -> dict[str, Any]:
    """Tell whether the tuned model beats the default recipe by more than chance.

    Args:
        y_true: (N,) true classes.
        tuned, baseline: (N, C) probabilities for the same images.

    Returns:
        difference, low, high (of accuracy, 95 % paired bootstrap), p_value (exact McNemar), and
        one plain sentence as `text`.
    """
    right_a = tuned.argmax(axis=1) == y_true
    right_b = baseline.argmax(axis=1) == y_true
    difference = paired_bootstrap_difference(right_a, right_b)
    p_value = mcnemar_exact(right_a, right_b)
    return {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": p_value,
        "text": comparison_text(difference, p_value, len(y_true)),
    }


def comparison_text(difference: Metric, p_value: float, num_images: int) -> str:
    """Say in one sentence what tuning changed and whether that is more than noise."""
    points = 100 * difference.value
    if abs(points) < 0.05:
        start = "Tuning made no difference to the accuracy of the default recipe"
    elif points > 0:
        start = f"Tuning gained {points:.1f} points of accuracy over the default recipe"
    else:
        start = f"Tuning lost {-points:.1f} points of accuracy against the default recipe"
    p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    interval = f"{100 * difference.low:.1f} to {100 * difference.high:.1f}"
    clear = p_value < 0.05 and (difference.low > 0 or difference.high < 0)
    verdict = "more than noise" if clear else f"not more than noise with {num_images} test images"
    return f"{start} (95 % interval {interval}; McNemar {p_text}): {verdict}."
