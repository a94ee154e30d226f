"""The objective over two parameters at once: a smoothed map, with the trials it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from search.report.format import axis_title, count_text, metric_title, number_text, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.param_plots import ParamAxis, param_axis
from search.report.style import INK, dots, log_axis, metric_axis, new_figure

Floats = NDArray[np.float64]
_CELLS = 60  # of the map, along a number
_WIDTH = 0.07  # of the kernel, in lengths of an axis
_FEWEST = 8


@dataclass(frozen=True)
class Pair:
    """Trials with a value that used both parameters: `value` (n,), positions on either axis."""

    metric: str
    maximize: bool
    x: ParamAxis
    y: ParamAxis
    value: Floats

    @property
    def best(self) -> int:
        return int(np.argmax(self.value) if self.maximize else np.argmin(self.value))


def contour_data(files: StudyFiles) -> Pair:
    """Collect the trials over the two parameters that mattered most."""
    varied = set(files.varied())
    names = [name for name in files.important() if name in varied]
    if len(names) < 2:
        raise NothingToShowError("Fewer than two parameters were varied, so none can be paired.")
    return pair_data(files, *names[:2])


def pair_data(files: StudyFiles, one: str, other: str) -> Pair:
    """Collect the trials that have a value and both parameters, numbers along x if there are any.

    Raises:
        NothingToShowError: Either was not varied, or too few trials used both.
    """
    varied = files.varied()
    missing = [name for name in (one, other) if name not in varied]
    if missing:
        raise NothingToShowError(f"The parameter {missing[0]} was not varied.")
    value = files.trials["best_value"]
    cells = files.trials[[f"params.{one}", f"params.{other}"]]
    keep = (value.notna() & (cells != "").all(axis=1)).to_numpy()
    if keep.sum() < _FEWEST:
        raise NothingToShowError(
            f"Fewer than {_FEWEST} trials with a value used both {one} and {other}."
        )
    first, second = (param_axis(files, name, keep) for name in (one, other))
    x, y = (second, first) if first.levels and not second.levels else (first, second)
    values = value.to_numpy(dtype=float)[keep]
    return Pair(files.metric, files.maximize, x, y, values)


def scaled(axis: ParamAxis) -> tuple[Floats, Floats]:
    """Return the positions on 0..1 (levels: 0, 1, 2 …), and the middles of the map's cells."""
    if axis.levels:
        return axis.position, np.arange(float(len(axis.levels)))
    values = np.log10(axis.position) if axis.log else axis.position
    low, high = float(values.min()), float(values.max())
    unit = (values - low) / (high - low or 1.0)
    return unit, (np.arange(_CELLS) + 0.5) / _CELLS


def smooth(data: Pair) -> Floats:
    """Return the map (rows of y, columns of x): a weighted mean of the trials near each cell.

    NaN where there are too few of them to tell. Levels do not blend into each other.

    References:
        Nadaraya, On Estimating Regression, 1964; Watson, Smooth Regression Analysis, 1964.
    """
    (x, columns), (y, rows) = scaled(data.x), scaled(data.y)
    by_x, by_y = _kernel(columns, x, data.x), _kernel(rows, y, data.y)
    weight = by_y @ by_x.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (by_y * data.value) @ by_x.T / weight
    return np.where(weight > 0.3, mean, np.nan)


def _kernel(cells: Floats, at: Floats, axis: ParamAxis) -> Floats:
    """Return (cells, trials) weights along one axis."""
    away = cells[:, None] - at[None, :]
    if axis.levels:
        return (np.abs(away) < 0.5).astype(np.float64)
    width = max(_WIDTH, 0.5 / np.sqrt(len(at)))  # a few trials say something of a wider place
    kernel: Floats = np.exp(-0.5 * (away / width) ** 2)
    return kernel


def draw_pair(data: Pair) -> Figure:
    rows = len(data.y.levels)
    figure = new_figure(float(np.clip(1.7 + 0.42 * rows, 3.2, 9.0)) if rows else 5.0)
    axes = figure.subplots()
    found = smooth(data)
    known = found[np.isfinite(found)]
    low, high = np.quantile(known, [0.02, 1.0] if data.maximize else [0.0, 0.98])
    colours = "viridis_r" if data.maximize else "viridis"
    (x, columns), (y, lines) = (_drawn(axis) for axis in (data.x, data.y))
    high = high if high > low else low + 1e-9
    image = axes.pcolormesh(columns, lines, found, cmap=colours, vmin=low, vmax=high, alpha=0.9)
    if not data.x.levels and not data.y.levels and np.ptp(known) > 0:
        levels = np.linspace(low, high, 9)[1:-1]
        axes.contour(columns, lines, found, levels, colors="white", linewidths=0.8)
    style = dots(len(data.value), 16)
    rng = np.random.default_rng(0)
    px, py = (
        p + rng.uniform(-0.28, 0.28, len(p)) if axis.levels else p
        for p, axis in ((x, data.x), (y, data.y))
    )
    axes.scatter(px, py, c=INK, edgecolors="white", lw=0.3, **style)
    k = data.best
    axes.scatter(px[k], py[k], 190, "white", marker="*", edgecolors=INK, lw=1.2, zorder=4)
    _label(axes, data.x, "x")
    _label(axes, data.y, "y")
    axes.grid(visible=False)
    what = f"{metric_title(data.metric).capitalize()} over {data.x.name} and {data.y.name}"
    axes.set_title(f"{what}: {count_text(len(data.value), 'trial')}; the star is the best")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    metric_axis(bar.ax, data.metric)
    bar.set_label(f"smoothed {axis_title(data.metric)}")
    return figure


def _drawn(axis: ParamAxis) -> tuple[Floats, Floats]:
    """Return the trials' and the cells' places in the units of the axis."""
    unit, cells = scaled(axis)
    if axis.levels:
        return unit, cells
    values = np.log10(axis.position) if axis.log else axis.position
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    places = low + span * cells
    return axis.position, 10.0**places if axis.log else places


def _label(axes: Axes, axis: ParamAxis, which: str) -> None:
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(short(axis.name, 30))
    if axis.levels:
        names = [short(level, 22) for level in axis.levels]
        size = 9 if len(names) <= 14 else 7
        if which == "x":
            turned = sum(len(name) + 2 for name in names) > 80
            axes.set_xticks(
                range(len(names)), names, rotation=35 if turned else 0, fontsize=size,
                ha="right" if turned else "center",
            )  # fmt: skip
        else:
            axes.set_yticks(range(len(names)), names, fontsize=size)
    elif axis.log:
        log_axis(axes, which)
    else:
        shown = axes.xaxis if which == "x" else axes.yaxis
        shown.set_major_formatter(FuncFormatter(lambda value, _: number_text(round(value, 9))))
