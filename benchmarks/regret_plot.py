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

MAX_LINES = 6
NUM_POINTS = 200


def anytime_data(replays: Sequence[Replay], best: float, times: Floats) -> Floats:
    """Return (3, T) quartiles over the seeds of the regret at each time."""
    regrets = [[best - replay.at(time).value for time in times] for replay in replays]
    return np.asarray(np.quantile(regrets, (0.25, 0.5, 0.75), axis=0))


def draw_anytime(
    tables: Sequence[CurveTable], replays: Mapping[str, Mapping[str, Sequence[Replay]]], path: Path
) -> None:
    """Draw the first methods on every table."""
    with plot_style():
        figure = new_figure(4.2)
        panels = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, table in zip(panels, tables, strict=True):
            _panel(axes, table, replays[table.name])
        panels[0].set_ylabel("accuracy below the best there is (points)")
        legend_below(figure, panels[0].get_lines()[: len(panels[0].get_lines())])
        save_figure(figure, path)


def _panel(axes: Axes, table: CurveTable, replays: Mapping[str, Sequence[Replay]]) -> None:
    shown = dict(list(replays.items())[:MAX_LINES])
    begin = min(replay.found[0].seconds for found in shown.values() for replay in found)
    end = max(float(np.median([r.seconds for r in found])) for found in shown.values())
    times = np.geomspace(begin, end, NUM_POINTS)
    for (name, found), colour in zip(shown.items(), CYCLE, strict=False):
        low, middle, high = 100 * anytime_data(found, best_of(table), times)
        axes.plot(times, middle, color=colour, label=name)
        axes.fill_between(times, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_title(table.name.replace("_", " "))
    axes.set_xlabel("simulated seconds of training, two at a time")
    axes.set_ylim(bottom=0)
    log_axis(axes)
