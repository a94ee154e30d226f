"""Curves over the model's confidence: ROC, precision and recall, and what to answer at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from search.report.format import count_text, metric_text, number_text, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    VERMILION,
    legend_below,
    metric_axis,
    new_figure,
)

Floats = NDArray[np.float64]
_NO_CHANCES = "The model was not tested yet, so there are no probabilities to draw curves from."
_NAMED = 5  # classes with a colour of their own; of more, the weakest
_POINTS = 400  # of a curve, at most: more would only make the drawing slow
_BINS = 20


@dataclass(frozen=True)
class ClassCurve:
    """One class against all others: false alarms, recall (N,), and precision at that recall."""

    name: str
    false_alarms: Floats
    recall: Floats
    precision: Floats
    auc: float
    average_precision: float


def curves_of_class(name: str, is_class: NDArray[np.bool_], chance: Floats) -> ClassCurve | None:
    """Rank the images by the probability of one class; None where all or none are of it.

    Images with the same probability count as one step. Average precision is the mean of the
    precisions at each step, weighted with the recall gained there; nothing is interpolated.

    Args:
        is_class: (N,) whether an image is of the class.
        chance: (N,) the probability the model gave it.

    References:
        Fawcett, An introduction to ROC analysis, 2006; Davis & Goadrich, ICML 2006.
    """
    positive = int(is_class.sum())
    if not 0 < positive < len(is_class):
        return None
    order = np.argsort(-chance, kind="stable")
    ends = np.flatnonzero(np.diff(chance[order], append=-np.inf))
    hits = np.cumsum(is_class[order])[ends]
    recall, precision = hits / positive, hits / (ends + 1)
    alarms = (ends + 1 - hits) / (len(is_class) - positive)
    gained = np.diff(recall, prepend=0.0)
    area = float(np.trapezoid(np.r_[0.0, recall], np.r_[0.0, alarms]))
    return ClassCurve(name, alarms, recall, precision, area, float(gained @ precision))


def class_curves(files: StudyFiles) -> list[ClassCurve]:
    """Return the curves of every class with test images, lowest average precision first."""
    table = files.predictions
    names = [name for name in files.classes if f"p.{name}" in table.columns]
    if table.empty or not names:
        raise NothingToShowError(_NO_CHANCES)
    found = [
        curves_of_class(name, (table["label"] == name).to_numpy(), table[f"p.{name}"].to_numpy())
        for name in names
        if table[f"p.{name}"].notna().all()
    ]
    known = sorted((c for c in found if c), key=lambda c: c.average_precision)
    if not known:
        raise NothingToShowError("The test images are all of one class: there is no curve.")
    return known


def draw_class_curves(curves: list[ClassCurve]) -> Figure:
    figure = new_figure(5.0)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
    handles = []
    for k, curve in reversed(list(enumerate(curves))):
        named = k < _NAMED
        style: dict[str, Any] = (
            {"color": CYCLE[k], "lw": 1.8} if named else {"color": GREY, "lw": 0.7}
        )
        style |= {"alpha": 1.0 if named else 0.45, "zorder": 3 if named else 2}
        some = np.unique(np.linspace(0, len(curve.recall) - 1, _POINTS).astype(int))
        recall, alarms = curve.recall[some], curve.false_alarms[some]
        left.plot(np.r_[0, alarms], np.r_[0, recall], drawstyle="steps-post", **style)
        right.plot(np.r_[0, recall], np.r_[curve.precision[0], curve.precision[some]], **style)
        if named:
            share = f"{100 * curve.average_precision:.0f} %"
            handles.append(Line2D([], [], label=f"{short(curve.name, 26)}: AP {share}", **style))
    more = len(curves) - _NAMED
    if more > 0:
        what = "the other class" if more == 1 else f"the other {count_text(more, 'class')}"
        handles.insert(0, Line2D([], [], color=GREY, lw=0.9, label=what))
    means = [float(np.mean([getattr(c, n) for c in curves])) for n in ("auc", "average_precision")]
    left.set_title(f"ROC: area {number_text(round(means[0], 3))} on average")
    left.set_xlabel("images of other classes taken for it (%)")
    left.set_ylabel("recall (%)")
    right.set_title(f"Precision and recall: AP {100 * means[1]:.1f} % on average")
    right.set_xlabel("recall (%)")
    right.set_ylabel("precision (%)")
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
        for which in "xy":
            label = axes.get_xlabel() if which == "x" else axes.get_ylabel()
            metric_axis(axes, "recall", which)
            (axes.set_xlabel if which == "x" else axes.set_ylabel)(label)
    legend = handles[::-1]
    figure.legend(handles=legend, loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure


@dataclass(frozen=True)
class Confidence:
    """Confidences of right and wrong predictions, and accuracy by the share that is answered.

    `answered[k]` of the images have at least the confidence `threshold[k]`; `accuracy[k]` of
    those are right.
    """

    right: Floats
    wrong: Floats
    answered: Floats
    accuracy: Floats
    threshold: Floats


def confidence_data(files: StudyFiles) -> Confidence:
    """Split the confidences by right and wrong, and rank all by confidence.

    References:
        Geifman & El-Yaniv, Selective classification for deep neural networks, 2017.
    """
    table = files.predictions.dropna(subset=["confidence"])
    if table.empty:
        raise NothingToShowError("The model was not tested yet, so there are no confidences.")
    sure = table["confidence"].to_numpy(dtype=float)
    right = (table["label"] == table["predicted"]).to_numpy()
    order = np.argsort(-sure, kind="stable")
    ends = np.flatnonzero(np.diff(sure[order], append=-np.inf))
    hits = np.cumsum(right[order])[ends]
    return Confidence(
        sure[right], sure[~right], (ends + 1) / len(sure), hits / (ends + 1), sure[order][ends]
    )


def draw_confidence(data: Confidence) -> Figure:
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    edges = np.linspace(0, 1, _BINS + 1)
    counts = [np.histogram(values, edges)[0] for values in (data.right, data.wrong)]
    left.bar(edges[:-1], counts[0], 1 / _BINS, align="edge", color=BLUE, ec="white", lw=0.5)
    left.bar(
        edges[:-1], counts[1], 1 / _BINS, counts[0], align="edge", color=VERMILION, ec="white",
        hatch="///", lw=0.5,
    )  # fmt: skip
    left.set_xlim(0, 1)
    metric_axis(left, "recall", "x")
    left.set_xlabel("confidence (%)")
    left.set_ylabel("test images")
    left.set_title("How sure it was")
    right.plot(data.answered, data.accuracy, color=INK, lw=1.6)
    for threshold in (0.5, 0.9):
        k = int((data.threshold >= threshold).sum()) - 1
        if 0 <= k < len(data.answered) - 1:
            at = (data.answered[k], data.accuracy[k])
            right.plot(*at, "o", color=INK, ms=6)
            right.annotate(
                f"≥ {100 * threshold:.0f} %", at, (-5, -11), textcoords="offset points",
                fontsize=8, ha="right",
            )  # fmt: skip
    room = max(1.0 - float(data.accuracy.min()), 0.02)
    right.set_ylim(1.0 - 1.15 * room, 1.0 + 0.04 * room)
    right.set_xlim(0, 1.02)
    metric_axis(right, "accuracy")
    metric_axis(right, "recall", "x")
    right.set_xlabel("share of the images that is answered, surest first (%)")
    right.set_title(
        f"Right among those answered; {metric_text('accuracy', data.accuracy[-1])} of all"
    )
    legend_below(figure, [
        Line2D([], [], ls="", marker="s", color=BLUE, label=f"right ({len(data.right):,})"),
        Line2D([], [], ls="", marker="s", color=VERMILION, label=f"wrong ({len(data.wrong):,})"),
        Line2D([], [], color=INK, marker="o", label="answering from this confidence on"),
    ])  # fmt: skip
    return figure
