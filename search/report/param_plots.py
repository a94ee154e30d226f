"""Plots of values against parameters: parallel coordinates and one slice per parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from search.report.format import axis_title, count_text, is_share, metric_title, number_text, short
from search.report.load import NothingToShowError, StudyFiles, numbers
from search.report.style import (
    GREY,
    INK,
    STATE_COLOURS,
    STATE_MARKERS,
    dots,
    legend_below,
    log_axis,
    metric_axis,
    new_figure,
    state_handles,
)

Floats = NDArray[np.float64]
_NOT_USED = "not used"
_MAX_LEVELS = 14
_MAX_STEPS = 8  # a number with as few values, such as a batch size, is drawn in even steps
_MAX_STRONG = 60  # lines of the parallel plot; the others are faint


@dataclass(frozen=True)
class ParamAxis:
    """One parameter of every shown trial, as positions.

    `position` is the number itself, or the index into `levels` of a categorical one and of a number
    that takes a few values only; NaN where the parameter was not active.
    """

    name: str
    position: Floats
    levels: tuple[str, ...]  # () for a number
    log: bool


@dataclass(frozen=True)
class ParamValues:
    """Parameters of the trials that have a value: `value` (n,), `states` (n,), one axis each."""

    metric: str
    maximize: bool
    value: Floats
    states: list[str]
    axes: tuple[ParamAxis, ...]


def param_axis(files: StudyFiles, name: str, keep: NDArray[np.bool_]) -> ParamAxis:
    """Turn one params column into positions, for the trials to keep."""
    cells = files.trials[f"params.{name}"]
    values = numbers(cells)
    few = values is not None and 1 < values.nunique() <= min(_MAX_STEPS, keep.sum() // 3)
    if values is not None and not few:
        real = np.asarray(values, dtype=np.float64)
        return ParamAxis(name, real[keep], (), files.is_log(name))
    cells = cells[keep]
    found = {cell for cell in cells if cell != ""}
    levels = tuple(sorted(found, key=float if few else str))
    place = {level: float(k) for k, level in enumerate(levels)}
    shown = tuple(number_text(float(level)) for level in levels) if few else levels
    position = np.array([place.get(cell, np.nan) for cell in cells], dtype=np.float64)
    return ParamAxis(name, position, shown, False)


def param_values(files: StudyFiles, limit: int) -> ParamValues:
    """Collect the most important varied parameters of trials with a value, at most `limit`."""
    keep = files.trials["best_value"].notna().to_numpy()
    varied = set(files.varied())
    names = [name for name in files.important() if name in varied][:limit]
    if keep.sum() < 2:
        raise NothingToShowError("Fewer than two trials have a value, so nothing can be compared.")
    if not names:
        raise NothingToShowError("No parameter was varied.")
    axes = (param_axis(files, name, keep) for name in names)
    return ParamValues(
        files.metric, files.maximize, files.trials["best_value"].to_numpy(dtype=float)[keep],
        files.trials["state"][keep].tolist(),
        tuple(axis for axis in axes if np.isfinite(axis.position).any()),
    )  # fmt: skip


def parallel_data(files: StudyFiles) -> ParamValues:
    return param_values(files, limit=6)


def slice_data(files: StudyFiles) -> ParamValues:
    return param_values(files, limit=24)


def unit_positions(axis: ParamAxis) -> Floats:
    """Scale positions to 0.12..1 (0.0 for "not used" when some trial did not use it)."""
    values = np.log10(axis.position) if axis.log else axis.position
    low, high = np.nanmin(values), np.nanmax(values)
    floor = 0.12 if np.isnan(values).any() else 0.0
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    scaled: Floats = np.where(np.isnan(values), 0.0, floor + (1 - floor) * share)
    return scaled


def draw_parallel(data: ParamValues) -> Figure:
    figure = new_figure(5.0)
    axes = figure.subplots()
    low, high = np.quantile(data.value, [0.05, 1.0] if data.maximize else [0.0, 0.95])
    norm = Normalize(low, high if high > low else low + 1e-9)
    colours = colormaps["viridis_r" if data.maximize else "viridis"]
    scale = (data.value - data.value.min()) / max(float(np.ptp(data.value)), 1e-12)
    heights = np.column_stack([*(unit_positions(axis) for axis in data.axes), scale])
    order = np.argsort(data.value if data.maximize else -data.value)  # the best drawn last
    num_strong = (
        len(order) if len(order) <= _MAX_STRONG else max(15, min(_MAX_STRONG, len(order) // 20))
    )
    strong = np.arange(len(order)) >= len(order) - num_strong
    faint = float(np.clip(20 / len(order), 0.02, 0.4))
    columns = np.arange(heights.shape[1])
    jitter = np.random.default_rng(0).uniform(-0.012, 0.012, heights.shape)
    for k, axis in enumerate(data.axes):
        heights[:, k] += jitter[:, k] if axis.levels else 0
    lines = [np.column_stack([columns, heights[i]]) for i in order]
    axes.add_collection(
        LineCollection(
            lines, colors=colours(norm(data.value[order])),
            linewidths=np.where(strong, 1.6, 0.7), alpha=np.where(strong, 0.9, faint),
        )
    )  # fmt: skip
    for k, axis in enumerate(data.axes):
        _parallel_axis(axes, k, axis)
    last = len(data.axes)
    for share in np.linspace(0, 1, 5):
        value = data.value.min() + share * np.ptp(data.value)
        shown = number_text(100 * value) if is_share(data.metric) else number_text(value)
        axes.text(last + 0.04, share, shown, va="center", fontsize=8)
    axes.vlines(columns, 0, 1, color=INK, lw=1)
    axes.set_xticks(columns, [*(short(a.name, 18) for a in data.axes), axis_title(data.metric)])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.25, last + 0.35)
    axes.set_ylim(-0.05, 1.05)
    title = f"{count_text(len(data.value), 'trial')} with a value, one line each"
    more = f"; the best {num_strong} are strong" if num_strong < len(order) else ""
    axes.set_title(title + more, pad=14)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, fraction=0.03, pad=0.01)
    bar.outline.set_visible(False)
    metric_axis(bar.ax, data.metric)
    return figure


def _parallel_axis(axes: Axes, column: int, axis: ParamAxis) -> None:
    """Write an axis's levels or its range beside the vertical line."""
    heights = unit_positions(axis)
    style: dict[str, Any] = {"va": "center", "fontsize": 8, "zorder": 5}
    box = {"facecolor": "white", "alpha": 0.9, "edgecolor": "none", "pad": 0.6}
    if np.isnan(axis.position).any():
        axes.text(column + 0.03, 0, _NOT_USED, color=GREY, style="italic", bbox=box, **style)
    used = ~np.isnan(axis.position)
    if axis.levels:
        for k, level in list(enumerate(axis.levels))[: 3 * _MAX_LEVELS]:
            at = float(heights[axis.position == k][0])
            axes.text(column + 0.03, at, short(level, 20), bbox=box, **style)
        return
    position, heights = axis.position[used], heights[used]
    low, high = float(position.min()), float(position.max())
    middle = math.sqrt(low * high) if axis.log else (low + high) / 2
    marks = (
        (low, heights.min()),
        (middle, (heights.min() + heights.max()) / 2),
        (high, heights.max()),
    )
    for value, at in marks if high > low else marks[1:2]:
        axes.text(column + 0.03, float(at), number_text(value), bbox=box, **style)


def draw_slices(data: ParamValues) -> Figure:
    columns = min(3, len(data.axes))
    rows = math.ceil(len(data.axes) / columns)
    figure = new_figure(0.7 + 2.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, axis in zip(grid.flat, data.axes, strict=False):
        _slice(axes, axis, data)
    for row in grid:
        metric_axis(row[0], data.metric)
    for axes in grid.flat[len(data.axes) :]:
        axes.remove()
    figure.suptitle(f"{metric_title(data.metric)} against each parameter".capitalize())
    legend_below(figure, list(state_handles(data.states)))
    return figure


def _slice(axes: Axes, axis: ParamAxis, data: ParamValues) -> None:
    states = np.array(data.states)
    position = axis.position
    if axis.levels:
        spread = 0.5 / (1 + len(axis.levels))
        position = position + np.random.default_rng(0).uniform(-spread, spread, len(position))
    for state in [s for s in reversed(STATE_COLOURS) if s in states]:
        at = (states == state) & ~np.isnan(position)
        axes.scatter(
            position[at], data.value[at], c=STATE_COLOURS[state], marker=STATE_MARKERS[state],
            lw=0, **dots(len(states)),
        )  # fmt: skip
    if axis.levels:
        levels = [short(level, 16) for level in axis.levels]
        crowded = sum(len(level) + 2 for level in levels) > 30
        axes.set_xlim(-0.6, len(levels) - 0.4)
        axes.set_xticks(
            range(len(levels)), levels, rotation=35 if crowded else 0,
            ha="right" if crowded else "center", rotation_mode="anchor" if crowded else "default",
            fontsize=8 if len(levels) <= _MAX_LEVELS else 6,
        )  # fmt: skip
    elif axis.log:
        log_axis(axes)
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number_text(round(value, 9))))
    unused = int(np.isnan(axis.position).sum())
    axes.set_xlabel(short(axis.name, 30) + (f" (not used in {unused})" if unused else ""))
