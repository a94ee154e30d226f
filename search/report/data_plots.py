"""Plots of the data set: images per class and split, and image sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.report.format import count_text, number_text, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import BLUE, GREY, INK, SPLIT_COLOURS, log_axis, new_figure

_MAX_BARS = 60
_MAX_DOTS = 5000


def class_counts_data(files: StudyFiles) -> pd.DataFrame:
    """Count images per class (rows, largest first) and split (columns train, val, test)."""
    if files.splits.empty:
        raise NothingToShowError("The images were not split yet.")
    counts = pd.crosstab(files.splits["label"], files.splits["split"])
    counts = counts.reindex(columns=list(SPLIT_COLOURS), fill_value=0)
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return counts.loc[order].rename_axis(index="class", columns=None)


def draw_class_counts(data: pd.DataFrame) -> Figure:
    count, total = len(data), data.sum(axis=1)
    title = f"{count_text(int(total.sum()), 'image')} of {count_text(count, 'class')}"
    title += f": {int(total.min()):,} to {int(total.max()):,} a class"
    if count > _MAX_BARS:  # both ends of the list: imbalance shows there
        half = _MAX_BARS // 2
        data = pd.concat([data.head(half), data.tail(half)])
        title += f" ({half} largest, {half} smallest)"
    rows = len(data)
    figure = new_figure(1.3 + max(2, rows) * (0.3 if rows <= 20 else 0.2))
    axes = figure.subplots()
    left = np.zeros(rows)
    for split, colour in SPLIT_COLOURS.items():
        axes.barh(range(rows), data[split], 0.78, left=left, color=colour, label=split)
        left = left + data[split].to_numpy(dtype=float)
    for row, value in enumerate(left):
        axes.text(value, row, f" {int(value):,}", va="center", fontsize=8 if rows <= 20 else 7)
    axes.set_yticks(range(rows), [short(name, 34) for name in data.index])
    axes.tick_params(axis="y", labelsize=9 if rows <= 20 else 7.5)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.margins(x=0.07)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("images")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@dataclass(frozen=True)
class Sizes:
    """Width and height of every image (a sample of many), in pixels."""

    width_px: NDArray[np.float64]
    height_px: NDArray[np.float64]
    num_images: int
    size_px: int | None


def sizes_data(files: StudyFiles) -> Sizes:
    """Collect image sizes; of very many images, an even sample."""
    table = files.index[["width_px", "height_px"]].dropna()
    table = table[(table > 0).all(axis=1)]
    if table.empty:
        raise NothingToShowError("Image sizes were not recorded.")
    step = -(-len(table) // _MAX_DOTS)
    sizes = table.iloc[::step].to_numpy(dtype=float)
    size_px = files.model.get("size_px") or files.summary.get("dataset", {}).get("size_px")
    found = size_px if isinstance(size_px, int) else None
    return Sizes(sizes[:, 0], sizes[:, 1], len(table), found)


def draw_sizes(data: Sizes) -> Figure:
    figure = new_figure(3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    alpha = float(np.clip(150 / len(data.width_px), 0.08, 0.7))
    left.scatter(data.width_px, data.height_px, 14, BLUE, alpha=alpha, lw=0)
    if (
        max(data.width_px.max() / data.width_px.min(), data.height_px.max() / data.height_px.min())
        > 8
    ):
        log_axis(left)
        log_axis(left, "y")
    edge = max(data.width_px.max(), data.height_px.max())
    limits = left.get_xlim(), left.get_ylim()
    left.plot([1, edge], [1, edge], color=GREY, lw=1, ls="--", zorder=1)
    left.set(xlim=limits[0], ylim=limits[1])
    middle = np.median(data.width_px), np.median(data.height_px)
    fed = f", fed as {data.size_px} × {data.size_px}" if data.size_px else ""
    left.set_title(f"Image sizes: median {middle[0]:.0f} × {middle[1]:.0f} px{fed}")
    left.set_xlabel("width (px)")
    left.set_ylabel("height (px)")
    aspect = np.clip(data.width_px / data.height_px, 0.25, 4)
    low, high = min(0.5, aspect.min()), max(2, aspect.max())
    right.hist(aspect, bins=np.geomspace(low, high, 33), color=BLUE)
    right.set_xscale("log")
    marks = [mark for mark in (0.25, 1 / 3, 0.5, 3 / 4, 1, 4 / 3, 2, 3, 4) if low <= mark <= high]
    right.set_xticks(marks, [_ratio(mark) for mark in marks])
    right.minorticks_off()
    right.axvline(1, color=INK, lw=1, ls="--")
    right.set_title("Shape")
    right.set_xlabel("width : height")
    right.set_ylabel("images")
    return figure


def _ratio(value: float) -> str:
    names = {0.25: "1:4", 1 / 3: "1:3", 0.5: "1:2", 0.75: "3:4", 1: "1:1", 4 / 3: "4:3"}
    return names.get(value, f"{number_text(value)}:1")
