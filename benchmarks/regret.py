"""How far a search stayed below the best configuration there was, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.curves import CurveTable
from benchmarks.replay import Replay
from search.records import Metric
from search.statistics import percentile_interval

NUM_RESAMPLES = 2000
CLOSE = 0.01  # a point of accuracy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """How one method did on one table. Regret is the accuracy missing to the table's best.

    Attributes:
        regret: On val, when the default method is through with its trials: median over the seeds.
        difference: Of `regret` to the default method's, mean of the pairs; below 0 is better.
        area: Mean regret until then, median over the seeds.
        test_regret: As `regret`, on images that nothing was chosen by.
        regret_of_trials: On val, after as many trials of its own, whenever that is.
        num_epochs, seconds: Of that many trials; medians.
        seconds_to_close: Until it is within CLOSE of the best, median; None where most never are.
    """

    method: str
    table: str
    regret: Metric
    difference: Metric
    area: Metric
    test_regret: Metric
    regret_of_trials: Metric
    num_epochs: float
    seconds: float
    seconds_to_close: float | None


def best_of(table: CurveTable) -> float:
    """Return the best accuracy on val that any recorded training reached in any epoch."""
    return max(max(curve.val_accuracy) for curve in table.curves.values())


def compare(table: CurveTable, replays: Mapping[str, Sequence[Replay]], default: str) -> list[Row]:
    """Judge every method at the moment when the default one is through with its trials."""
    until = float(np.median([replay.seconds for replay in replays[default]]))
    best = best_of(table)
    usual = _regrets(best, replays[default], until)
    return [_row(name, table, found, usual, best, until) for name, found in replays.items()]


def _row(
    name: str, table: CurveTable, found: Sequence[Replay], usual: Floats, best: float, until: float
) -> Row:
    regrets = _regrets(best, found, until)
    best_test = max(curve.test_accuracy for curve in table.curves.values())
    reached = [next((f.seconds for f in r.found if f.value >= best - CLOSE), np.inf) for r in found]
    close = float(np.median(reached))
    return Row(
        method=name,
        table=table.name,
        regret=_over_seeds(regrets, np.median),
        difference=_over_seeds(regrets - usual, np.mean),
        area=_over_seeds([best - r.mean_value(until) for r in found], np.median),
        test_regret=_over_seeds([best_test - r.at(until).test_accuracy for r in found], np.median),
        regret_of_trials=_over_seeds([best - r.at(r.seconds).value for r in found], np.median),
        num_epochs=float(np.median([r.num_epochs for r in found])),
        seconds=float(np.median([r.seconds for r in found])),
        seconds_to_close=close if np.isfinite(close) else None,
    )


def _regrets(best: float, replays: Sequence[Replay], until: float) -> Floats:
    return np.array([best - replay.at(until).value for replay in replays])


def _over_seeds(values: Sequence[float] | Floats, statistic: Any) -> Metric:
    """Return a statistic with its 95 % bootstrap interval over the seeds."""
    figures = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, len(figures), (NUM_RESAMPLES, len(figures)))
    return percentile_interval(float(statistic(figures)), statistic(figures[picks], axis=1))


def regret_table(name: str, rows: Sequence[Row]) -> Table:
    """Draw the rows of one table, in points of accuracy, the best first."""
    table = Table(title=f"{name}: points of accuracy below the best configuration")
    table.add_column("method", no_wrap=True)
    for heading in ("regret", "to default", "area", "test", "by trials", "epochs", "s to 1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row.difference.value):
        table.add_row(
            row.method,
            _points(row.regret),
            _points(row.difference, sign="+"),
            *(f"{100 * m.value:.1f}" for m in (row.area, row.test_regret, row.regret_of_trials)),
            f"{row.num_epochs:.0f}",
            f"{row.seconds_to_close:.0f}" if row.seconds_to_close else "–",
        )
    return table


def _points(metric: Metric, sign: str = "") -> str:
    value, low, high = (f"{100 * v:{sign}.1f}" for v in (metric.value, metric.low, metric.high))
    return f"{value} ({low} to {high})"
