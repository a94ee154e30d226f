"""Plots made of pictures: what the model looked at, and what it got right and wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from search.report.format import is_number, short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import BLUE, GREY, VERMILION, new_figure

GROUPS = {"right": "right", "wrong": "wrong", "confident_wrong": "wrong and sure of it",
          "confused_pair": "wrong, of a confused pair"}  # fmt: skip
_MAPS = ("heat", "contrast")
_MAX_PER_GROUP = 8
_SIDE_PX = 256  # a cell is about 2 inches wide: more pixels would only make the page heavier


@dataclass(frozen=True)
class Explained:
    """One test image with its explanation."""

    image: Path
    heat: Path | None
    contrast: Path | None
    group: str
    label: str
    predicted: str
    confidence: float | None
    under: str
    rather_than: str
    mixed_up: str = ""


def explained_data(files: StudyFiles, *groups: str) -> list[Explained]:
    """List the explained images of some groups whose files are there, a few of each."""
    folder = files.folder.test / "cam"
    if not files.cam:
        raise NothingToShowError("No predictions were explained: test/cam is empty.")
    found = [_explained(folder, row) for row in files.cam if row.get("group") in groups]
    there = [item for item in found if item.image.is_file()]
    kept = [item for g in groups for item in [i for i in there if i.group == g][:_MAX_PER_GROUP]]
    if not kept:
        names = " or ".join(GROUPS[group] for group in groups)
        raise NothingToShowError(f"No picture of a prediction that was {names}.")
    return kept


def _explained(folder: Path, row: dict[str, Any]) -> Explained:
    heat, contrast = (folder / str(row[key]) if row.get(key) else None for key in _MAPS)
    confidence = row.get("confidence")
    return Explained(
        image=folder / str(row.get("image", "")),
        heat=heat if heat and heat.is_file() else None,
        contrast=contrast if contrast and contrast.is_file() else None,
        group=str(row.get("group")),
        label=str(row.get("label", "")),
        predicted=str(row.get("predicted", "")),
        confidence=float(confidence) if is_number(confidence) else None,
        under=_under(row),
        rather_than=str(row.get("rather_than", "")),
        mixed_up=_mixed_up(row),
    )


def _mixed_up(row: dict[str, Any]) -> str:
    """Say of an image of a confused pair how many mistakes are like it, and how many opposite."""
    counts = row.get("mixed_up")
    if row.get("group") != "confused_pair" or not isinstance(counts, list) or len(counts) != 2:
        return ""
    return f"{counts[0]} like it, {counts[1]} the other way\n"


def _under(row: dict[str, Any]) -> str:
    """Say how a heat map was made and, where the object's place is known, how much of it hit."""
    method = str(row.get("method") or "heat map")
    if method == "none":
        method = "no map"
    share, area = row.get("region_share"), row.get("region_area")
    if not is_number(share) or not is_number(area):
        return method
    return f"{method}, {100 * share:.0f} % on the\nobject ({100 * area:.0f} % of the area)"


def caption(item: Explained, room: int = 32) -> str:
    """Write what was said of an image, on two lines; for a confused pair, how often, above.

    Args:
        room: Characters that a line has.
    """
    sure = f" ({100 * item.confidence:.0f} %)" if item.confidence is not None else ""
    if item.label == item.predicted:
        return f"{short(item.label, room)}\nright{sure}"
    label, said = short(item.label, room - 6), short(item.predicted, room - 6 - len(sure))
    return f"{item.mixed_up}true: {label}\nsaid: {said}{sure}"


def draw_explained(items: list[Explained]) -> Figure:
    """Draw image, heat map and contrast beside each other, two images a row."""
    places = _in_rows(items)
    rows = math.ceil(len(places) / 2)
    figure = new_figure(0.5 + 1.75 * rows)
    cells = figure.subplots(rows, 6, squeeze=False).reshape(-1, 3)
    for (left, middle, right), item in zip(cells, places, strict=False):
        if item is None:
            for axes in (left, middle, right):
                axes.remove()
            continue
        _show(left, item.image)
        _caption(left, caption(item, 23), item, 7)
        _show_map(middle, item.heat, item.under)
        than = f"rather than\n{short(item.rather_than, 22)}"
        _show_map(right, item.contrast, than if item.contrast else "")
    for axes in cells[len(places) :].flat:
        axes.remove()
    kind = " and ".join(dict.fromkeys(GROUPS.get(item.group, item.group) for item in items))
    figure.suptitle(f"Predictions that were {kind}: the test image, and where the evidence lay")
    return figure


def _in_rows(items: list[Explained]) -> list[Explained | None]:
    """Let each confused pair begin a row of two, leaving a place free where it has one image."""
    placed: list[Explained | None] = []
    for item, before in zip(items, [None, *items], strict=False):
        is_pair = before and {before.label, before.predicted} == {item.label, item.predicted}
        if item.mixed_up and len(placed) % 2 and not is_pair:
            placed.append(None)
        placed.append(item)
    return placed


def _show_map(axes: Axes, path: Path | None, under: str) -> None:
    if path:
        _show(axes, path)
    else:
        axes.set_axis_off()
    title = under if "\n" in under else f"{under}\n "
    axes.set_title(title, fontsize=7, fontweight="normal", color=GREY)


def draw_gallery(items: list[Explained]) -> Figure:
    """Draw images with their captions, four a row."""
    columns = 4
    rows = math.ceil(len(items) / columns)
    figure = new_figure(0.5 + 2.45 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, item in zip(grid.flat, items, strict=False):
        _show(axes, item.image)
        _caption(axes, caption(item), item, 8)
    for axes in grid.flat[len(items) :]:
        axes.remove()
    kind = "right" if items[0].label == items[0].predicted else "wrong"
    figure.suptitle(f"Test images whose prediction was {kind} (confidence in brackets)")
    return figure


def _caption(axes: Axes, text: str, item: Explained, size: float) -> None:
    colour = BLUE if item.label == item.predicted else VERMILION
    axes.set_title(text, fontsize=size, fontweight="normal", color=colour)


def _show(axes: Axes, path: Path) -> None:
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((_SIDE_PX, _SIDE_PX))
    axes.imshow(np.asarray(small))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
