"""Plots of the search itself: its history, and the learning curves of its trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.report.format import count_text, metric_text, metric_title
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import (
    GREY,
    INK,
    STATE_COLOURS,
    STATE_MARKERS,
    dots,
    legend_below,
    metric_axis,
    new_figure,
    state_handles,
    whole_numbers,
)
from search.rungs import rung_epochs

Floats = NDArray[np.float64]
_MAX_BARS = 200


@dataclass(frozen=True)
class History:
    """One entry per trial, in number order; `value` and `incumbent` are NaN where there is none."""

    metric: str
    numbers: list[int]
    states: list[str]
    value: Floats
    incumbent: Floats
    epochs: Floats
    max_epochs: int


def history_data(files: StudyFiles) -> History:
    """Find the incumbent after every trial: the best complete one so far (any, if none is)."""
    trials = files.trials.sort_values("number")
    value = trials["best_value"].to_numpy(dtype=float)
    if not np.isfinite(value).any():
        raise NothingToShowError("No trial finished an epoch, so there is no search history.")
    complete = (trials["state"] == "complete").to_numpy() & np.isfinite(value)
    ranked = np.where(complete | ~complete.any(), value, np.nan)
    best = np.fmax if files.maximize else np.fmin
    return History(
        files.metric, trials["number"].tolist(), trials["state"].tolist(), value,
        best.accumulate(ranked), trials["epochs_run"].fillna(0).to_numpy(dtype=float),
        files.max_epochs,
    )  # fmt: skip


def draw_history(data: History) -> Figure:
    figure = new_figure(5.0)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    states = np.array(data.states)
    numbers = np.array(data.numbers)
    for state, colour in STATE_COLOURS.items():
        at = states == state
        top.scatter(
            numbers[at], data.value[at], c=colour, marker=STATE_MARKERS[state], lw=0,
            **dots(len(numbers), 34),
        )  # fmt: skip
    _epoch_bars(low, data, states)
    top.step(numbers, data.incumbent, where="post", color=INK, lw=1.6)
    final = data.incumbent[np.isfinite(data.incumbent)][-1]
    top.set_title(
        f"Best {metric_title(data.metric)} of each trial; "
        f"the incumbent {'is' if 'running' in data.states else 'ends'} at "
        f"{metric_text(data.metric, final)}"
    )
    metric_axis(top, data.metric)
    done = np.isin(states, ("complete", "pruned"))
    full, skipped = (
        data.max_epochs * done.sum(),
        data.max_epochs * done.sum() - data.epochs[done].sum(),
    )
    saved = f"; early stopping saved {100 * skipped / full:.0f} %" if full and skipped > 0 else ""
    low.set_title(f"Epochs spent: {data.epochs.sum():,.0f}{saved}")
    low.set_xlabel("trial number")
    whole_numbers(low)
    whole_numbers(low, "y")
    line = Line2D([], [], color=INK, lw=1.6, label="incumbent")
    legend_below(figure, [*state_handles(data.states), line])
    return figure


def _epoch_bars(axes: Axes, data: History, states: NDArray[np.str_]) -> None:
    """Draw each trial's epochs by state; of many trials, the mean of equal groups of them."""
    group = -(-len(states) // _MAX_BARS)
    starts = np.arange(0, len(states), group)
    sizes = np.diff([*starts, len(states)])
    left = np.array(data.numbers)[starts] - 0.5
    below = np.zeros(len(starts))
    for state, colour in STATE_COLOURS.items():
        mean = np.add.reduceat(np.where(states == state, data.epochs, 0.0), starts) / sizes
        axes.bar(
            left, mean, sizes * (0.9 if group == 1 else 1.0), below, color=colour, align="edge",
            lw=0,
        )  # fmt: skip
        below += mean
    axes.set_ylabel("epochs" if group == 1 else f"epochs a trial\n(mean of {group})")


@dataclass(frozen=True)
class Curves:
    """One curve per trial that finished an epoch: epochs and values, with its state."""

    metric: str
    numbers: list[int]
    states: list[str]
    curves: list[Floats]  # each (E, 2): epoch, value
    rungs: tuple[int, ...]
    best: int | None


def curves_data(files: StudyFiles) -> Curves:
    """Collect the objective's learning curve of every trial."""
    if files.metric not in files.epochs.columns or files.epochs.empty:
        raise NothingToShowError("No epochs were recorded, so there are no learning curves.")
    columns = ["trial_number", "epoch", files.metric]
    rows = files.epochs[columns].dropna().to_numpy(dtype=float)
    if not len(rows):
        raise NothingToShowError(f"No epoch reported {files.metric}.")
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    trials, starts = np.unique(rows[:, 0], return_index=True)
    numbers = [int(number) for number in trials]
    curves = np.split(rows[:, 1:], starts[1:])
    state = dict(zip(files.trials["number"], files.trials["state"], strict=True))
    states = [str(state.get(number, "interrupted")) for number in numbers]
    first = files.ranked().iloc[:1]
    best = int(first["number"].iloc[0]) if len(first) else None
    return Curves(files.metric, numbers, states, curves, rungs(files), best)


def rungs(files: StudyFiles) -> tuple[int, ...]:
    """Return the epochs at which trials were compared, () if the space file does not tell."""
    given = [files.budget.get(k) for k in ("min_epochs", "max_epochs", "reduction_factor")]
    least, most, factor = (int(v) if isinstance(v, (int, float)) else 0 for v in given)
    has_rungs = files.budget.get("scheduler", "asha") in ("asha", "hyperband")
    return rung_epochs(least, most, factor) if has_rungs and least > 0 and factor > 1 else ()


def draw_curves(data: Curves) -> Figure:
    figure = new_figure(4.6)
    axes = figure.subplots()
    alpha = float(np.clip(12 / len(data.curves), 0.04, 0.8))
    for state, colour in STATE_COLOURS.items():
        lines = [c for c, s in zip(data.curves, data.states, strict=True) if s == state]
        axes.add_collection(LineCollection(lines, colors=colour, alpha=alpha, linewidths=1.1))
        ends = np.array([line[-1] for line in lines]).reshape(-1, 2)
        axes.scatter(
            ends[:, 0], ends[:, 1], 16, colour, marker=STATE_MARKERS[state],
            alpha=min(1, 3 * alpha), lw=0, zorder=3,
        )  # fmt: skip
    handles = state_handles(data.states)
    if data.best in data.numbers:
        best = data.curves[data.numbers.index(data.best)]
        axes.plot(best[:, 0], best[:, 1], color=INK, lw=2.4, zorder=4)
        handles.append(Line2D([], [], color=INK, lw=2.4, label=f"best: trial {data.best}"))
    for rung in data.rungs:
        axes.axvline(rung, color=GREY, ls=":", lw=1.2, zorder=1)
    if data.rungs:
        handles.append(Line2D([], [], color=GREY, ls=":", lw=1.2, label="rung"))
    axes.autoscale_view()
    axes.set_title(f"Learning curves of {count_text(len(data.curves), 'trial')}")
    axes.set_xlabel("epoch")
    metric_axis(axes, data.metric)
    whole_numbers(axes)
    legend_below(figure, handles)
    return figure
