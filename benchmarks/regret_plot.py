"""What a study would hand over, against simulated time: one panel a table, one line a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from benchmarks.curves import CurveTable
from benchmarks.regret import Floats, best_of
from benchmarks.replay import Replay
from search.report.style import (
    CYCLE,
    legend_below,
    log_axis,
    new_figure,
    plot_style,
    save_figure,
)

MAX_LINES = 4  # more bands than that are mud
NUM_POINTS = 300
LEAST = 0.2  # points: less than one image of val


def anytime_data(replays: Sequence[Replay], best: float, times: Floats) -> Floats:
    """Return (3, T) quartiles over the seeds of the regret at each time."""
    regrets = [[best - replay.at(time).value for time in times] for replay in replays]
    return np.asarray(np.quantile(regrets, (0.25, 0.5, 0.75), axis=0))


def draw_anytime(
    tables: Sequence[CurveTable], replays: Mapping[str, Mapping[str, Sequence[Replay]]], path: Path
) -> None:
    """Draw the first methods on every table, until the very first is through with its trials.

    Lines are medians over the seeds, bands the middle half of them.
    """
    with plot_style():
        figure = new_figure(4.6)
        panels = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, table in zip(panels, tables, strict=True):
            _panel(axes, table, replays[table.name])
        panels[0].set_ylabel("points of accuracy below the best")
        legend_below(figure, panels[0].get_lines())
        save_figure(figure, path)


def _panel(axes: Axes, table: CurveTable, replays: Mapping[str, Sequence[Replay]]) -> None:
    shown = dict(list(replays.items())[:MAX_LINES])
    every = [replay for found in shown.values() for replay in found]
    begin = max(replay.found[0].seconds for replay in every)  # all have a complete trial
    default = next(iter(shown.values()))
    end = float(np.median([replay.seconds for replay in default]))
    times = np.geomspace(begin, end, NUM_POINTS)
    for (name, found), colour in zip(shown.items(), CYCLE, strict=False):
        quartiles = 100 * anytime_data(found, best_of(table), times)
        low, middle, high = np.maximum(quartiles, LEAST)
        axes.plot(times, middle, color=colour, label=name, drawstyle="steps-post")
        axes.fill_between(times, low, high, color=colour, alpha=0.1, linewidth=0, step="post")
    axes.set_title(table.name.replace("_", " "))
    axes.set_xlabel("simulated seconds of training, two at a time")
    axes.set_xlim(begin, end)
    log_axis(axes)
    log_axis(axes, "y")
