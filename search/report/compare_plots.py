"""Plots that compare parameters: how much each mattered, and how its values did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.report.format import metric_title, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    STATE_COLOURS,
    STATE_MARKERS,
    dots,
    legend_below,
    metric_axis,
    new_figure,
    state_handles,
)

Floats = NDArray[np.float64]
NO_IMPORTANCES = "There are no parameter importances: they need more trials that ended."
_EVALUATORS = {"fanova": "f-ANOVA: over the whole space", "ped_anova": "PED-ANOVA: among the best"}


@dataclass(frozen=True)
class Importance:
    """Shares per parameter, most important first; NaN where an evaluator has no figure."""

    names: list[str]
    shares: dict[str, Floats]


def importance_data(files: StudyFiles, limit: int = 16) -> Importance:
    """Line up both evaluators' shares by parameter."""
    if files.importance.empty:
        raise NothingToShowError(NO_IMPORTANCES)
    wide = files.importance.pivot_table(
        index="parameter", columns="evaluator", values="importance", aggfunc="first"
    )
    known = [name for name in _EVALUATORS if name in wide.columns]
    if not known:
        raise NothingToShowError("importance.csv has neither f-ANOVA nor PED-ANOVA figures.")
    wide = wide[known].sort_values(known, ascending=False).head(limit)
    names = [str(name) for name in wide.index]
    return Importance(names, {name: wide[name].to_numpy(dtype=float) for name in known})


def draw_importance(data: Importance) -> Figure:
    figure = new_figure(1.5 + 0.36 * max(2, len(data.names)))
    axes = figure.subplots()
    rows = np.arange(len(data.names))
    height = 0.8 / len(data.shares)
    for k, (evaluator, shares) in enumerate(data.shares.items()):
        offset = (k - (len(data.shares) - 1) / 2) * height
        axes.barh(
            rows + offset, 100 * shares, height * 0.9, color=(BLUE, ORANGE)[k],
            label=_EVALUATORS[evaluator],
        )  # fmt: skip
        for row, share in zip(rows, shares, strict=True):
            if np.isfinite(share):
                text = f"{100 * share:.0f}" if share >= 0.01 else "<1"
                axes.text(100 * share + 0.4, row + offset, text, va="center", fontsize=8)
    axes.set_yticks(rows, [short(name, 30) for name in data.names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the explained variation (%)")
    axes.set_title("How much each parameter mattered")
    legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


@dataclass(frozen=True)
class Groups:
    """Values of the trials by one categorical parameter's level, best level first."""

    metric: str
    parameter: str
    levels: list[str]
    values: list[Floats]
    states: list[list[str]]


def groups_data(files: StudyFiles, parameter: str) -> Groups:
    """Group trials with a value by level; the best value of a level decides its place."""
    column = f"params.{parameter}"
    if column not in files.trials.columns:
        raise NothingToShowError(f"The parameter {parameter} was not part of the search.")
    trials = files.trials[files.trials["best_value"].notna() & (files.trials[column] != "")]
    if trials.empty:
        raise NothingToShowError(f"No trial with a value used {parameter}.")
    if trials[column].nunique() < 2:
        raise NothingToShowError(f"Every trial with a value used the same {parameter}.")
    sign = 1 if files.maximize else -1
    groups = [
        (str(level), rows["best_value"].to_numpy(dtype=float), rows["state"].tolist())
        for level, rows in trials.groupby(column)
    ]
    groups.sort(key=lambda group: -float((sign * group[1]).max()))
    return Groups(
        files.metric, parameter, [g[0] for g in groups], [g[1] for g in groups],
        [g[2] for g in groups],
    )  # fmt: skip


def draw_groups(data: Groups) -> Figure:
    figure = new_figure(1.6 + 0.46 * max(2, len(data.levels)))
    axes = figure.subplots()
    wide = [k for k, values in enumerate(data.values) if len(values) >= 5]
    if wide:
        axes.boxplot(
            [data.values[k] for k in wide], positions=wide, orientation="horizontal", widths=0.6,
            showfliers=False, manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": PALE, "edgecolor": GREY}, medianprops={"color": INK, "lw": 2},
            whiskerprops={"color": GREY}, capprops={"color": GREY},
        )  # fmt: skip
    rng, num_trials = np.random.default_rng(0), sum(map(len, data.values))
    for row, (values, states) in enumerate(zip(data.values, data.states, strict=True)):
        heights = row + rng.uniform(-0.2, 0.2, len(values))
        for state, colour in STATE_COLOURS.items():
            at = np.array(states) == state
            axes.scatter(
                values[at], heights[at], c=colour, marker=STATE_MARKERS[state], lw=0, zorder=3,
                **dots(num_trials),
            )  # fmt: skip
    labels = [
        f"{short(level, 28)}  (n = {len(values)})"
        for level, values in zip(data.levels, data.values, strict=True)
    ]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    metric_axis(axes, data.metric, "x")
    axes.set_title(f"Best {metric_title(data.metric)} of every trial, by {data.parameter}")
    handles = list(state_handles([state for states in data.states for state in states]))
    if wide:
        handles.append(Line2D([], [], color=INK, lw=2, label="median, box: middle half"))
    legend_below(figure, handles)
    return figure
