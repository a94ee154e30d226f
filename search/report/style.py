"""The one look of every plot: colours, sizes, axes, and how a figure becomes a PNG file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from search.report.format import axis_title, is_share, number_text

# Okabe & Ito's palette, told apart by colour-blind readers (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILION, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#1f2933", "#7b8794", "#e4e7eb"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)

STATE_COLOURS = {"complete": BLUE, "pruned": ORANGE, "failed": VERMILION, "interrupted": PURPLE,
                 "running": SKY, "infeasible": GREY}  # fmt: skip
STATE_MARKERS = {"complete": "o", "pruned": "v", "failed": "X", "interrupted": "s", "running": "D",
                 "infeasible": "P"}  # fmt: skip
SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}

WIDTH = 9.0  # inches: 900 CSS pixels on the page, twice that in the file
_DPI = 200
_MAX_PX = 4000

# Fonts that draw what DejaVu Sans lacks (Chinese, Japanese, Korean, Indic, Arabic class names).
_MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic",
    "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Thai",
)  # fmt: skip


@cache
def _fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _MORE_FONTS if name in there))


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the look; a class called `$x_1$` stays text, as mathematics is off."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": list(_fonts()), "font.size": 10, "text.parse_math": False,
                "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY,
                "xtick.color": INK, "ytick.color": INK, "axes.unicode_minus": True,
                "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
                "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
                "axes.grid": True, "grid.color": PALE, "grid.linewidth": 0.8,
                "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9,
                "legend.frameon": False, "figure.facecolor": "white", "savefig.facecolor": "white",
                "axes.prop_cycle": cycler(color=CYCLE), "figure.titlesize": 11,
                "figure.titleweight": "bold", "path.simplify_threshold": 0.5,
            }
        )  # fmt: skip
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, sizes in inches. It belongs to no window and needs no closing."""
    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def save_figure(figure: Figure, path: Path, *, photos: bool = False) -> None:
    """Write a PNG at twice the page's resolution, beside and renamed.

    Line art is cut to 256 colours, a quarter of the bytes; `photos` keeps them all.
    """
    inches = max(*figure.get_size_inches())
    figure.set_dpi(min(_DPI, _MAX_PX / inches))
    canvas: Any = FigureCanvasAgg(figure)  # parts of matplotlib have no types
    canvas.draw()  # savefig would lay out and draw twice, and write a PNG to be read again
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    if not photos:
        # Maximum coverage keeps the colour of a single dot; median cut would merge it away.
        method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        image = image.quantize(256, method=method, dither=dither)
    buffer = io.BytesIO()
    image.save(buffer, format="png", compress_level=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_bytes(buffer.getvalue())
    beside.replace(path)


def metric_axis(axes: Axes, metric: str, which: str = "y") -> None:
    """Label an axis with a metric; shares are drawn in percent."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_label_text(axis_title(metric))
    if is_share(metric):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def whole_numbers(axes: Axes, which: str = "x") -> None:
    """Put ticks on whole numbers only."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    bins = 10 if which == "x" else 4
    axis.set_major_locator(MaxNLocator(bins, integer=True, min_n_ticks=1))


def log_axis(axes: Axes, which: str = "x") -> None:
    """Make an axis logarithmic, ticks written 0.001 or 1e-5."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ratio = high / low if low > 0 else float("inf")
    subs = (1.0, 2.0, 3.0, 5.0, 7.0) if ratio < 10 else (1.0, 2.0, 5.0) if ratio < 100 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    axis.set_minor_formatter(NullFormatter())


def dots(count: int, size: float = 22.0) -> dict[str, Any]:
    """Return size and opacity of so many dots of one plot, smaller and paler where they crowd."""
    crowd = max(1.0, count / 150)
    return {"s": max(5.0, size / crowd**0.5), "alpha": max(0.25, 0.85 / crowd**0.25)}


def state_handles(states: Sequence[str]) -> list[Line2D]:
    """Return legend entries of the trial states that occur, with their counts."""
    return [
        Line2D(
            [], [], ls="", marker=STATE_MARKERS[state], color=colour,
            label=f"{state} ({list(states).count(state)})",
        )
        for state, colour in STATE_COLOURS.items()
        if state in states
    ]  # fmt: skip


def legend_below(figure: Figure, handles: list[Any]) -> None:
    """Put a one-row legend under the whole figure, where it covers no data."""
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 6),
        handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip
