"""Rungs of the early-stopping ladder, and the one place that names how a trial ended. Pure."""

from __future__ import annotations

from search.records import TrialState


def rung_epochs(
    min_epochs: int, max_epochs: int, reduction_factor: int, bracket: int = 0
) -> tuple[int, ...]:
    """Return the epochs at which trials are compared, ascending, all below `max_epochs`.

    Rung k of bracket s is at min_epochs · reduction_factor^(k+s) (Li et al. 2020, ASHA). Integers
    throughout: computed through logarithms, a ladder such as 1, 3, 9, 27, 81 < 243 loses a rung.
    """
    epoch = min_epochs * reduction_factor**bracket
    rungs = []
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= reduction_factor
    return tuple(rungs)


def decide_state(*, epochs_run: int, max_epochs: int, pruned: bool, error: str) -> TrialState:
    """Name how a trial ended.

    Args:
        epochs_run: Finished epochs.
        max_epochs: Epochs of a complete trial.
        pruned: The scheduler stopped it at a rung.
        error: Why it failed, "" if it did not.
    """
    if error:
        return TrialState.FAILED
    if epochs_run >= max_epochs:
        return TrialState.COMPLETE
    return TrialState.PRUNED if pruned else TrialState.INTERRUPTED
