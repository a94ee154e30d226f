"""The models that are worth choosing between: good figures against fast and small ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from search.goals import FOOTPRINT_METRICS, Goals, Objective, direction_of, figures_of
from search.pareto import front_of
from search.records import TrialState
from search.report.format import (
    axis_title,
    count_of_parameters,
    count_text,
    metric_text,
    metric_title,
    number_text,
)
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    legend_below,
    log_axis,
    metric_axis,
    new_figure,
)
from search.report.table import Table
from search.report.winner_plots import winner_number

Floats = NDArray[np.float64]
COSTS = ("latency_ms", "num_parameters")
_APART = 0.07  # of an axis: numbers nearer to each other would overlap
_UNMEASURED = "No complete trial has a measured latency and size, so there is no trade-off to show."


def complete_figures(files: StudyFiles) -> dict[int, dict[str, float]]:
    """Return every known metric of the trials that are complete and keep the constraints."""
    complete = files.trials[files.trials["state"] == TrialState.COMPLETE.value]
    names = [name for name in files.epochs.columns if name.startswith("val_")]
    epochs = files.epochs.drop_duplicates(["trial_number", "epoch"])
    rows: Any = epochs.set_index(["trial_number", "epoch"])[names].to_dict("index")
    found: dict[int, dict[str, float]] = {}
    for trial in complete.to_dict("records"):
        row = rows.get((trial["number"], trial["best_epoch"]), {})
        row |= {files.metric: trial["best_value"]}
        costs = {name: float(trial[name]) for name in FOOTPRINT_METRICS if pd.notna(trial[name])}
        known = figures_of({k: v for k, v in row.items() if pd.notna(v)}, costs)
        if not files.goals.faults(known):
            found[int(trial["number"])] = known
    return found


def pareto_numbers(files: StudyFiles) -> list[int]:
    """Return the trials that no other beats in all that counts, best first."""
    figures = complete_figures(files)
    numbers = list(figures)
    return [numbers[k] for k in front_of(list(figures.values()), files.goals.trade_off)]


def pareto(files: StudyFiles) -> Table:
    """The trials that no other beats in all that counts, with what tells them apart."""
    figures, chosen = complete_figures(files), pareto_numbers(files)
    if not chosen:
        raise NothingToShowError(_UNMEASURED)
    goals = files.goals
    if len(chosen) == 1 and len(goals.objectives) == 1:
        raise NothingToShowError(f"Trial {chosen[0]} is the best in value, speed and size at once.")
    names = list(dict.fromkeys([o.metric for o in goals.trade_off] + list(FOOTPRINT_METRICS)))
    rows = files.trials.set_index("number")
    frame = pd.DataFrame(
        [
            {"number": n, "state": rows.loc[n, "state"]}
            | {name: figures[n].get(name) for name in names}
            | {f"params.{name}": rows.loc[n, f"params.{name}"] for name in files.varied()}
            for n in chosen
        ]
    )
    same = [c for c in frame.columns if c.startswith("params.") and frame[c].nunique() == 1]
    frame = frame.drop(columns=same) if len(frame) > 1 else frame
    weighed = " and ".join(metric_title(o.metric) for o in goals.trade_off)
    kinds = {name: name for name in names if name not in FOOTPRINT_METRICS}
    return Table("pareto", f"No other trial is better in {weighed} at once", frame, kinds)


@dataclass(frozen=True)
class Scatter:
    """Complete trials: value against one cost; `front` are places, cheapest first."""

    cost_metric: str
    cost: Floats
    value: Floats
    front: list[int]

    @property
    def is_log(self) -> bool:
        return bool(self.cost.max() > 20 * self.cost.min())


@dataclass(frozen=True)
class TradeOffs:
    """The objective against each cost; `numbers` are the trials', winner and default if there."""

    metric: str
    maximize: bool
    numbers: list[int]
    panels: list[Scatter]
    winner: int | None
    limits: dict[str, float]


def trade_off_data(files: StudyFiles) -> TradeOffs:
    """Lay the complete trials out by cost and value, with the front of each pair."""
    figures = complete_figures(files)
    kept = {n: row for n, row in figures.items() if {files.metric, *COSTS} <= row.keys()}
    if not kept:
        raise NothingToShowError(_UNMEASURED)
    if (
        not files.goals.constraints
        and all(len({row[name] for row in kept.values()}) == 1 for name in COSTS)
        and len(kept) > 1
    ):
        raise NothingToShowError("All complete trials have the same latency and size.")
    value = np.array([row[files.metric] for row in kept.values()])
    best = Objective(files.metric, files.goals.direction)
    panels = []
    for name in COSTS:
        pair = Goals((best, Objective(name, direction_of(name))))
        front = front_of(list(kept.values()), pair.objectives)
        cost = np.array([row[name] for row in kept.values()])
        panels.append(Scatter(name, cost, value, front[::-1]))
    limits = {c.metric: c.bound for c in files.goals.constraints if c.metric in COSTS}
    return TradeOffs(files.metric, files.maximize, list(kept), panels, winner_number(files), limits)


def draw_trade_offs(data: TradeOffs) -> Figure:
    figure = new_figure(4.4)
    row = figure.subplots(1, 2, sharey=True)
    for axes, panel in zip(row, data.panels, strict=True):
        _panel(axes, panel, data)
    metric_axis(row[0], data.metric)
    front = data.panels[0].front
    figure.suptitle(
        f"{metric_title(data.metric).capitalize()} against cost: "
        f"{count_text(len(data.numbers), 'complete trial')}, {len(front)} on the front of latency"
    )
    handles = [
        Line2D([], [], color=GREY, alpha=0.6, ls="", marker="o", ms=4, label="complete trial"),
        Line2D([], [], color=BLUE, marker="o", ms=5, label="front: none is better and cheaper"),
    ]
    for number, marker, colour, name in _marked(data):
        if number in data.numbers:
            handles.append(
                Line2D([], [], color=colour, ls="", marker=marker, ms=9, mfc="none", mew=1.8,
                       label=name)
            )  # fmt: skip
    if data.limits:
        handles.append(Line2D([], [], color=INK, ls=":", lw=1.2, label="constraint"))
    legend_below(figure, handles)
    return figure


def _marked(data: TradeOffs) -> list[tuple[int | None, str, str, str]]:
    winner = f"winner: trial {data.winner}" if data.winner else "winner: default recipe"
    default = [] if data.winner == 0 else [(0, "s", INK, "default recipe")]
    return [(data.winner, "D", VERMILION, winner), *default]


def _panel(axes: Axes, panel: Scatter, data: TradeOffs) -> None:
    few = len(panel.cost) <= 100
    axes.scatter(panel.cost, panel.value, 22 if few else 7, GREY, alpha=0.6 if few else 0.35, lw=0)
    x, y = panel.cost[panel.front], panel.value[panel.front]
    axes.plot(x, y, color=BLUE, marker="o", ms=5 if few else 3.5, lw=1.4, drawstyle="steps-post")
    for number, marker, colour, _ in _marked(data):
        if number in data.numbers:
            k = data.numbers.index(number)
            axes.plot(
                panel.cost[k], panel.value[k], marker, ms=11, mfc="none", mec=colour, mew=1.8,
                zorder=4,
            )  # fmt: skip
    for k in _named(panel):
        axes.annotate(
            str(data.numbers[k]), (panel.cost[k], panel.value[k]), (8, -12),
            textcoords="offset points", fontsize=8, color=BLUE,
        )  # fmt: skip
    if panel.cost_metric in data.limits:
        axes.axvline(data.limits[panel.cost_metric], color=INK, ls=":", lw=1.2)
    if panel.is_log:
        log_axis(axes)
    if panel.cost_metric == "num_parameters":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: count_of_parameters(v)))
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number_text(v)))
    axes.set_xlabel(axis_title(panel.cost_metric))


def _named(panel: Scatter) -> list[int]:
    """Return the places of the front to write a number at: the best first, none on another."""
    cost = np.log(panel.cost) if panel.is_log else panel.cost
    x, y = ((v - v.min()) / (float(np.ptp(v)) or 1.0) for v in (cost, panel.value))
    chosen: list[int] = []
    for k in panel.front[::-1]:
        if all(max(abs(x[k] - x[n]), abs(y[k] - y[n])) > _APART for n in chosen):
            chosen.append(k)
    return chosen


def trade_off_text(files: StudyFiles) -> str:
    """Say what the fastest model of the front gives up against the best, "" without a choice."""
    figures, chosen = complete_figures(files), pareto_numbers(files)
    if len(chosen) < 2:
        return ""
    best, fast = chosen[0], min(chosen, key=lambda n: figures[n]["latency_ms"])
    if best == fast:
        return ""

    def text(number: int) -> str:
        row = figures[number]
        value = metric_text(files.metric, row[files.metric])
        cost = f"{number_text(row['latency_ms'])} ms an image"
        return f"{value} at {cost} with {count_of_parameters(row['num_parameters'])} parameters"

    return (
        f"Trial {best} reaches {text(best)}, trial {fast} {text(fast)}; "
        f"{count_text(len(chosen), 'trial')} to choose from."
    )
