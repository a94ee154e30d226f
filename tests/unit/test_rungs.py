"""The ladder of rungs, and how a trial's end is named."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from search.records import TrialState
from search.rungs import (
    below_median,
    bracket_of,
    bracket_shares,
    decide_state,
    expected_epochs,
    expected_trials,
    falls_behind,
    ladders,
    rung_epochs,
)


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
    ("arguments", "expected"),
    [
        (("asha", 1, 9, 3, 1), ((1, 3),)),
        (("asha", 1, 9, 3, 2), ((1, 3), (3,))),
        (("hyperband", 2, 8, 3, 1), ((2, 6), (6,), ())),
        (("hyperband", 5, 5, 3, 1), ((),)),
        (("median", 1, 9, 3, 1), ((),)),
        (("none", 9, 9, 3, 1), ((),)),
    ],
)
def test_ladders_of_each_scheduler(
    arguments: tuple[str, int, int, int, int], expected: tuple[tuple[int, ...], ...]
) -> None:
    assert ladders(*arguments) == expected


def test_brackets_share_out_the_trials_evenly_and_by_number_alone() -> None:
    brackets = ladders("hyperband", 1, 9, 3, 1)
    shares = bracket_shares(brackets, 3)
    # Hyperband over 1, 3, 9 starts 9, 5 and 3 trials: 9/3, 3/2 and 1/1 before rounding.
    assert shares == pytest.approx([3 / 5.5, 1.5 / 5.5, 1 / 5.5])
    for num_trials in (11, 24, 500):
        counts = Counter(bracket_of(number, brackets, 3) for number in range(num_trials))
        for bracket, share in enumerate(shares):
            assert abs(counts[bracket] - share * num_trials) < 2, num_trials
    assert {bracket_of(number, ((1, 3),), 3) for number in range(50)} == {0}


@pytest.mark.parametrize(
    ("value", "others", "expected"),
    [
        (0.1, [], False),
        (0.1, [0.9], False),  # of two, with one in three going on, none can be judged
        (0.1, [0.9, 0.8], True),
        (0.8, [0.9, 0.1], True),
        (0.8, [0.9, 0.1, 0.2], False),  # two of four go on: a third, rounded up
        (0.5, [0.5] * 50, False),
        (0.5, [0.6] * 16 + [0.5] * 34, False),  # 17 of 51 go on: all who share the last place
        (0.5, [0.6] * 17 + [0.5] * 33, True),
    ],
)
def test_who_falls_behind(value: float, others: list[float], expected: bool) -> None:
    assert falls_behind(value, others, 3) is expected


def test_median_compares_the_best_epoch_with_averages() -> None:
    others = [[0.2, 0.4], [0.4, 0.6], [0.5, 0.9], [0.8, 0.8]]  # averages 0.3, 0.5, 0.7, 0.8
    assert not below_median([0.6, 0.1], others)
    assert below_median([0.1, 0.59], others)
    assert not below_median([0.0, 0.0], others[:3]), "too few"


@pytest.mark.parametrize(("num_trials", "factor"), [(18, 3), (40, 2), (100, 3)])
def test_expected_trials_are_those_of_trials_in_random_order(num_trials: int, factor: int) -> None:
    ladder = rung_epochs(1, 9, factor)
    draw, rounds = random.Random(0), 30_000 // num_trials
    reached: Counter[int] = Counter()
    for _ in range(rounds):
        seen = {epoch: list[float]() for epoch in ladder}
        for value in (draw.random() for _ in range(num_trials)):
            for epoch in (*ladder, 9):
                reached[epoch] += 1
                if epoch == 9 or falls_behind(value, seen[epoch], factor):
                    break
                seen[epoch].append(value)
            if epoch < 9:
                seen[epoch].append(value)
    expected = expected_trials(num_trials, (ladder,), factor, 9)
    assert expected[1] == num_trials
    for epoch, count in expected.items():
        assert count == pytest.approx(reached[epoch] / rounds, rel=0.1), epoch


def test_expected_trials_of_several_brackets_add_up() -> None:
    brackets = ladders("hyperband", 1, 9, 3, 1)
    expected = expected_trials(22, brackets, 3, 9)
    assert expected[1] == pytest.approx(12)
    assert expected[3] > 6
    assert expected_trials(7, ((),), 3, 9) == {9: 7}
    assert expected_epochs(7, ((),), 3, 9) == 63


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
