"""What heat maps say of the model as a whole: where each class looks, and whether it is true."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.report.format import is_number, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import GREY, new_figure
from search.report.table import Table

_NO_MAPS = "No predictions were explained: test/cam is empty."
_COLUMNS = 8


@dataclass(frozen=True)
class ClassHeat:
    """The average heat of the images that the model says are of a class.

    Attributes:
        grid: (n, n), the largest 1.
        rim_share: Part of the heat in the outer eighths of the picture; None where not told.
    """

    name: str
    num_images: int
    grid: NDArray[np.float64]
    rim_share: float | None


def attention_data(files: StudyFiles) -> list[ClassHeat]:
    """List the classes whose average is there, by name."""
    found = []
    for row in files.attention:
        try:
            grid = np.array(row.get("grid") or [[]], dtype=np.float64)
        except (TypeError, ValueError):  # of a damaged file: the others are still worth a look
            continue
        if grid.ndim == 2 and grid.size and np.isfinite(grid).all():
            rim = row.get("rim_share")
            rim = float(rim) if is_number(rim) else None
            found.append(
                ClassHeat(str(row.get("class", "")), int(row.get("num_images") or 0), grid, rim)
            )
    if not found:
        raise NothingToShowError("The maps were not averaged by class." if files.cam else _NO_MAPS)
    return sorted(found, key=lambda one: one.name)


def draw_attention(classes: list[ClassHeat]) -> Figure:
    columns = min(_COLUMNS, max(4, len(classes)))
    rows = math.ceil(len(classes) / columns)
    figure = new_figure(0.6 + rows * (0.28 + 9.0 / columns))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, one in zip(grid.flat, classes, strict=False):
        axes.imshow(one.grid, cmap="inferno", vmin=0, vmax=1, interpolation="bilinear")
        rim = "" if one.rim_share is None else f", rim {100 * one.rim_share:.0f} %"
        axes.set_title(
            f"{short(one.name, 15)}\nn = {one.num_images}{rim}",
            fontsize=7.5,
            fontweight="normal",
            color=GREY,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    for axes in grid.flat[len(classes) :]:
        axes.remove()
    figure.suptitle("Where the model looks when it says a class, on average over test images")
    return figure


def faithfulness(files: StudyFiles) -> Table:
    """How far each kind of map can be believed."""
    rows = []
    for row in files.faithfulness:
        if not all(is_number(row.get(key)) for key in ("score", "low", "high", "share_above_zero")):
            continue
        score, low, high = (100 * float(row[key]) for key in ("score", "low", "high"))
        rows.append(
            {
                "map": str(row.get("map")),
                "images": row.get("num_images"),
                "points": f"{score:+.1f}",
                "interval": f"{low:+.1f} to {high:+.1f}",
                "right_way": f"{100 * float(row['share_above_zero']):.0f} %",
                "verdict": _verdict(low, high, row),
                **{key: row[key] for key in ("score", "low", "high", "share_above_zero")},
            }
        )
    if not rows:
        raise NothingToShowError("The maps were not put to the test." if files.cam else _NO_MAPS)
    return Table(
        "faithfulness",
        "How far the heat maps can be believed",
        pd.DataFrame(rows),
        {"map": "text"},
        ("score", "low", "high", "share_above_zero"),
        {"points": "confidence lost, points", "right_way": "images where it held"},
    )


def _verdict(low: float, high: float, row: Mapping[str, Any]) -> str:
    if low <= 0:
        return "misleading" if high < 0 else "no more than chance"
    beyond_low, beyond_high = row.get("beyond_low"), row.get("beyond_high")
    if not is_number(beyond_low) or not is_number(beyond_high):
        return "holds"
    if beyond_low > 0:
        return "holds, and tells more than the middle of the image"
    if beyond_high < 0:
        return "holds, but the middle of the image tells more"
    return "holds, but no more than the middle of the image"
