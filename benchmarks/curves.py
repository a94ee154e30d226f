"""Learning curves of a whole grid of configurations: recorded once, looked up ever after."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).with_name("curves")
MAX_EPOCHS = 9

# The space of search_quality.yaml reaches from the first level of a number to the last.
LEVELS: dict[str, tuple[Any, ...]] = {
    "backbone": ("small_cnn", "separable_cnn"),
    "width": (8, 16),
    "optimizer": ("adamw", "sgd"),
    "lr": (3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1),
    "momentum": (0.55, 0.85),
    "batch_size": (16, 64),
    "augment_strength": (0.1, 0.5),
}
NUMBERS = ("lr", "momentum", "augment_strength")

Key = tuple[Any, ...]
"""A configuration of the grid: the levels of its active parameters, in the order of LEVELS."""


@dataclass(frozen=True)
class Curve:
    """One recorded training.

    Attributes:
        params: Levels of the active parameters.
        val_accuracy: After each epoch.
        seconds: CPU seconds of each epoch, validation included.
        test_accuracy: After the last epoch, on images that nothing was chosen by.
    """

    params: Mapping[str, Any]
    val_accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    test_accuracy: float


def grid() -> Iterator[dict[str, Any]]:
    """Yield every configuration, momentum with sgd alone."""
    for levels in itertools.product(*LEVELS.values()):
        params = dict(zip(LEVELS, levels, strict=True))
        if params["optimizer"] == "sgd" or params.pop("momentum") == LEVELS["momentum"][0]:
            yield params


def key_of(params: Mapping[str, Any]) -> Key:
    """Return what identifies a configuration of the grid."""
    return tuple(params[name] for name in _active(params))


def corners(params: Mapping[str, Any]) -> list[tuple[Key, float]]:
    """Return the configurations of the grid around a point, and their weights.

    Linear along each number, `lr` by its logarithm; a point beyond the levels is moved to the last.
    """
    around = [_between(name, params[name]) for name in _active(params)]
    found = []
    for ends in itertools.product(*around):
        weight = math.prod(weight for _, weight in ends)
        if weight > 0:
            found.append((tuple(level for level, _ in ends), weight))
    return found


def _active(params: Mapping[str, Any]) -> list[str]:
    return [name for name in LEVELS if name != "momentum" or params["optimizer"] == "sgd"]


def _between(name: str, value: Any) -> list[tuple[Any, float]]:
    levels = LEVELS[name]
    if name not in NUMBERS:
        return [(value, 1.0)]
    places = [math.log(v) if name == "lr" else v for v in (*levels, value)]
    place = min(max(places.pop(), places[0]), places[-1])
    right = max(1, bisect.bisect_left(places, place))
    share = (place - places[right - 1]) / (places[right] - places[right - 1])
    return [(levels[right - 1], 1 - share), (levels[right], share)]


class CurveTable:
    """The curves of one data set, in a CSV file.

    Args:
        path: Made by the first `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.curves: dict[Key, Curve] = {}
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    curve = _from_row(row)
                    self.curves[key_of(curve.params)] = curve

    @property
    def name(self) -> str:
        return self.path.stem

    def add(self, curve: Curve) -> None:
        """Append one curve, so that a recording that is cut goes on where it was."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(_to_row(curve))
        self.curves[key_of(curve.params)] = curve

    def missing(self) -> list[dict[str, Any]]:
        """Return the configurations of the grid that are not recorded."""
        return [params for params in grid() if key_of(params) not in self.curves]

    def curve(self, params: Mapping[str, Any]) -> Curve:
        """Return the curve at any point: the mean of those around it, the nearer the heavier."""
        parts = [(self.curves[key], weight) for key, weight in corners(params)]

        curves, weights = zip(*parts, strict=True)

        def mean(rows: list[Sequence[float]]) -> tuple[float, ...]:
            return tuple(np.average(rows, axis=0, weights=weights).tolist())

        (test_accuracy,) = mean([[curve.test_accuracy] for curve in curves])
        return Curve(
            {name: params[name] for name in _active(params)},
            mean([curve.val_accuracy for curve in curves]),
            mean([curve.seconds for curve in curves]),
            test_accuracy,
        )


_COLUMNS = (*LEVELS, "test_accuracy", "val_accuracy", "seconds")


def _to_row(curve: Curve) -> dict[str, Any]:
    return dict(curve.params) | {
        "test_accuracy": f"{curve.test_accuracy:.4f}",
        "val_accuracy": " ".join(f"{value:.4f}" for value in curve.val_accuracy),
        "seconds": " ".join(f"{value:.3f}" for value in curve.seconds),
    }


def _from_row(row: Mapping[str, str]) -> Curve:
    params = {
        name: next(level for level in levels if str(level) == row[name])
        for name, levels in LEVELS.items()
        if row[name]
    }
    return Curve(
        params,
        tuple(float(value) for value in row["val_accuracy"].split()),
        tuple(float(value) for value in row["seconds"].split()),
        float(row["test_accuracy"]),
    )
