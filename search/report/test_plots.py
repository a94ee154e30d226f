"""Plots of the one look at the test images: confusions, classes, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.confusions import count_confusions
from search.report.format import is_number, metric_text, short
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.style import BLUE, GREY, INK, ORANGE, metric_axis, new_figure
from search.scores import tempered
from search.statistics import wilson_interval

Floats = NDArray[np.float64]
_NO_TEST = "The model was not tested yet, so there are no predictions."
_NUMBERS_UP_TO = 25  # classes; more leaves no room for figures in the cells
_MAX_BARS = 60
_BINS = 10


@dataclass(frozen=True)
class Confusion:
    """`counts[i, j]`: test images of class i that were called class j."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        """Counts as shares of their row; a class without test images has a row of zeros."""
        shares: Floats = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return shares


def confusion_data(files: StudyFiles) -> Confusion:
    """Count the true class of every test image against the predicted one."""
    table = files.predictions
    if table.empty:
        raise NothingToShowError(_NO_TEST)
    named = dict.fromkeys([*files.classes, *sorted({*table["label"], *table["predicted"]})])
    place = {name: k for k, name in enumerate(named)}
    true, predicted = (table[name].map(place).to_numpy() for name in ("label", "predicted"))
    return Confusion(tuple(place), count_confusions(true, predicted, len(place)))


def draw_confusion_counts(data: Confusion) -> Figure:
    return _draw_matrix(data, data.counts, "images", [f"{n}" for n in data.counts.flat])


def draw_confusion_shares(data: Confusion) -> Figure:
    cells = 100 * data.shares
    return _draw_matrix(
        data, cells, "% of the true class", [f"{value:.0f}" for value in cells.flat]
    )


def _draw_matrix(data: Confusion, cells: NDArray[Any], unit: str, texts: list[str]) -> Figure:
    count = len(data.classes)
    pitch = float(np.clip(5.5 / count, 0.14, 0.9))
    label_size = float(np.clip(72 * pitch * 0.8, 6, 9))
    side = max(3.0, count * pitch)
    names = [short(name, 26) for name in data.classes]
    margin = max(len(name) for name in names) * label_size / 72 * 0.62
    figure = new_figure(max(5.2, side + margin + 0.9), max(6.0, side + margin + 1.6))
    axes = figure.subplots()
    # Without figures in the cells, a rare confusion must still show: stretch the pale end.
    norm = PowerNorm(1 if count <= _NUMBERS_UP_TO else 0.5, 0, max(1.0, float(cells.max())))
    image = axes.imshow(cells, cmap="Blues", norm=norm)
    upright = max(len(name) for name in names) * label_size * 0.65 > 72 * pitch
    axes.set_xticks(range(count), names, rotation=90 if upright else 0, fontsize=label_size)
    axes.set_yticks(range(count), names, fontsize=label_size)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    if count <= _NUMBERS_UP_TO:
        half = cells.max() / 2
        for k, text in enumerate(texts):
            row, column = divmod(k, count)
            if data.counts[row, column]:
                colour = "white" if cells[row, column] > half else INK
                size = float(np.clip(72 * pitch * 0.42, 6.5, 11))
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    else:  # thin lines lead the eye from a cell to its names
        for at in range(4, count - 1, 5):
            axes.axhline(at + 0.5, color=GREY, lw=0.3)
            axes.axvline(at + 0.5, color=GREY, lw=0.3)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right, total = int(np.trace(data.counts)), int(data.counts.sum())
    title = f"Confusions in {unit}", f"{right:,} of {total:,} test images on the diagonal"
    axes.set_title((": " if side > 5 else "\n").join(title))
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02)
    bar.set_label(unit)
    bar.outline.set_visible(False)
    return figure


@dataclass(frozen=True)
class ClassScores:
    """Classes by rising F1; of many, only the lowest. Shares in 0..1, `support` in images."""

    classes: list[str]
    f1: Floats
    recall: Floats
    low: Floats
    high: Floats
    support: list[int]
    num_classes: int


def class_scores_data(files: StudyFiles) -> ClassScores:
    """Sort the per-class figures, the weakest first."""
    rows = [row for row in files.metrics.get("per_class") or () if isinstance(row, dict)]
    if not rows:
        raise NothingToShowError("There are no per-class figures: the model was not tested yet.")
    rows.sort(key=lambda row: (_real(row, "f1"), str(row.get("class"))))
    shown = rows[:_MAX_BARS]
    recall = np.array([_real(row, "recall") for row in shown])
    return ClassScores(
        [str(row.get("class")) for row in shown],
        np.array([_real(row, "f1") for row in shown]), recall,
        np.array([_real(row, "recall_low", "recall") for row in shown]),
        np.array([_real(row, "recall_high", "recall") for row in shown]),
        [int(_real(row, "support")) for row in shown], len(rows),
    )  # fmt: skip


def _real(row: dict[str, Any], *names: str) -> float:
    return next((float(row[name]) for name in names if is_number(row.get(name))), 0.0)


def draw_class_scores(data: ClassScores) -> Figure:
    count = len(data.classes)
    figure = new_figure(1.3 + max(2, count) * (0.34 if count <= 20 else 0.22))
    axes = figure.subplots()
    rows = np.arange(count)
    axes.barh(rows, data.f1, 0.72, color="#9fc9e6", label="F1")
    gaps = np.clip([data.recall - data.low, data.high - data.recall], 0, 1)
    axes.errorbar(
        data.recall, rows, xerr=gaps, fmt="o", ms=4.5, color=BLUE, ecolor=GREY, elinewidth=1.3,
        capsize=2, label="recall with its 95 % interval",
    )  # fmt: skip
    names = zip(data.classes, data.support, strict=True)
    axes.set_yticks(rows, [f"{short(name, 30)}  ({support})" for name, support in names])
    axes.tick_params(axis="y", labelsize=9 if count <= 20 else 7.5)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    metric_axis(axes, "f1", "x")
    axes.set_xlabel("F1 and recall (%); in brackets the test images of each class")
    axes.grid(axis="y", visible=False)
    which = f"the {count} weakest of {data.num_classes}" if count < data.num_classes else "all"
    axes.set_title(f"Test scores per class: {which}, weakest first")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@dataclass(frozen=True)
class Reliability:
    """Bins of confidence: mean confidence, accuracy with interval, images; NaN in empty bins.

    `before` is what the model said without its temperature, None where it has none.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    counts: NDArray[np.int64]
    ece: float | None
    before: Reliability | None = None


def reliability_data(files: StudyFiles) -> Reliability:
    """Compare confidence with accuracy in ten equal bins (Guo et al. 2017)."""
    table = files.predictions.dropna(subset=["confidence"])
    if table.empty:
        raise NothingToShowError(_NO_TEST)
    right = (table["label"] == table["predicted"]).to_numpy().astype(np.float64)
    told = section(files.metrics, "calibration")
    now = _ece(section(files.metrics, "metrics"))
    found = _binned(table["confidence"].to_numpy(dtype=float), right, now)
    chances = table[[name for name in table.columns if name.startswith("p.")]].to_numpy(float)
    temperature = told.get("temperature")
    if not (is_number(temperature) and temperature not in (0, 1) and chances.size):
        return found
    raw = tempered(chances, 1 / float(temperature)).max(axis=1)
    return replace(found, before=_binned(raw, right, _ece(section(told, "before"))))


def _ece(metrics: dict[str, Any]) -> float | None:
    found = metrics.get("ece")
    found = found.get("value") if isinstance(found, dict) else found
    return float(found) if is_number(found) else None


def _binned(confidence: Floats, right: Floats, ece: float | None) -> Reliability:
    place = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    hits = np.bincount(place, right, _BINS)
    low, high = np.zeros(_BINS), np.ones(_BINS)
    low[counts > 0], high[counts > 0] = wilson_interval(hits[counts > 0], counts[counts > 0])
    size = np.where(counts > 0, counts, np.nan)
    return Reliability(
        np.linspace(0, 1, _BINS + 1), np.bincount(place, confidence, _BINS) / size, hits / size,
        low, high, counts, ece,
    )  # fmt: skip


def draw_reliability(data: Reliability) -> Figure:
    figure = new_figure(5.7, 6.0)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    some = data.counts > 0
    top.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="perfectly calibrated")
    gaps = np.clip([data.accuracy - data.low, data.high - data.accuracy], 0, 1)
    if data.before is not None:
        was = data.before.counts > 0
        top.plot(
            data.before.confidence[was], data.before.accuracy[was], "s:", color=ORANGE, ms=5,
            label="before its temperature",
        )  # fmt: skip
    top.errorbar(
        data.confidence[some], data.accuracy[some], yerr=gaps[:, some], fmt="o-", color=BLUE,
        ecolor=BLUE, elinewidth=1, capsize=2.5, label="this model, 95 % interval",
    )  # fmt: skip
    top.set_ylim(0, 1.02)
    top.set_xlim(0, 1)
    metric_axis(top, "accuracy")
    error = f": ECE {metric_text('ece', data.ece)}" if data.ece is not None else ""
    if error and data.before is not None and data.before.ece is not None:
        error += f", before {metric_text('ece', data.before.ece)}"
    top.set_title(f"Accuracy at each confidence{error}")
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    low.bar(data.edges[:-1], data.counts, width=1 / _BINS, align="edge", color=BLUE, ec="white")
    low.set_ylabel("images")
    metric_axis(low, "accuracy", "x")
    low.set_xlabel("confidence: probability of the predicted class (%)")
    return figure
