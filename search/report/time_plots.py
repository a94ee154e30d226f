"""Where the time went: what ran when on each worker, and what stages and trainings cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.records import TrialState
from search.report.format import count_text, is_number, seconds_text, short
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.style import (
    BLUE,
    INK,
    ORANGE,
    STATE_COLOURS,
    legend_below,
    new_figure,
    state_handles,
)
from search.report.table import Table

Floats = NDArray[np.float64]
_MAX_LANES = 40
_MAX_EDGED = 200  # trials; the edges of more would cover the bars
_NO_STAGES = "No stage times were recorded."


@dataclass(frozen=True)
class Timeline:
    """Lanes (workers) and one bar per trial: lane number, start and length in seconds.

    `epoch_seconds` were spent in epochs; the rest of the bars is starting, saving and stopping.
    """

    lanes: list[str]
    lane: list[int]
    start_s: Floats
    seconds: Floats
    states: list[str]
    numbers: list[int]
    epoch_seconds: float

    @property
    def whole(self) -> float:
        """Seconds that all workers had together, from the start to the end of the search."""
        return float((self.start_s + self.seconds).max() * len(self.lanes))


def timeline_data(files: StudyFiles) -> Timeline:
    """Lay trials on the worker that ran them, workers in order of their first trial.

    A worker that began after another of its machine had ended took that one's place, and its lane.
    """
    trials = files.trials[(files.trials["seconds"] > 0) & files.trials["started_s"].notna()]
    if trials.empty:
        raise NothingToShowError("No trial has a start and a duration, so there is no timeline.")
    trials = trials.sort_values("started_s")
    lane_of, lanes = _lanes(trials)
    workers = zip(trials["node"], trials["worker"], strict=True)
    return Timeline(
        lanes, [lane_of[worker] for worker in workers], trials["started_s"].to_numpy(dtype=float),
        trials["seconds"].to_numpy(dtype=float), trials["state"].tolist(),
        trials["number"].tolist(), float(files.epochs["seconds"].sum()),
    )  # fmt: skip


def _lanes(trials: pd.DataFrame) -> tuple[dict[tuple[str, str], int], list[str]]:
    """Give every (node, worker) a lane, and name the lanes."""
    ends = trials.assign(end=trials["started_s"] + trials["seconds"])
    spans = ends.groupby(["node", "worker"], sort=False).agg({"started_s": "min", "end": "max"})
    lane_of: dict[tuple[str, str], int] = {}
    free: list[tuple[str, float]] = []  # of each lane: its node, and when its worker ended
    names: list[str] = []
    several = trials["node"].nunique() > 1
    for key, start, end in spans.itertuples(name=None):
        node, worker = key
        taken = [k for k, (at, until) in enumerate(free) if at == node and until <= start]
        lane = taken[0] if taken else len(free)
        if taken:
            free[lane] = node, end
            worker = f"place {lane + 1}"
        else:
            free.append((node, end))
            names.append("")
        lane_of[key] = lane
        names[lane] = " · ".join(p for p in (node if several else "", _worker_name(worker)) if p)
    return lane_of, names


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
    _bars(axes, data, scale)
    for lane, start, length, state, number in zip(
        data.lane, data.start_s, data.seconds, data.states, data.numbers, strict=True
    ):
        if lane < shown and length > 0.025 * ends.max():
            axes.text(
                (start + length / 2) / scale, lane, str(number), ha="center", va="center",
                color="white" if state in ("complete", "failed") else INK, fontsize=8,
            )  # fmt: skip
    axes.set_yticks(range(shown), [short(name, 26) for name in data.lanes[:shown]])
    axes.set_ylim(shown - 0.4, -0.6)
    axes.set_xlim(0, 1.01 * float(ends.max()) / scale)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{unit} since the search began")
    more = f" (first {shown} shown)" if shown < len(data.lanes) else ""
    workers = count_text(len(data.lanes), "worker")
    busy = f"busy {100 * data.seconds.sum() / data.whole:.0f} % of the time"
    useful = f", in epochs {100 * data.epoch_seconds / data.whole:.0f} %"
    axes.set_title(f"What ran when: {workers}{more}, {busy}{useful if data.epoch_seconds else ''}")
    legend_below(figure, list(state_handles(data.states)))
    return figure


def _bars(axes: Axes, data: Timeline, scale: float) -> None:
    states, lanes = np.array(data.states), np.array(data.lane)
    spans = np.column_stack([data.start_s, data.seconds]) / scale
    edge: dict[str, Any] = {"edgecolor": "white", "lw": 0.6}
    for state, colour in STATE_COLOURS.items():
        for lane in range(min(len(data.lanes), _MAX_LANES)):
            at = (states == state) & (lanes == lane)
            if at.any():
                style = edge if len(states) <= _MAX_EDGED else {"lw": 0}
                axes.broken_barh(spans[at], (lane - 0.39, 0.78), facecolor=colour, **style)


def stage_seconds(files: StudyFiles) -> dict[str, float]:
    """Return the seconds of every stage that told."""
    given = section(files.summary, "stage_seconds")
    stages = {str(name): float(value) for name, value in given.items() if is_number(value)}
    if not stages:
        raise NothingToShowError(_NO_STAGES)
    return stages


def time_table(files: StudyFiles) -> Table:
    """Seconds spent in every stage."""
    stages = stage_seconds(files)
    total = sum(stages.values())
    rows = [
        {"stage": name, "seconds": spent, "share": spent / max(total, 1e-9)}
        for name, spent in stages.items()
    ]
    frame = pd.DataFrame([*rows, {"stage": "all", "seconds": total, "share": 1.0}])
    return Table("time", "Where the time went", frame, {"seconds": "seconds", "share": "recall"})


def cost_data(files: StudyFiles) -> pd.DataFrame:
    """Return trainings, num_trainings, epochs, seconds (of all workers) and share, by their end."""
    rows = []
    for state in (*TrialState, "running"):
        trials = files.trials[files.trials["state"] == str(state)]
        if len(trials):
            what = f"search: {state}"
            rows.append((what, len(trials), trials["epochs_run"].sum(), trials["seconds"].sum()))
    runs = files.confirm[files.confirm["seconds"].notna()]
    if len(runs):
        rows.append(("confirm", len(runs), runs["epochs_run"].sum(), runs["seconds"].sum()))
    frame = pd.DataFrame(rows, columns=["trainings", "num_trainings", "epochs", "seconds"])
    if not frame["seconds"].sum() > 0:
        raise NothingToShowError("No training has a duration, so it is not known what they cost.")
    return frame.assign(share=frame["seconds"] / frame["seconds"].sum())


def cost(files: StudyFiles) -> Table:
    """What the trainings of the search and the confirmation cost, by how they ended."""
    kinds = {"seconds": "seconds", "share": "recall", "trainings": "text"}
    titles = {"trainings": "what", "num_trainings": "trainings"}
    title = "What the trainings cost, summed over workers"
    return Table("cost", title, cost_data(files), kinds, titles=titles)


def draw_time(files: StudyFiles) -> Figure:
    """Draw the stages' time on the clock beside the trainings' time on the workers."""
    try:
        stages = stage_seconds(files)
    except NothingToShowError:
        stages = {}
    frame = cost_data(files)
    trainings = dict(zip(frame["trainings"], frame["seconds"], strict=True))
    panels = [("By the clock", stages, BLUE)] if stages else []
    panels.append(("On the workers", trainings, ORANGE))
    figure = new_figure(1.0 + 0.3 * max(3, *(len(values) for _, values, _ in panels)))
    for axes, (title, values, colour) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        total = sum(values.values())
        axes.barh(range(len(values)), list(values.values()), 0.7, color=colour)
        for row, spent in enumerate(values.values()):
            text = f" {seconds_text(spent)}, {100 * spent / max(total, 1e-9):.0f} %"
            axes.text(spent, row, text, va="center", fontsize=8)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, 1.5 * max(values.values()))
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_title(f"{title}: {seconds_text(total)}")
    return figure
