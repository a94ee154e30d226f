"""What was called what: counts, figures made of them, and how far those vary. Pure numpy."""

from __future__ import annotations

import numpy as np

from search.records import Ids
from search.statistics import Floats, wilson_number

_DRAWN_BY = 2.0  # images: how strongly a class is taken to be like the others
_SMALLEST = 1e-12


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


def confusion_figures(counts: Ids | Floats) -> dict[str, float]:
    """Return accuracy, macro F1, mcc and kappa; 0 where a figure has no denominator.

    Args:
        counts: (C, C), or shares of all images. Classes that neither occur nor are named are not
            in macro F1.

    References:
        Gorodkin 2004 (mcc of many classes); Cohen 1960 (kappa).
    """
    true, predicted, total = counts.sum(axis=1), counts.sum(axis=0), float(counts.sum())
    named = true + predicted > 0
    right, by_chance = float(np.trace(counts)), float(true @ predicted)
    f1 = 2 * np.diag(counts)[named] / (true + predicted)[named]
    above, room = right * total - by_chance, total**2 - by_chance
    spread = (total**2 - float(true @ true)) * (total**2 - float(predicted @ predicted))
    return {
        "accuracy": right / total,
        "macro_f1": float(f1.mean()),
        "mcc": min(above / spread**0.5, 1.0) if spread > _SMALLEST * total**4 else 0.0,
        "kappa": above / room if room > _SMALLEST * total**2 else 0.0,
    }


def likely_confusions(counts: Ids) -> Floats:
    """Return the shares (K, K) of confusions to be expected, of classes that occur or are named.

    A small class that is all right by luck has no spread. So each class is drawn, by two images,
    towards being right as often as all are, and wrong evenly over the other classes.

    Args:
        counts: (C, C) images by true and predicted class.
    """
    named = counts.sum(axis=0) + counts.sum(axis=1) > 0
    own = counts[np.ix_(named, named)].astype(np.float64)
    total, count = own.sum(), len(own)
    right = (np.trace(own) + 1) / (total + 2)
    alike = np.full((count, count), (1 - right) / max(count - 1, 1))
    np.fill_diagonal(alike, right)
    support = own.sum(axis=1, keepdims=True)
    shares: Floats = support * (own + _DRAWN_BY * alike) / (support + _DRAWN_BY) / total
    return shares


def standard_errors(shares: Floats, num_images: int) -> dict[str, float]:
    """Return how far accuracy, macro F1, mcc and kappa vary from one set of images to another.

    By the delta method: a figure varies as its slope does, over the confusions there are.

    Args:
        shares: (K, K), as `likely_confusions` gives them.
    """
    return {
        name: float(((shares * slope**2).sum() - (shares * slope).sum() ** 2) / num_images) ** 0.5
        for name, slope in _slopes(shares).items()
    }


def effective_images(shares: Floats, num_images: int) -> float:
    """Return of how many images a proportion would vary as macro F1 does.

    As in `mean_of_proportions`, half a mistake more may be of any kind.

    Args:
        shares: (K, K), as `likely_confusions` gives them.
    """
    slope = _slopes(shares)["macro_f1"]
    weights = (np.diag(slope)[:, None] - slope)[~np.eye(len(shares), dtype=bool)] / num_images
    if not len(weights):
        return float(num_images)
    variance = standard_errors(shares, num_images)["macro_f1"] ** 2
    return wilson_number(confusion_figures(shares)["macro_f1"], variance, weights)


def _slopes(shares: Floats) -> dict[str, Floats]:
    """Return (K, K) by how much each figure rises with the share of each kind of confusion.

    Where a figure has none, all images being of one class, it goes with the accuracy.
    """
    true, predicted = shares.sum(axis=1), shares.sum(axis=0)
    right, by_chance = float(np.trace(shares)), float(true @ predicted)
    diagonal, both = np.eye(len(shares)), true + predicted
    f1 = 2 * np.diag(shares) / both
    slopes = dict.fromkeys(("accuracy", "macro_f1", "mcc", "kappa"), diagonal)
    slopes["macro_f1"] = (2 * diagonal / both - (f1 / both)[:, None] - f1 / both) / len(shares)
    mixed = predicted[:, None] + true
    room, of_true, of_predicted = 1 - by_chance, 1 - true @ true, 1 - predicted @ predicted
    if len(shares) > 1 and min(room, of_true, of_predicted) > _SMALLEST:
        slopes["kappa"] = diagonal / room - (1 - right) * mixed / room**2
        level = (true / of_true)[:, None] + predicted / of_predicted
        scale = (of_true * of_predicted) ** 0.5
        slopes["mcc"] = (diagonal - mixed + (right - by_chance) * level) / scale
    return slopes
