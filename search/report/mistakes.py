"""What went wrong on the test images: the costliest of them, and the pairs of classes mixed up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.data.decode import Pixels
from search.report.data_files import data_of_study
from search.report.data_pictures import Shot, read_shots
from search.report.format import short
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import BLUE, ORANGE, VERMILION, legend_below, new_figure, whole_numbers
from search.report.table import Table
from search.report.test_plots import confusion_data

_NO_TEST = "The model was not tested yet, so there are no losses."
_MAX_ROWS, _MAX_SHOTS, _MAX_PAIRS = 50, 12, 15
_SIDE_PX = 160
_SMALLEST = 1e-12


def losses(files: StudyFiles) -> pd.DataFrame:
    """Return the test images with the largest loss: what they are, were called, and how surely.

    The loss is the negative logarithm of the probability that the true class got; images that
    were classified correctly are in it too where the model was unsure.
    """
    table = files.predictions
    names = [name for name in files.classes if f"p.{name}" in table.columns]
    if table.empty or not names:
        raise NothingToShowError(_NO_TEST)
    place = table["label"].map({name: k for k, name in enumerate(names)})
    known = table[place.notna()]
    chances = known[[f"p.{name}" for name in names]].to_numpy(dtype=float)
    own = chances[np.arange(len(known)), place[place.notna()].astype(int)]
    found = known[["path", "label", "predicted", "confidence"]].assign(
        chance_of_label=own, loss=-np.log(np.maximum(own, _SMALLEST))
    )
    if "id" in known.columns:
        found["id"] = pd.to_numeric(known["id"], errors="coerce")
    return found.dropna(subset="loss").sort_values("loss", ascending=False, kind="stable")


def top_losses(files: StudyFiles) -> Table:
    """The 50 test images that cost most, for a look at their labels."""
    frame = losses(files).head(_MAX_ROWS)
    kinds = {"confidence": "recall", "chance_of_label": "recall", "path": "text", "label": "text",
             "predicted": "text"}  # fmt: skip
    title = "The test images with the largest loss: a wrong label, or a hard one?"
    return Table("top_losses", title, frame, kinds, ("id",))


@dataclass(frozen=True)
class LossPicture:
    """One test image (S, S, 3) uint8, what it is and what it was called, how surely."""

    pixels: Pixels
    label: str
    predicted: str
    confidence: float


def loss_pictures(files: StudyFiles) -> list[LossPicture]:
    """Read the images of the largest losses from where they lay; those that are gone are absent."""
    frame = losses(files).head(_MAX_SHOTS)
    data = data_of_study(files)
    places = frame["id"] if "id" in frame else pd.Series(np.nan, frame.index)
    roots = data.images["root"].reindex(places.fillna(-1).astype(int)).fillna(0).astype(int)
    paths = [data.file(root, path) for root, path in zip(roots, frame["path"], strict=True)]
    shots = [Shot(file, file.name, "") for file in paths]
    pixels = read_shots(shots, _SIDE_PX, "pad")
    found = [
        LossPicture(pixels[file], row["label"], row["predicted"], row["confidence"])
        for file, row in zip(paths, frame.to_dict("records"), strict=True)
        if file in pixels
    ]
    if not found:
        raise NothingToShowError(
            "The test images are no longer where they were, so the costliest are only listed."
        )
    return found


def draw_losses(pictures: list[LossPicture]) -> Figure:
    columns = 6
    rows = -(-len(pictures) // columns)
    figure = new_figure(0.4 + 1.95 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, picture in zip(grid.flat, pictures, strict=False):
        axes.imshow(picture.pixels)
        is_right = picture.label == picture.predicted
        said = f"right, {100 * picture.confidence:.0f} % sure"
        if not is_right:
            said = f"said: {short(picture.predicted, 13)} ({100 * picture.confidence:.0f} %)"
        axes.set_title(
            f"true: {short(picture.label, 18)}\n{said}", fontsize=7, fontweight="normal",
            color=BLUE if is_right else VERMILION,
        )  # fmt: skip
    for axes in grid.flat:
        axes.set_axis_off()
    figure.suptitle("The test images that cost most, the worst first (confidence in brackets)")
    return figure


@dataclass(frozen=True)
class ConfusedPairs:
    """Pairs of classes, those mixed up most often first.

    `first[k]` images of pairs[k][0] were called pairs[k][1], `second[k]` the other way round.
    """

    pairs: list[tuple[str, str]]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    num_wrong: int
    num_pairs: int


def pairs_data(files: StudyFiles) -> ConfusedPairs:
    """Rank the pairs of classes by how often either was called the other."""
    data = confusion_data(files)
    both = np.triu(data.counts + data.counts.T, 1)
    i, j = np.nonzero(both)
    if not len(i):
        raise NothingToShowError("Every test image was classified correctly.")
    order = np.argsort(-both[i, j], kind="stable")[:_MAX_PAIRS]
    num_pairs, i, j = len(i), i[order], j[order]
    swap = data.counts[j, i] > data.counts[i, j]
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    return ConfusedPairs(
        [(data.classes[a], data.classes[b]) for a, b in zip(i, j, strict=True)],
        data.counts[i, j], data.counts[j, i], int(both.sum()), num_pairs,
    )  # fmt: skip


def draw_pairs(data: ConfusedPairs) -> Figure:
    count = len(data.pairs)
    figure = new_figure(1.4 + 0.32 * max(2, count))
    axes = figure.subplots()
    rows = np.arange(count)
    first = axes.barh(rows, data.first, 0.72, color=VERMILION, label="first called second")
    second = axes.barh(rows, data.second, 0.72, data.first, color=ORANGE, hatch="///", ec="white",
                       lw=0, label="second called first")  # fmt: skip
    for row, (a, b) in enumerate(zip(data.first, data.second, strict=True)):
        axes.text(a + b, row, f" {a} + {b}" if b else f" {a}", va="center", fontsize=8)
    names = [f"{short(a, 26)}  ↔  {short(b, 26)}" for a, b in data.pairs]
    axes.set_yticks(rows, names)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * float((data.first + data.second).max()))
    whole_numbers(axes)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test images")
    shown = int(data.first.sum() + data.second.sum())
    of = f"{shown} of {data.num_wrong} mistakes" if count < data.num_pairs else "all mistakes"
    figure.suptitle(f"Classes that are mixed up, most often first: {of}")
    legend_below(figure, [first, second])
    return figure
