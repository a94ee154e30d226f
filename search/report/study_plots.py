"""Plots of the search itself: history, learning curves and timeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.report.format import (
    count_text,
    metric_text,
    metric_title,
    short,
)
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import (
    GREY,
    INK,
    STATE_COLOURS,
    STATE_MARKERS,
    legend_below,
    metric_axis,
    new_figure,
    state_handles,
    whole_numbers,
)
from search.rungs import rung_epochs

Floats = NDArray[np.float64]
_MAX_LANES = 40


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
    size = 34 if len(numbers) <= 100 else 14
    for state, colour in STATE_COLOURS.items():
        at = states == state
        top.scatter(
            numbers[at], data.value[at], size, colour, marker=STATE_MARKERS[state], alpha=0.85, lw=0
        )
        low.bar(numbers[at], data.epochs[at], color=colour, width=0.9)
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
    low.set_ylabel("epochs")
    low.set_xlabel("trial number")
    whole_numbers(low)
    whole_numbers(low, "y")
    line = Line2D([], [], color=INK, lw=1.6, label="incumbent")
    legend_below(figure, [*state_handles(data.states), line])
    return figure


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
    state = dict(zip(files.trials["number"], files.trials["state"], strict=True))
    numbers, states, curves = [], [], []
    for _, rows in files.epochs.dropna(subset=[files.metric]).groupby("trial_number"):
        numbers.append(int(rows["trial_number"].iloc[0]))
        states.append(str(state.get(numbers[-1], "interrupted")))
        curves.append(rows.sort_values("epoch")[["epoch", files.metric]].to_numpy(dtype=float))
    if not curves:
        raise NothingToShowError(f"No epoch reported {files.metric}.")
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
    alpha = float(np.clip(12 / len(data.curves), 0.12, 0.8))
    for state, colour in STATE_COLOURS.items():
        lines = [c for c, s in zip(data.curves, data.states, strict=True) if s == state]
        axes.add_collection(LineCollection(lines, colors=colour, alpha=alpha, linewidths=1.1))
        ends = np.array([line[-1] for line in lines]).reshape(-1, 2)
        axes.scatter(
            ends[:, 0], ends[:, 1], 16, colour, marker=STATE_MARKERS[state],
            alpha=min(1, 2 * alpha), lw=0, zorder=3,
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


@dataclass(frozen=True)
class Timeline:
    """Lanes (workers) and one bar per trial: lane number, start and length in seconds."""

    lanes: list[str]
    lane: list[int]
    start_s: Floats
    seconds: Floats
    states: list[str]
    numbers: list[int]


def timeline_data(files: StudyFiles) -> Timeline:
    """Lay trials on the worker that ran them, workers in order of their first trial."""
    trials = files.trials[(files.trials["seconds"] > 0) & files.trials["started_s"].notna()]
    if trials.empty:
        raise NothingToShowError("No trial has a start and a duration, so there is no timeline.")
    trials = trials.sort_values("started_s")
    several = trials["node"].nunique() > 1
    names = [
        " · ".join(part for part in (node if several else "", _worker_name(worker)) if part)
        for node, worker in zip(trials["node"], trials["worker"], strict=True)
    ]
    lanes = list(dict.fromkeys(names))
    return Timeline(
        lanes, [lanes.index(name) for name in names], trials["started_s"].to_numpy(dtype=float),
        trials["seconds"].to_numpy(dtype=float), trials["state"].tolist(),
        trials["number"].tolist(),
    )  # fmt: skip


def _worker_name(worker: str) -> str:
    """Name a worker for people: by its process id, or by what it is called."""
    return f"worker {worker}" if worker.isdigit() else worker or "worker not known"


def draw_timeline(data: Timeline) -> Figure:
    shown = min(len(data.lanes), _MAX_LANES)
    figure = new_figure(1.7 + max(2, shown) * 0.32)
    axes = figure.subplots()
    ends = data.start_s + data.seconds
    scale, unit = (60.0, "minutes") if ends.max() > 180 else (1.0, "seconds")
    if ends.max() > 3 * 3600:
        scale, unit = 3600.0, "hours"
    for lane, start, length, state, number in zip(
        data.lane, data.start_s, data.seconds, data.states, data.numbers, strict=True
    ):
        if lane >= shown:
            continue
        axes.barh(
            lane, length / scale, left=start / scale, height=0.78, color=STATE_COLOURS.get(state),
            edgecolor="white", lw=0.6,
        )  # fmt: skip
        if length > 0.025 * ends.max():
            axes.text(
                (start + length / 2) / scale, lane, str(number), ha="center", va="center",
                color="white" if state in ("complete", "failed") else INK, fontsize=8,
            )  # fmt: skip
    axes.set_yticks(range(shown), [short(name, 26) for name in data.lanes[:shown]])
    axes.set_ylim(shown - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{unit} since the search began")
    busy = data.seconds.sum() / (ends.max() * len(data.lanes))
    more = f" (first {shown} shown)" if shown < len(data.lanes) else ""
    workers = count_text(len(data.lanes), "worker")
    axes.set_title(f"What ran when: {workers}{more}, busy {100 * busy:.0f} % of the time")
    legend_below(figure, list(state_handles(data.states)))
    return figure
