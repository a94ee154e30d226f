"""Plots that lay several studies over each other: scores, incumbents, winners' curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.records import Metric
from search.report.format import metric_text, metric_title, short
from search.report.load import NothingToShowError
from search.report.studies import Compared
from search.report.studies_scores import test_accuracy
from search.report.study_plots import history_data
from search.report.style import CYCLE, INK, metric_axis, new_figure, whole_numbers

Floats = NDArray[np.float64]
_DASHES = ("-", "--")


def colour_of(place: int) -> tuple[str, str]:
    """Return colour and dash of the study in this place, the same in every plot."""
    return CYCLE[place % len(CYCLE)], _DASHES[place // len(CYCLE) % len(_DASHES)]


@dataclass(frozen=True)
class Scores:
    """Test accuracy of each tested study, in their order."""

    names: list[str]
    places: list[int]
    scores: list[Metric]
    num_images: list[int]


def scores_data(studies: Sequence[Compared]) -> Scores:
    """Collect the test accuracies."""
    found = [(k, s, m) for k, s in enumerate(studies) if (m := test_accuracy(s)) is not None]
    if not found:
        raise NothingToShowError("None of these studies was tested yet.")
    return Scores(
        [study.name for _, study, _ in found],
        [place for place, _, _ in found],
        [metric for _, _, metric in found],
        [len(study.files.predictions) for _, study, _ in found],
    )


def draw_scores(data: Scores) -> Figure:
    figure = new_figure(1.4 + 0.5 * max(2, len(data.names)))
    axes = figure.subplots()
    for row, (place, score) in enumerate(zip(data.places, data.scores, strict=True)):
        colour, dash = colour_of(place)
        face = colour if dash == "-" else "white"
        gaps = [[score.value - score.low], [score.high - score.value]]
        axes.errorbar(
            score.value,
            row,
            xerr=gaps,
            fmt="o",
            ms=8,
            color=colour,
            mfc=face,
            elinewidth=2,
            capsize=4,
        )
        text = metric_text("accuracy", score.value)
        axes.annotate(
            text, (score.value, row), (0, 9), textcoords="offset points", ha="center", fontsize=9
        )
    labels = [
        f"{short(name, 30)}  ({count:,})"
        for name, count in zip(data.names, data.num_images, strict=True)
    ]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.7)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    metric_axis(axes, "accuracy", "x")
    axes.set_xlabel("test accuracy (%); in brackets the test images")
    axes.set_title("Test accuracy, 95 % intervals")
    return figure


@dataclass(frozen=True)
class Incumbents:
    """The best value so far, study by study: after each trial, and by the minute it ended."""

    metric: str
    names: list[str]
    places: list[int]
    values: list[Floats]
    minutes: list[Floats]
    by_minute: list[Floats]


def incumbents_data(studies: Sequence[Compared]) -> Incumbents:
    """Collect incumbents; of studies with other objectives, those with the most common one."""
    histories = {}
    for k, study in enumerate(studies):
        try:
            histories[k] = history_data(study.files)
        except NothingToShowError:
            continue
    if not histories:
        raise NothingToShowError("No trial of these studies finished an epoch.")
    metric = Counter(history.metric for history in histories.values()).most_common(1)[0][0]
    places = [k for k, history in histories.items() if history.metric == metric]
    minutes, by_minute = zip(*(_by_minute(studies[k]) for k in places), strict=True)
    return Incumbents(
        metric, [studies[k].name for k in places], places,
        [histories[k].incumbent for k in places], list(minutes), list(by_minute),
    )  # fmt: skip


def _by_minute(study: Compared) -> tuple[Floats, Floats]:
    """Return when trials with a value ended, in minutes of the search, and the best until then."""
    files = study.files
    trials = files.trials[files.trials["best_value"].notna()]
    complete = trials["state"] == "complete"
    trials = trials[complete] if complete.any() else trials
    ends = (trials["started_s"].fillna(0) + trials["seconds"].fillna(0)).to_numpy(float) / 60
    order = np.argsort(ends, kind="stable")
    best = np.fmax if files.maximize else np.fmin
    return ends[order], best.accumulate(trials["best_value"].to_numpy(float)[order])


def draw_incumbents(data: Incumbents) -> Figure:
    figure = new_figure(4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for k, place in enumerate(data.places):
        colour, dash = colour_of(place)
        style = {"color": colour, "ls": dash, "lw": 2}
        numbers = np.arange(1, len(data.values[k]) + 1)
        left.step(numbers, data.values[k], where="post", **style)
        left.plot(numbers[-1], data.values[k][-1], "o", color=colour, ms=5)
        right.step(data.minutes[k], data.by_minute[k], where="post", **style)
        right.plot(data.minutes[k][-1:], data.by_minute[k][-1:], "o", color=colour, ms=5)
    metric_axis(left, data.metric)
    left.set_title("Best so far, by trials")
    left.set_xlabel("trials")
    whole_numbers(left)
    right.set_title("and by time of the search")
    right.set_xlabel("minutes")
    right.set_xlim(left=0)
    _legend(figure, _handles(data.names, data.places))
    return figure


@dataclass(frozen=True)
class BestCurves:
    """The learning curve of each study's best trial: (E, 2) epoch, value."""

    metric: str
    names: list[str]
    places: list[int]
    curves: list[Floats]


def best_curves_data(studies: Sequence[Compared]) -> BestCurves:
    """Collect the objective's curve of the best trial of each study, with one objective."""
    found = []
    for k, study in enumerate(studies):
        files = study.files
        ranked = files.ranked()
        if ranked.empty or files.metric not in files.epochs.columns:
            continue
        rows = files.epochs[files.epochs["trial_number"] == ranked["number"].iloc[0]]
        rows = rows.dropna(subset=[files.metric]).sort_values("epoch")
        if len(rows):
            curve = rows[["epoch", files.metric]].to_numpy(dtype=float)
            found.append((files.metric, study.name, k, curve))
    if not found:
        raise NothingToShowError("No epochs were recorded, so there are no learning curves.")
    metric = Counter(row[0] for row in found).most_common(1)[0][0]
    kept = [row for row in found if row[0] == metric]
    return BestCurves(
        metric, [row[1] for row in kept], [row[2] for row in kept], [row[3] for row in kept]
    )


def draw_best_curves(data: BestCurves) -> Figure:
    figure = new_figure(4.2)
    axes = figure.subplots()
    for place, curve in zip(data.places, data.curves, strict=True):
        colour, dash = colour_of(place)
        axes.plot(curve[:, 0], curve[:, 1], color=colour, ls=dash, lw=2, marker="o", ms=4)
    metric_axis(axes, data.metric)
    axes.set_xlabel("epoch")
    whole_numbers(axes)
    axes.set_title(f"{metric_title(data.metric).capitalize()} of each study's best trial")
    _legend(figure, _handles(data.names, data.places))
    return figure


@dataclass(frozen=True)
class ClassRecalls:
    """Recall of each class in each tested study, (C, S); the largest differences first."""

    names: list[str]
    places: list[int]
    classes: list[str]
    recalls: Floats


def class_recalls_data(studies: Sequence[Compared], limit: int = 25) -> ClassRecalls:
    """Line up the recalls of the classes that all tested studies know."""
    found = {}
    for k, study in enumerate(studies):
        rows = study.files.metrics.get("per_class")
        if isinstance(rows, list) and rows and study.is_tested:
            found[k] = {
                str(row.get("class")): float(row.get("recall") or 0.0)
                for row in rows
                if isinstance(row, dict) and row.get("support")
            }
    shared = sorted(set.intersection(*map(set, found.values()))) if len(found) > 1 else []
    if not shared:
        raise NothingToShowError("No two tested studies share a class.")
    recalls = np.array([[told[name] for told in found.values()] for name in shared])
    order = np.argsort(-np.ptp(recalls, axis=1), kind="stable")[:limit]
    places = list(found)
    return ClassRecalls(
        [studies[k].name for k in places], places, [shared[i] for i in order], recalls[order]
    )


def draw_class_recalls(data: ClassRecalls) -> Figure:
    figure = new_figure(1.7 + 0.3 * max(3, len(data.classes)))
    axes = figure.subplots()
    rows = np.arange(len(data.classes))
    axes.hlines(rows, data.recalls.min(axis=1), data.recalls.max(axis=1), color=INK, lw=0.8)
    for column, place in enumerate(data.places):
        colour, dash = colour_of(place)
        face = colour if dash == "-" else "white"
        axes.scatter(data.recalls[:, column], rows, 46, face, edgecolors=colour, lw=1.5, zorder=3)
    axes.set_yticks(rows, [short(name, 30) for name in data.classes])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    metric_axis(axes, "recall", "x")
    axes.set_title("Recall on test by class: the classes they differ in most come first")
    _legend(figure, _handles(data.names, data.places, marker="o"))
    return figure


def _handles(names: Sequence[str], places: Sequence[int], marker: str = "") -> list[Line2D]:
    handles = []
    for name, place in zip(names, places, strict=True):
        colour, dash = colour_of(place)
        face = colour if dash == "-" else "white"
        style = {"ls": "", "marker": marker, "mfc": face} if marker else {"ls": dash, "lw": 2}
        handles.append(Line2D([], [], color=colour, label=short(name, 24), **style))
    return handles


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    """Put the legend below, in as many columns as names of this length leave room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, 110 // (longest + 8)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
