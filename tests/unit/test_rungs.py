"""The ladder of rungs, and how a trial's end is named."""

from __future__ import annotations

import pytest

from search.records import TrialState
from search.rungs import decide_state, rung_epochs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 12, 3), (1, 3, 9)),
        ((1, 9, 3), (1, 3)),
        ((1, 243, 3), (1, 3, 9, 27, 81)),  # through logarithms the last one is lost
        ((2, 16, 2, 1), (4, 8)),
        ((5, 5, 3), ()),
    ],
)
def test_rungs_are_whole_epochs_below_the_top(
    arguments: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert rung_epochs(*arguments) == expected


@pytest.mark.parametrize(
    ("epochs_run", "pruned", "error", "expected"),
    [
        (9, False, "", TrialState.COMPLETE),
        (9, True, "", TrialState.COMPLETE),  # at the top rung there is nothing left to stop
        (3, True, "", TrialState.PRUNED),
        (3, False, "", TrialState.INTERRUPTED),
        (0, False, "", TrialState.INTERRUPTED),
        (9, False, "loss is nan", TrialState.FAILED),
    ],
)
def test_state(epochs_run: int, pruned: bool, error: str, expected: TrialState) -> None:
    state = decide_state(epochs_run=epochs_run, max_epochs=9, pruned=pruned, error=error)
    assert state is expected
