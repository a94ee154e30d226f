"""What a search is for: figures to make good, and limits that a model must keep. Pure.

Figures of the trained model start with `val_`. Figures of its footprint are known before it is
trained, follow from its architecture alone, and are measured: nobody guesses them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.parameters import OWN_BACKBONES

VAL_METRICS = ("val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss")
FOOTPRINT_METRICS = ("latency_ms", "num_parameters", "model_mb")
METRICS = VAL_METRICS + FOOTPRINT_METRICS
SIGNS = ("<=", ">=", "<", ">")
MAX_OBJECTIVES = 3

_LEAST_EXCESS = 1e-9  # of a limit that is broken by nothing: `< 5` by 5
_ARCHITECTURE = ("backbone", "size_px", "hidden_units")
_OWN_ARCHITECTURE = ("depth", "width", "kernel_size")

Figures = Mapping[str, float]
"""Metric -> value, of the metrics that are known."""


def direction_of(metric: str) -> str:
    """Return "minimize" or "maximize", which follows from the metric's name."""
    is_lower_better = metric in FOOTPRINT_METRICS or metric.endswith("_loss")
    return "minimize" if is_lower_better else "maximize"


def architecture_of(params: Mapping[str, Any]) -> str:
    """Name the network of complete params: two of one name have the same footprint in a study."""
    is_own = params["backbone"] in OWN_BACKBONES
    names = _ARCHITECTURE + (_OWN_ARCHITECTURE if is_own else ())
    return " · ".join([str(params[names[0]]), *(f"{name} {params[name]}" for name in names[1:])])


def number_text(value: float, digits: int = 3) -> str:
    """Write a number as a space file would: 5e6, 11.2e6, 0.8, 12.5."""
    if abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.{max(digits, 6)}g}"
    rounded = float(f"{value:.{digits}g}")
    power = 3 * int(math.log10(abs(rounded)) // 3)
    return f"{rounded / 10**power:.{max(digits, 3)}g}e{power}"


@dataclass(frozen=True)
class Objective:
    """A figure to make as good as possible."""

    metric: str
    direction: str

    def worth(self, value: float) -> float:
        """Return a value so that more is better."""
        return value if self.direction == "maximize" else -value


@dataclass(frozen=True)
class Constraint:
    """A limit that a metric must keep, such as `num_parameters <= 5e6`."""

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.limit}"

    @property
    def limit(self) -> str:
        """The limit as a space file has it, the same for equal ones."""
        bound = self.bound
        whole = bound == int(bound) and abs(bound) < 1e15
        exact = str(int(bound)) if whole else repr(bound)
        short = number_text(bound)
        return f"{self.sign} {short if float(short) == bound else exact}"

    def excess(self, value: float) -> float:
        """Return by what share of the bound it is broken; 0 or less where it is kept."""
        over = value - self.bound if self.sign.startswith("<") else self.bound - value
        over /= abs(self.bound) or 1.0
        return max(over, _LEAST_EXCESS) if over == 0 and len(self.sign) == 1 else over

    def fault(self, value: float) -> str:
        """Say what is wrong with a value, "" if nothing is."""
        if self.excess(value) <= 0:
            return ""
        # With as many digits as it takes to see it.
        shown = next(
            (t for d in range(3, 17) if float(t := number_text(value, d)) != self.bound), ""
        )
        return f"{self.metric} must be {self.limit}, has {shown or number_text(value)}"


@dataclass(frozen=True)
class Goals:
    """Objectives, of which the first ranks trials, and the constraints that they must satisfy."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def metric(self) -> str:
        return self.objectives[0].metric

    @property
    def direction(self) -> str:
        return self.objectives[0].direction

    @property
    def are_several(self) -> bool:
        return len(self.objectives) > 1

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that matters, each once."""
        named = [objective.metric for objective in self.objectives]
        return tuple(dict.fromkeys(named + [limit.metric for limit in self.constraints]))

    @property
    def trade_off(self) -> tuple[Objective, ...]:
        """What models are weighed by: the objectives; of a single one also speed and size."""
        added = () if self.are_several else ("latency_ms", "num_parameters")
        return self.objectives + tuple(Objective(m, direction_of(m)) for m in added)

    def values(self, figures: Figures) -> list[float] | None:
        """Return the objectives' values; None if one of them is not known, or is no number."""
        values = [figures.get(objective.metric) for objective in self.objectives]
        known = [float(value) for value in values if value is not None and not math.isnan(value)]
        if self.are_several and not all(map(math.isfinite, known)):
            return None  # there is no distance to what is infinitely far away
        return known if len(known) == len(values) else None

    def worths(self, figures: Figures) -> tuple[float, ...] | None:
        """Return the objectives' values so that more is better; None unless all are finite."""
        values = self.values(figures)
        if values is None or not all(map(math.isfinite, values)):
            return None
        return tuple(o.worth(v) for o, v in zip(self.objectives, values, strict=True))

    def faults(self, figures: Figures) -> str:
        """Say which constraints these figures break, "" if none; what is not known breaks none."""
        known = ((c, figures.get(c.metric)) for c in self.constraints)
        found = [c.fault(value) for c, value in known if value is not None]
        return "; ".join(filter(None, found))

    def excesses(self, figures: Figures) -> dict[str, float]:
        """Return constraint -> by how much it is broken, of those whose metric is known."""
        known = ((c, figures.get(c.metric)) for c in self.constraints)
        return {str(c): c.excess(value) for c, value in known if value is not None}

    def text(self) -> str:
        """Say in a line what is sought: "val_accuracy and latency_ms, with model_mb <= 20"."""
        text = " and ".join(objective.metric for objective in self.objectives)
        limits = ", ".join(map(str, self.constraints))
        return f"{text}, with {limits}" if limits else text


def single_goal(metric: str, direction: str) -> Goals:
    """Return the goals of a study with one objective and no constraints."""
    return Goals((Objective(metric, direction),))


def footprint_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Pick the footprint out of a row; {} unless all of it is there."""
    found = {name: float(row[name]) for name in FOOTPRINT_METRICS if row.get(name) is not None}
    return found if len(found) == len(FOOTPRINT_METRICS) else {}


def footprint_text(footprint: Figures) -> str:
    """Say in a line what a network costs: "2.3 ms an image, 2.2 M parameters, 9.1 MB"."""
    count = footprint["num_parameters"] / 1e6
    parameters = f"{count:.3g} M" if count >= 0.1 else f"{1000 * count:.3g} k"
    size, latency = footprint["model_mb"], footprint["latency_ms"]
    return f"{latency:.3g} ms an image, {parameters} parameters, {size:.3g} MB"


def best_epoch(
    epochs: Mapping[int, Mapping[str, Any]], metric: str, direction: str
) -> tuple[int, float] | None:
    """Return (epoch, value) of the best epoch, of equals that of least val_loss.

    On few val images many epochs are right equally often; their loss still tells them apart.
    """
    values = {e: row[metric] for e, row in epochs.items() if row.get(metric) is not None}
    if not values:
        return None
    sign = 1 if direction == "maximize" else -1

    def key(epoch: int) -> tuple[float, float, int]:
        loss = epochs[epoch].get("val_loss")
        return sign * values[epoch], -(float("inf") if loss is None else loss), -epoch

    epoch = max(values, key=key)
    return epoch, values[epoch]


def figures_of(row: Mapping[str, Any], footprint: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of one epoch and of the footprint that are known."""
    return {m: row[m] for m in VAL_METRICS if row.get(m) is not None} | dict(footprint)
