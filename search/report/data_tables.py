"""The tables of a data set: images per class, and problems by kind."""

from __future__ import annotations

from collections.abc import Callable

from search.report.data_files import DataFiles
from search.report.data_plots import class_counts_data
from search.report.load import NothingToShowError
from search.report.table import Table


def class_counts(data: DataFiles) -> Table:
    """Count images per class and split, with each class's median size."""
    counts = class_counts_data(data)
    sizes = data.images[["width_px", "height_px"]].astype(float)
    median = sizes.groupby(data.images["label"]).median().reindex(counts.index)
    shown = [
        f"{width:.0f} × {height:.0f}" if width > 0 else ""
        for width, height in zip(median["width_px"], median["height_px"], strict=True)
    ]
    frame = counts.assign(all=counts.sum(axis=1)) if counts.shape[1] > 1 else counts
    frame = frame.assign(median_px=shown).reset_index()
    return Table("class_counts", "Images per class", frame)


def problems(data: DataFiles) -> Table:
    """Count problems by kind and by what was done."""
    if data.problems.empty:
        raise NothingToShowError("No problem was found in the images.")
    grouped = data.problems.groupby(["kind", "action"], sort=False)
    frame = grouped.agg(num_images=("path", "size"), example=("path", "first")).reset_index()
    frame = frame.sort_values("num_images", ascending=False, kind="stable")
    return Table("problems", "Problems found in the images", frame)


DATA_TABLES: dict[str, Callable[[DataFiles], Table]] = {
    "class_counts": class_counts,
    "problems": problems,
}
