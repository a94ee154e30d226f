"""Trials in groups: by a parameter's value, by learning rate and batch size, by rung."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from search.report.format import interval_text, number_text
from search.report.load import NothingToShowError, StudyFiles, numbers, section
from search.report.study_plots import rungs
from search.report.table import Table
from search.statistics import median_interval


def categorical(files: StudyFiles) -> tuple[str, ...]:
    """Varied parameters whose values are names, or numbers listed as choices."""
    space = section(files.space, "space")

    def is_choice(name: str) -> bool:
        told = space.get(name)
        listed = isinstance(told, dict) and "choice" in told
        return listed or numbers(files.trials[f"params.{name}"]) is None

    return tuple(name for name in files.varied() if is_choice(name))


def by_parameter(files: StudyFiles, name: str) -> Table:
    """Trials grouped by one parameter's value: how many, how good, how long."""
    column = f"params.{name}"
    used = files.trials[files.trials[column] != ""]
    return _grouped(files, f"by_{name}", f"By {name}", used, [(name, used[column])])


def by_lr_and_batch_size(files: StudyFiles) -> Table:
    """Trials grouped by learning rate, in halves of a decade, and by batch size."""
    lr, size = (
        numbers(files.trials[f"params.{name}"]) if name in files.varied() else None
        for name in ("lr", "batch_size")
    )
    if lr is None or size is None:
        raise NothingToShowError("Learning rate and batch size were not both varied.")
    used = lr.notna() & size.notna() & (lr > 0)
    band = lr[used].map(lambda value: _band(float(value)))
    size = size[used].map("{:g}".format)
    columns = [("lr", band), ("batch_size", size)]
    title = "By learning rate and batch size"
    return _grouped(files, "by_lr_and_batch_size", title, files.trials[used], columns)


def _band(value: float) -> str:
    """Name the half of a decade that a learning rate lies in."""
    power = math.floor(math.log10(value))
    low, high = (1, 3) if value < 3 * 10.0**power else (3, 10)
    return f"{number_text(low * 10.0**power)} to {number_text(high * 10.0**power)}"


def _grouped(
    files: StudyFiles, name: str, title: str, trials: pd.DataFrame,
    columns: list[tuple[str, pd.Series[str]]],
) -> Table:  # fmt: skip
    """Compare groups of trials: how many, the best, the median with its interval, how long."""
    rows = []
    for levels, group in trials.groupby([values for _, values in columns], sort=False):
        values = group["best_value"].dropna()
        low, high = median_interval(values.to_numpy(dtype=float))
        rows.append(
            {
                **dict(zip((column for column, _ in columns), levels, strict=True)),
                "num_trials": len(group),
                "num_complete": int((group["state"] == "complete").sum()),
                "best": (values.max() if files.maximize else values.min()) if len(values) else None,
                "median": values.median() if len(values) else None,
                "median_low": low,
                "median_high": high,
                "mean_seconds": group["seconds"].mean(),
            }
        )
    if len(rows) < 2:
        text = "No trial used them." if not rows else "Trials that used it had the same value."
        raise NothingToShowError(text)
    frame = pd.DataFrame(rows).sort_values("best", ascending=not files.maximize)
    ends = ("median_low", "median_high")
    found = frame[["median", *ends]].set_axis(["value", "low", "high"], axis="columns")
    shown = [interval_text(files.metric, row) for row in found.to_dict("records")]
    frame.insert(list(frame.columns).index("median_low"), "median_interval", shown)
    kinds = dict.fromkeys(("best", "median", *ends), files.metric) | {"mean_seconds": "seconds"}
    kinds |= {column: "text" for column, _ in columns} | {"median_interval": "text"}
    titles = {"median_interval": "median, 95 % interval"}
    return Table(name, title, frame, kinds, ("median", *ends), titles)


def rung_table(files: StudyFiles) -> Table:
    """How many trials reached each rung and how many stopped there."""
    if files.trials.empty:
        raise NothingToShowError("No trial was recorded.")
    ladder = [*rungs(files), files.max_epochs]
    if len(ladder) < 2:
        raise NothingToShowError("The search had no rungs to compare trials at.")
    run, pruned = files.trials["epochs_run"].fillna(0), files.trials["state"] == "pruned"
    best, median = _rung_values(files, ladder)
    rows = []
    for rung, following in zip(ladder, [*ladder[1:], np.inf], strict=True):
        reached = int((run >= rung).sum())
        stopped = int((pruned & (run >= rung) & (run < following)).sum())
        row = {"epoch": rung, "reached": reached, "stopped_here": stopped}
        share = stopped / reached if reached else None
        rows.append(row | {"share_stopped": share, "best": best[rung], "median": median[rung]})
    kinds = {"best": files.metric, "median": files.metric, "share_stopped": "recall"}
    return Table("rungs", "Rungs: where trials were compared", pd.DataFrame(rows), kinds)


def _rung_values(
    files: StudyFiles, ladder: list[int]
) -> tuple[dict[int, float | None], dict[int, float | None]]:
    """Return the best and the median value of the trials at each rung, None where none told."""
    known = files.epochs.reindex(columns=["epoch", files.metric]).dropna().astype(float)
    at = {rung: known.loc[known["epoch"] == rung, files.metric] for rung in ladder}
    best = {r: (v.max() if files.maximize else v.min()) if len(v) else None for r, v in at.items()}
    return best, {r: v.median() if len(v) else None for r, v in at.items()}
