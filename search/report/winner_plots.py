"""Plots of how the winner was chosen and trained: confirmation and retraining."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.report.format import metric_title, number_text, short, spread_text
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    legend_below,
    metric_axis,
    new_figure,
    whole_numbers,
)

Floats = NDArray[np.float64]


def winner_number(files: StudyFiles) -> int | None:
    """Return the number of the trial that the study chose, None while there is none."""
    name = str(section(files.summary, "confirm").get("winner") or "")
    if name == "default recipe":
        return 0
    number = name.removeprefix("trial ")
    return int(number) if number.isdigit() and not files.at_work else None


def shared_runs(files: StudyFiles) -> pd.DataFrame:
    """Return the fresh-seed runs of the seeds that every candidate has: these are compared."""
    runs = files.confirm.dropna(subset=["value"])
    counts = runs.groupby("seed")["candidate"].nunique()
    return runs[runs["seed"].map(counts) == runs["candidate"].nunique()]


@dataclass(frozen=True)
class ConfirmScores:
    """Candidates, best mean first, with the value of every seed and that of the search (or NaN)."""

    metric: str
    candidates: list[str]
    values: list[Floats]
    searched: list[float]


def confirm_data(files: StudyFiles) -> ConfirmScores:
    """Group the fresh-seed runs by candidate."""
    runs = files.confirm.dropna(subset=["value"])
    if runs.empty:
        raise NothingToShowError("No candidate was confirmed with fresh seeds.")
    reached = files.search_values()
    groups = [
        (
            str(name),
            rows["value"].to_numpy(dtype=float),
            reached.get(rows["trial_number"].iloc[0], math.nan),
        )
        for name, rows in runs.groupby("candidate")
    ]
    groups.sort(key=lambda group: (-1 if files.maximize else 1) * float(group[1].mean()))
    names, values, searched = (list(column) for column in zip(*groups, strict=True))
    return ConfirmScores(files.metric, names, values, searched)


def draw_confirm(data: ConfirmScores) -> Figure:
    figure = new_figure(1.7 + 0.5 * max(2, len(data.candidates)))
    axes = figure.subplots()
    labels = []
    for row, (name, values) in enumerate(zip(data.candidates, data.values, strict=True)):
        axes.plot([data.searched[row], values.mean()], [row, row], color=VERMILION, lw=1.2, ls="--")
        axes.plot(data.searched[row], row, "D", ms=8, mfc="none", mec=VERMILION, mew=1.6, zorder=5)
        colour = ORANGE if name.startswith("default") else BLUE
        axes.scatter(values, np.full(len(values), row), 44, colour, alpha=0.7, lw=0, zorder=3)
        axes.plot([values.mean()] * 2, [row - 0.28, row + 0.28], color=INK, lw=2.2, zorder=4)
        std = values.std(ddof=1) if len(values) > 1 else None
        labels.append(f"{short(name)}\n{spread_text(data.metric, values.mean(), std)}")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    metric_axis(axes, data.metric, "x")
    axes.set_title("Candidates trained again with fresh seeds")
    handles = [
        Line2D([], [], ls="", marker="o", color=BLUE, label="a fresh seed"),
        Line2D([], [], ls="", marker="|", ms=13, mew=2.2, color=INK, label="their mean"),
        Line2D([], [], ls="", marker="D", ms=8, mfc="none", mec=VERMILION, mew=1.6,
               label="what it reached in the search"),
    ]  # fmt: skip
    legend_below(figure, handles)
    return figure


@dataclass(frozen=True)
class WinnerCurves:
    """Epochs of the winner's trial in the search; `right` has a metric's train and val columns."""

    number: int
    epochs: pd.DataFrame
    best_epoch: int | None
    right: str


def winner_curves_data(files: StudyFiles) -> WinnerCurves:
    """Return train and val curves of the trial that won, the best of the search until one has."""
    number = winner_number(files)
    if number is None:
        first = files.ranked()["number"].head(1)
        number = int(first.iloc[0]) if len(first) else -1
    rows = files.epochs[files.epochs["trial_number"] == number].sort_values("epoch")
    if rows.empty or rows.reindex(columns=["train_loss", "val_loss"]).isna().all(axis=None):
        raise NothingToShowError("The winner's epochs of the search were not recorded.")
    trial = files.trials[files.trials["number"] == number]
    best = trial["best_epoch"].dropna()
    right = "val_accuracy" if files.metric.endswith("_loss") else files.metric
    return WinnerCurves(number, rows, int(best.iloc[0]) if len(best) else None, right)


def draw_winner_curves(data: WinnerCurves) -> Figure:
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    _train_and_val(left, data.epochs, "train_loss", "val_loss")
    left.set_ylabel("loss")
    left.set_ylim(bottom=0)
    left.set_title(f"Loss of trial {data.number} in the search")
    _train_and_val(right, data.epochs, data.right.replace("val_", "train_"), data.right)
    metric_axis(right, data.right)
    right.set_title(metric_title(data.right).capitalize())
    for axes in (left, right):
        axes.set_xlabel("epoch")
        whole_numbers(axes)
        if data.best_epoch:
            axes.axvline(data.best_epoch, color=GREY, ls=":", lw=1.2)
    handles = [
        Line2D([], [], color=BLUE, marker="o", label="train (augmented)"),
        Line2D([], [], color=ORANGE, marker="s", label="val"),
    ]
    if data.best_epoch:
        label = f"best epoch: {data.best_epoch}"
        handles.append(Line2D([], [], color=GREY, ls=":", label=label))
    legend_below(figure, handles)
    return figure


def _train_and_val(axes: Axes, epochs: pd.DataFrame, train: str, val: str) -> None:
    for name, colour, marker in ((train, BLUE, "o"), (val, ORANGE, "s")):
        if name in epochs.columns:
            values = pd.to_numeric(epochs[name], errors="coerce").astype(float)
            axes.plot(epochs["epoch"].astype(int), values, color=colour, marker=marker, ms=4)


def retrain_data(files: StudyFiles) -> pd.DataFrame:
    """Return epoch, train_loss and lr of the winner's last training."""
    rows = files.best_epochs.dropna(subset=["train_loss"]).sort_values("epoch")
    if rows.empty:
        raise NothingToShowError("The winner's retraining left no epochs.")
    return rows[["epoch", "train_loss", "lr"]].astype(float).reset_index(drop=True)


def draw_retrain(data: pd.DataFrame) -> Figure:
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    left.plot(data["epoch"], data["train_loss"], marker="o", color=BLUE)
    left.set_ylim(bottom=0)
    final = number_text(float(data["train_loss"].iloc[-1]))
    left.set_title(f"Retraining on train + val: the loss ends at {final}")
    left.set_ylabel("train loss")
    right.plot(data["epoch"], data["lr"], marker="o", color=ORANGE)
    right.set_title("Learning rate")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        whole_numbers(axes)
    return figure
