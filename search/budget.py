"""When a search has had enough, time aside. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from search.records import TrialState


def trials_since_best(ended: Sequence[tuple[TrialState, float | None]], direction: str) -> int:
    """Return how many trials ended since the one that is the best so far.

    Only a COMPLETE trial can be the best. One that failed says nothing and does not count.

    Args:
        ended: State and best value of the trials that ended, in that order.
    """
    sign = 1 if direction == "maximize" else -1
    best, count = -float("inf"), 0
    for state, value in ended:
        if state is TrialState.COMPLETE and value is not None and sign * value > best:
            best, count = sign * value, 0
        elif best > -float("inf") and state in (TrialState.COMPLETE, TrialState.PRUNED):
            count += 1
    return count


def why_enough(
    ended: Sequence[tuple[TrialState, float | None]],
    num_epochs: int,
    *,
    direction: str,
    total_epochs: int | None,
    plateau_trials: int | None,
) -> str:
    """Say why no further trial starts, "" if one may.

    Trials that are running go on to their end. The answer follows from what was done, so a study
    that was interrupted decides as if it had not been.

    Args:
        ended: As in `trials_since_best`.
        num_epochs: Of all trials, running ones included.
        total_epochs, plateau_trials: As in the space file's budget.
    """
    if total_epochs is not None and num_epochs >= total_epochs:
        return f"epochs: {num_epochs} are trained, total_epochs is {total_epochs}"
    if plateau_trials is not None:
        count = trials_since_best(ended, direction)
        if count >= plateau_trials:
            return f"plateau: best unchanged for {count} trials"
    return ""
