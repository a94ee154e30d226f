"""Plots of the data set: images per class and split, image sizes, and which size fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.report.data_files import PARTS, DataFiles
from search.report.data_words import ENOUGH, SIZES_PX, share_text, suggest_size_px
from search.report.format import count_text, number_text, short
from search.report.load import NothingToShowError
from search.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SKY,
    SPLIT_COLOURS,
    log_axis,
    new_figure,
    whole_numbers,
)

_MAX_BARS = 60
_MAX_DOTS = 5000


def class_counts_data(data: DataFiles) -> pd.DataFrame:
    """Count images per class (rows, largest first) and split (columns).

    The columns are train, val and test; one column `images` while nothing is split.
    """
    if not data.classes:
        raise NothingToShowError("The images were not listed yet.")
    parts = data.images["part"]
    is_split = bool((parts != "").any())
    counts = pd.crosstab(data.images["label"], parts if is_split else parts.replace("", "images"))
    columns = list(PARTS) if is_split else ["images"]
    counts = counts.reindex(index=list(data.classes), columns=columns, fill_value=0)
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return counts.loc[order].rename_axis(index="class", columns=None)


def draw_class_counts(data: pd.DataFrame) -> Figure:
    count, total = len(data), data.sum(axis=1)
    title = f"{count_text(int(total.sum()), 'image')} of {count_text(count, 'class')}"
    low, high = int(total.min()), int(total.max())
    title += f": {low:,} a class" if low == high else f": {low:,} to {high:,} a class"
    half = _MAX_BARS // 2
    places = np.arange(count)
    if count > _MAX_BARS:  # both ends of the list: imbalance shows there
        data = pd.concat([data.head(half), data.tail(half)])
        places = np.r_[:half, half + 1 : 2 * half + 1]
        title += f" ({half} largest, {half} smallest)"
    rows = len(data)
    figure = new_figure(1.3 + max(2, rows) * (0.3 if rows <= 20 else 0.2))
    axes = figure.subplots()
    left = np.zeros(rows)
    for column in data.columns:
        colour = SPLIT_COLOURS.get(column, BLUE)
        axes.barh(places, data[column], 0.78, left=left, color=colour, label=column)
        left = left + data[column].to_numpy(dtype=float)
    for row, value in zip(places.tolist(), left, strict=True):
        axes.text(value, row, f" {int(value):,}", va="center", fontsize=8 if rows <= 20 else 7)
    if count > rows:
        between = f"… {count_text(count - rows, 'class')} between these …"
        axes.text(0, half, f" {between}", va="center", fontsize=7.5, color=GREY)
    axes.set_yticks(places, [short(name, 34) for name in data.index])
    axes.tick_params(axis="y", labelsize=9 if rows <= 20 else 7.5)
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.margins(x=0.07)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("images")
    whole_numbers(axes)
    axes.set_title(title)
    if len(data.columns) > 1:
        figure.legend(loc="outside lower center", ncols=3)
    return figure


@dataclass(frozen=True)
class Sizes:
    """Width and height of every image (a sample of many), in pixels."""

    width_px: NDArray[np.float64]
    height_px: NDArray[np.float64]
    num_images: int
    size_px: int | None


def sizes_data(data: DataFiles) -> Sizes:
    """Collect image sizes; of very many images, an even sample."""
    table = data.images[["width_px", "height_px"]].dropna()
    table = table[(table > 0).all(axis=1)]
    if table.empty:
        raise NothingToShowError("Image sizes were not recorded.")
    step = -(-len(table) // _MAX_DOTS)
    sizes = table.iloc[::step].to_numpy(dtype=float)
    return Sizes(sizes[:, 0], sizes[:, 1], len(table), data.facts.size_px)


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


@dataclass(frozen=True)
class SizeChoice:
    """Share of the images that reach each size, in 0..1; the size suggested and the one in use."""

    which: str  # side that counts: "short" or "long"
    sizes_px: tuple[int, ...]
    shares: tuple[float, ...]
    suggested_px: int
    used_px: int | None


def size_choice_data(data: DataFiles) -> SizeChoice:
    """Tell how many images are large enough for each training size."""
    sides = data.short_sides()
    if sides.empty:
        raise NothingToShowError("Image sizes were not recorded.")
    used = data.facts.size_px
    sizes = tuple(sorted({*SIZES_PX, *([used] if used else [])}))
    shares = tuple(float((sides >= size).mean()) for size in sizes)
    which = "long" if data.facts.fit == "pad" else "short"
    return SizeChoice(which, sizes, shares, suggest_size_px(sides), used)


def draw_size_choice(data: SizeChoice) -> Figure:
    figure = new_figure(3.0)
    axes = figure.subplots()
    chosen = {data.suggested_px: GREEN, data.used_px: ORANGE}
    colours = [chosen.get(size, SKY) for size in data.sizes_px]
    shares = 100 * np.array(data.shares)
    places = range(len(shares))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0}  # the dashed line stays below
    axes.bar(places, shares, 0.7, color=colours)
    for place, share in zip(places, shares, strict=True):
        axes.text(place, share + 2.5, share_text(share / 100), ha="center", fontsize=8, bbox=box)
    axes.axhline(100 * ENOUGH, color=INK, lw=1, ls="--", zorder=1.5)
    notes = {data.used_px: "in use", data.suggested_px: "suggested"}
    if data.used_px == data.suggested_px:
        notes = {data.used_px: "in use, as suggested"}
    labels = [f"{size} px\n{notes.get(size, '')}" for size in data.sizes_px]
    axes.set_xticks(places, labels)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("images (%)")
    axes.set_title(f"Images whose {data.which} side reaches the training size")
    return figure
