"""What the page's scripts draw from: every trial's parameters and learning curve, compactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.report.format import is_share, metric_title
from search.report.load import StudyFiles, numbers, section
from search.report.study_plots import rungs

MAX_NUMBERS = 200_000
"""Of all curves together, at most: about 1.3 MB. Those of the best trials come first."""
MAX_POINTS = 80
"""Of one curve, beside its rungs and its best epoch."""
_MAX_AXES = 6  # as on the plot that is printed
_MAX_REASON = 500  # characters


def trial_data(files: StudyFiles) -> dict[str, Any]:
    """Collect the trials, best first as in the table of all trials; every list is in that order.

    Returns:
        Plain values for JSON, {} without trials. `params` hold numbers, or indices into `levels`,
        null where a parameter was not in use; `curves` holds, by place in the ranking, lists of
        epochs, the metric, train losses and val losses.
    """
    if files.trials.empty:
        return {}
    ranked = files.ranked()
    curves = _curves(files, ranked)
    num_curves = files.epochs["trial_number"].nunique() if len(files.epochs) else 0
    names = [*files.important(), *files.params]
    varied = set(files.varied())
    axes = [name for name in dict.fromkeys(names) if name in varied][:_MAX_AXES]
    return {
        "metric": _metric(files.metric) | {"maximize": files.maximize},
        "curve": _metric(_curve_metric(files)),
        "rungs": list(rungs(files)),
        "max_epochs": files.max_epochs,
        "number": _plain(ranked["number"]),
        "state": ranked["state"].tolist(),
        "value": _plain(ranked["best_value"]),
        "best_epoch": _plain(ranked["best_epoch"]),
        "epochs_run": _plain(ranked["epochs_run"]),
        "worker": [f"{worker} on {node}" if node else worker
                   for worker, node in zip(ranked["worker"], ranked["node"], strict=True)],
        "reasons": {
            k: text[:_MAX_REASON] for k, text in enumerate(ranked["error"].tolist()) if text
        },
        "params": [
            _values(name, ranked[f"params.{name}"]) | {"log": files.is_log(name)}
            for name in dict.fromkeys(names)
        ],
        "axes": axes if ranked["best_value"].notna().sum() > 1 else [],
        "start": _start_names(files),
        "curves": curves,
        "left_out": num_curves - len(curves),
    }  # fmt: skip


def _metric(name: str) -> dict[str, Any]:
    return {"title": metric_title(name), "share": is_share(name)}


def _curve_metric(files: StudyFiles) -> str:
    """Name what a curve shows: the objective, or the accuracy where epochs do not have it."""
    return files.metric if files.metric in files.epochs.columns else "val_accuracy"


def _start_names(files: StudyFiles) -> list[str]:
    """Name the parameters that a line of `start_with` may give; all where the space is unknown."""
    space = section(files.space, "space")
    several = isinstance(files.study.get("trainable"), list)
    return [p for p in files.params if not space or p in space or (several and p == "trainable")]


def _values(name: str, cells: pd.Series[str]) -> dict[str, Any]:
    """Write one parameter as numbers, or as its levels and which of them each trial had."""
    real = numbers(cells)
    if real is not None:
        return {"name": name, "values": _plain(real)}
    levels = sorted(set(cells) - {""})
    place: dict[str, int | None] = {level: k for k, level in enumerate(levels)}
    return {"name": name, "levels": levels, "values": [place.get(cell) for cell in cells]}


def _plain(column: pd.Series[Any]) -> list[float | int | None]:
    """Return numbers for JSON: whole ones as int, null where there is none."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return [
        None if not np.isfinite(value) else int(value) if value == int(value) else float(value)
        for value in values
    ]


def _curves(files: StudyFiles, ranked: pd.DataFrame) -> dict[int, list[list[float | int | None]]]:
    """Return the curves of the best trials, as many as the page may hold."""
    wanted = ["epoch", _curve_metric(files), "train_loss", "val_loss"]
    rows = files.epochs.dropna(subset=["trial_number", "epoch"])
    rows = rows.drop_duplicates(["trial_number", "epoch"], keep="last").sort_values("epoch")
    table = rows.reindex(columns=wanted).to_numpy(dtype=float, na_value=np.nan)
    places = rows.groupby("trial_number").indices
    curves: dict[int, list[list[float | int | None]]] = {}
    room, ladder = MAX_NUMBERS, [*rungs(files), files.max_epochs]
    for k, (number, best) in enumerate(zip(ranked["number"], ranked["best_epoch"], strict=True)):
        if number is pd.NA or number not in places:
            continue
        curve = _thinned(table[places[number]], [*ladder, -1 if best is pd.NA else best])
        room -= curve.size
        if room < 0:
            break
        curves[k] = [[_rounded(value) for value in column] for column in curve.T]
    return curves


def _thinned(curve: NDArray[np.float64], kept: list[int]) -> NDArray[np.float64]:
    """Leave out epochs evenly where there are more than can be told apart."""
    if len(curve) <= MAX_POINTS:
        return curve
    keep = np.isin(curve[:, 0], kept)
    keep[np.linspace(0, len(curve) - 1, MAX_POINTS).round().astype(int)] = True
    return curve[keep]


def _rounded(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.4g}")
