"""How much the search flattered its best trials: the best of many noisy values is partly luck."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from search.records import Confirmation, TrialRecord
from search.select import rank_trials


def measure_optimism(
    trials: Sequence[TrialRecord], confirmation: Confirmation, direction: str
) -> dict[str, Any] | None:
    """Compare what the finalists reached in the search with what they reach with fresh seeds. Pure.

    The default recipe was not picked for its value, so it is no finalist here.

    Returns:
        `best_trial`, its `search_value` and `confirmed_mean`; by how much the search was too good
        (`best`, and `finalists` on average; positive is too good whatever the direction), how many
        finalists and trials there were, and a sentence as `text`. None without a confirmation.
    """
    values = {t.number: t.best_value for t in trials if t.best_value is not None}
    finalists = [number for number in confirmation.means if number and number in values]
    if not finalists:
        return None
    sign = 1 if direction == "maximize" else -1
    order = {trial.number: place for place, trial in enumerate(rank_trials(trials, direction))}
    best = min(finalists, key=lambda number: order[number])
    excess = {n: sign * (values[n] - confirmation.means[n]) for n in finalists}
    found = {
        "best_trial": best,
        "search_value": values[best],
        "confirmed_mean": confirmation.means[best],
        "best": excess[best],
        "finalists": fmean(excess.values()),
        "num_finalists": len(finalists),
        "num_trials": len(values),
    }
    return found | {"text": _text(found, confirmation.std or 0.0)}


def _text(found: dict[str, Any], spread: float) -> str:
    """Say it in one sentence; `spread` is the standard deviation between seeds."""
    many = f"the best of {found['num_trials']} trials"
    start = (
        f"{many} (trial {found['best_trial']}) reached {found['search_value']:.4f} in the search"
    )
    again = f"and {found['confirmed_mean']:.4f} on average with fresh seeds"
    if found["best"] <= 0:
        return f"{start} {again}: the search did not flatter it"
    if found["best"] <= spread:
        return f"{start} {again}: no more too good than seeds differ"
    mean = ""
    if found["num_finalists"] > 1:
        mean = f" (the {found['num_finalists']} finalists on average by {found['finalists']:+.4f})"
    return (
        f"{start} {again}: the search was too good by {found['best']:.4f}{mean}, since the best of "
        "many noisy values is partly luck"
    )
