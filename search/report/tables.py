"""The report's tables, as pure functions of the files read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from search.goals import FOOTPRINT_METRICS
from search.records import TrialState
from search.report.compare_plots import NO_IMPORTANCES
from search.report.format import number_text
from search.report.group_tables import by_lr_and_batch_size, rung_table
from search.report.heat import faithfulness
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.mistakes import top_losses
from search.report.pareto import pareto
from search.report.table import Table
from search.report.test_tables import (
    calibration,
    comparisons,
    confusions,
    per_class,
    test_metrics,
)
from search.report.time_plots import cost, time_table
from trainables.parameters import TRAINABLES, AnyBut, Parameter, default_params

_LEADERS = 20
_MAX_LISTED = 20
_NO_TRIALS = "No trial was recorded."


def leaderboard(files: StudyFiles) -> Table:
    """The 20 best trials, complete ones first, with what tells them apart."""
    _some(files.trials, _NO_TRIALS)
    ranked = files.ranked()
    allowed = ranked["best_value"].notna() & (ranked["state"] != TrialState.INFEASIBLE.value)
    ranked = ranked[allowed].head(_LEADERS)
    if ranked.empty:
        raise NothingToShowError("No trial finished an epoch, so there is no leaderboard.")
    columns = ["number", "state", "best_value", "best_epoch", "epochs_run", "seconds"]
    columns += [name for name in FOOTPRINT_METRICS if ranked[name].notna().any()]
    frame = ranked[[*columns, *(f"params.{name}" for name in files.varied())]]
    frame.insert(0, "rank", range(1, len(frame) + 1))
    alike = [name for name in FOOTPRINT_METRICS if name in frame and frame[name].nunique() == 1]
    hidden = tuple(alike) if len(frame) > 1 else ()
    return Table("leaderboard", "Leaderboard", frame, _trial_kinds(files), hidden)


def trials(files: StudyFiles) -> Table:
    """Every trial, best first, with every parameter that was varied."""
    _some(files.trials, _NO_TRIALS)
    fixed = tuple(f"params.{name}" for name in files.params if name not in files.varied())
    hidden = ("last_value", "started_s", "seed", "node", "worker", *fixed)
    kinds = _trial_kinds(files)
    if not (files.trials["error"] != "").any():
        hidden = (*hidden, "error")
    return Table("trials", "All trials", files.ranked(), kinds, hidden)


def epochs(files: StudyFiles) -> Table:
    """Every epoch of every trial, with what was measured in it."""
    _some(files.epochs, "No epochs were recorded.")
    frame = files.epochs.sort_values(["trial_number", "epoch"])
    blank = [c for c in frame.columns if frame[c].isna().all() or (frame[c] == "").all()]
    kinds = {name: name for name in frame.columns if name.endswith(("_accuracy", "_f1"))}
    return Table("epochs", "All epochs", frame.drop(columns=blank), kinds)


def _trial_kinds(files: StudyFiles) -> dict[str, str]:
    return {"best_value": files.metric, "last_value": files.metric, "seconds": "seconds"}


def confirm(files: StudyFiles) -> Table:
    """Fresh-seed runs by candidate: mean, spread and range."""
    _some(files.confirm, "No candidate was confirmed with fresh seeds.")
    rows, reached = [], files.search_values()
    for candidate, group in files.confirm.groupby("candidate", sort=False):
        values = group["value"].dropna()
        rows.append(
            {
                "candidate": candidate,
                "num_seeds": len(values),
                "in_search": reached.get(group["trial_number"].iloc[0]),
                "mean": values.mean(),
                "std": values.std(ddof=1),
                "low": values.min(),
                "high": values.max(),
                "mean_seconds": group["seconds"].mean(),
                "num_failed": int((group["error"] != "").sum()),
            }
        )
    frame = pd.DataFrame(rows).sort_values("mean", ascending=not files.maximize)
    kinds = dict.fromkeys(("in_search", "mean", "std", "low", "high"), files.metric)
    return Table(
        "confirm", "Confirmed with fresh seeds", frame, kinds | {"mean_seconds": "seconds"}
    )


def best_params(files: StudyFiles) -> Table:
    """The winner's parameters that have an effect beside the default recipe's."""
    params = files.best_params or section(section(files.summary, "best"), "params")
    if not params:
        raise NothingToShowError("No winner was chosen yet.")
    given = files.study.get("trainable") or ""
    several = given if isinstance(given, list) else [given]
    trainable = str(params.get("trainable", several[0]))
    known = TRAINABLES.get(trainable, {})
    defaults = _default_recipe(files, several[0])
    params = {name: value for name, value in params.items() if _has_effect(name, params, known)}
    order = [name for name in files.important() if name in params]
    names = [*order, *(name for name in params if name not in order)]
    rows = [
        {"parameter": name, "value": params[name], "default": defaults.get(name, "")}
        for name in names
    ]
    rows.sort(key=lambda row: number_text(row["value"]) == number_text(row["default"]))
    title = "The winner's parameters, first those that differ from the default recipe's"
    frame = pd.DataFrame(rows, dtype=object)
    return Table("best_params", title, frame, titles={"default": "default recipe"})


def _default_recipe(files: StudyFiles, trainable: str) -> dict[str, Any]:
    """Return the parameters of trial 0: those searched as written, the others as they are set."""
    first = files.trials[files.trials["number"] == 0].head(1)
    cells = {name: first[f"params.{name}"].iloc[0] for name in files.params if len(first)}
    searched = {name: cell for name, cell in cells.items() if cell != ""}
    trainable = searched.get("trainable", trainable)
    known = TRAINABLES.get(trainable, {})
    fixed = default_params(trainable) if known else {}
    size = {k: v for k, v in section(files.summary, "dataset").items() if k == "size_px"}
    recipe = {"trainable": trainable} | fixed | size | searched
    return {name: value for name, value in recipe.items() if _has_effect(name, recipe, known)}


def _has_effect(name: str, params: dict[str, Any], known: Mapping[str, Parameter]) -> bool:
    """Tell whether a parameter does anything beside these others."""
    for other, needed in known[name].applies_when.items() if name in known else ():
        value = params.get(other)
        if isinstance(needed, AnyBut) == (
            value in (needed.values if isinstance(needed, AnyBut) else needed)
        ):
            return False
    return True


def importance(files: StudyFiles) -> Table:
    """Both evaluators' shares, side by side."""
    _some(files.importance, NO_IMPORTANCES)
    wide = files.importance.pivot_table(
        index="parameter", columns="evaluator", values="importance", aggfunc="first"
    )
    order = [c for c in ("fanova", "ped_anova") if c in wide.columns]
    frame = wide[order].sort_values(order, ascending=False).rename_axis(columns=None).reset_index()
    return Table("importance", "Importance", frame, dict.fromkeys(order, "recall"))


def failures(files: StudyFiles) -> Table:
    """Reasons why trials failed; messages that differ only in numbers are one reason."""
    return _reasons(files, "failed", "failures", "Why trials failed", "No trial failed.")


def infeasible(files: StudyFiles) -> Table:
    """Which constraints trials broke; messages that differ only in numbers are one reason."""
    limits = files.goals.constraints
    nothing = "No trial broke a constraint." if limits else "The study has no constraints."
    return _reasons(files, "infeasible", "infeasible", "Which constraints trials broke", nothing)


def _reasons(files: StudyFiles, state: str, name: str, title: str, nothing: str) -> Table:
    """Group the trials of a state by what is said of them."""
    failed = files.trials[files.trials["state"] == state]
    if failed.empty:
        raise NothingToShowError(nothing)
    reason = failed["error"].map(lambda text: re.sub(r"\d+(\.\d+)?", "#", text))
    rows = [
        {
            "reason": group["error"].iloc[0] or "no message was recorded",
            "num_trials": len(group),
            "trials": _listed(group["number"].tolist()),
        }
        for _, group in failed.groupby(reason, sort=False)
    ]
    frame = pd.DataFrame(rows).sort_values("num_trials", ascending=False, kind="stable")
    return Table(name, title, frame, titles={"num_trials": "how many"})


def _listed(trials: list[int]) -> str:
    more = len(trials) - _MAX_LISTED
    names = [str(number) for number in trials[: _MAX_LISTED if more > 1 else None]]
    return ", ".join(names) + (f" and {more} more" if more > 1 else "")


def _some(frame: pd.DataFrame, otherwise: str) -> None:
    if frame.empty:
        raise NothingToShowError(otherwise)


TABLES: dict[str, Callable[[StudyFiles], Table]] = {
    "leaderboard": leaderboard,
    "pareto": pareto,
    "trials": trials,
    "rungs": rung_table,
    "importance": importance,
    "by_lr_and_batch_size": by_lr_and_batch_size,
    "confirm": confirm,
    "best_params": best_params,
    "test_metrics": test_metrics,
    "comparisons": comparisons,
    "calibration": calibration,
    "per_class": per_class,
    "confusions": confusions,
    "top_losses": top_losses,
    "faithfulness": faithfulness,
    "infeasible": infeasible,
    "failures": failures,
    "time": time_table,
    "cost": cost,
    "epochs": epochs,
}
