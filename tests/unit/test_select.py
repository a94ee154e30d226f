"""Ranking and forecasts."""

from __future__ import annotations

import pytest

from search.errors import TrialError
from search.records import EpochRecord, TrialRecord, TrialState
from search.select import (
    MOST_SECONDS_TO_START,
    RETRAIN_SHARE,
    SECONDS_TO_START_WORKERS,
    confirmations,
    default_trial,
    forecast_seconds,
    num_retrainings,
    rank_trials,
    seconds_to_keep,
    select_top,
)


def trial(number: int, state: str, value: float | None, **rest: object) -> TrialRecord:
    rest = {"params": {"lr": number}, "epochs_run": 9, "seconds": 10.0} | rest
    return TrialRecord(number, TrialState(state), best_value=value, **rest)  # type: ignore[arg-type]


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [t.number for t in trials]


def test_complete_trials_outrank_lucky_stopped_and_failed_ones() -> None:
    trials = [
        trial(1, "pruned", 0.99, epochs_run=3),
        trial(2, "complete", 0.80),
        trial(3, "failed", 0.98, epochs_run=5),
        trial(4, "complete", 0.85),
        trial(5, "failed", None),
    ]
    assert numbers(rank_trials(trials, "maximize")) == [4, 2, 3, 1]


def test_losses_rank_upwards_and_ties_go_to_the_faster_one() -> None:
    trials = [
        trial(1, "complete", 0.3, seconds=20),
        trial(2, "complete", 0.3, seconds=10),
        trial(3, "complete", 0.2, seconds=99),
    ]
    assert numbers(rank_trials(trials, "minimize")) == [3, 2, 1]


def test_equal_values_rank_by_loss_then_by_time() -> None:
    trials = [
        trial(1, "complete", 0.8, best_loss=0.5, seconds=1),
        trial(2, "complete", 0.8, best_loss=0.4, seconds=20),
        trial(3, "complete", 0.8, best_loss=0.4, seconds=10),
        trial(4, "complete", 0.8, best_loss=None, seconds=1),
        trial(5, "complete", 0.9, best_loss=0.9, seconds=99),
    ]
    assert numbers(rank_trials(trials, "maximize")) == [5, 3, 2, 1, 4]


def test_finalists_differ_and_leave_the_default_recipe_out() -> None:
    trials = [
        trial(0, "complete", 0.95),
        trial(1, "complete", 0.90, params={"lr": 1}),
        trial(2, "complete", 0.89, params={"lr": 1}),
        trial(3, "complete", 0.88),
        trial(4, "pruned", 0.99),
    ]
    assert numbers(select_top(trials, top_k=3, direction="maximize")) == [1, 3]


def test_when_only_the_default_recipe_is_complete_the_furthest_others_stand_in() -> None:
    trials = [
        trial(0, "complete", 0.5),
        trial(1, "interrupted", 0.4, epochs_run=6),
        trial(2, "pruned", 0.9, epochs_run=1),
    ]
    assert numbers(select_top(trials, top_k=1, direction="maximize")) == [1]


def test_without_a_complete_trial_the_furthest_are_finalists() -> None:
    trials = [
        trial(0, "interrupted", 0.5, epochs_run=4),
        trial(1, "interrupted", 0.4, epochs_run=6),
        trial(2, "pruned", 0.9, epochs_run=1),
        trial(3, "failed", 0.9, epochs_run=8),
    ]
    assert numbers(select_top(trials, top_k=2, direction="maximize")) == [1, 2]


def test_forecast_counts_rounds_of_full_trainings() -> None:
    trials = [trial(0, "complete", 0.8), trial(1, "complete", 0.9)]
    epochs = [
        EpochRecord(t.number, e, 1.0, 1.0, 0.5, 0.5, 0.5, 0.1, seconds=10.0, images_per_second=1.0)
        for t in trials
        for e in (1, 2)
    ]

    def seconds(num_seeds: int, num_slots: int, to_start: float = 0.0, **rest: int) -> float:
        return forecast_seconds(
            trials, epochs, max_epochs=10, num_candidates=4, num_seeds=num_seeds,
            num_slots=num_slots, direction="maximize", seconds_to_start=to_start, **rest,
        )  # fmt: skip

    # 4 candidates × 3 seeds on 2 slots are 6 rounds of 10 epochs of 10 s.
    confirming = seconds(3, 2) - seconds(0, 2, num_retrained=3)
    assert confirming == pytest.approx(600 + SECONDS_TO_START_WORKERS)
    # The runner-up is one training more on train + val: on two slots a round, on three none.
    assert seconds(0, 2, num_retrained=3) - seconds(0, 2) == pytest.approx(RETRAIN_SHARE * 100)
    assert seconds(0, 3, num_retrained=3) == seconds(0, 3)
    assert seconds(3, 4) < seconds(3, 2) < seconds(3, 1)
    # Workers start for confirm and for retrain, on a busy machine later than on an idle one.
    assert seconds(3, 2, 30.0) - seconds(3, 2, 1.0) == 2 * (30 - SECONDS_TO_START_WORKERS)
    assert seconds(3, 2, 500.0) == seconds(3, 2, MOST_SECONDS_TO_START)


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (10_000, 1.05 * 700),  # all three seeds
        (800, 1.05 * 500),  # two: three would be 735 of 560
        (500, 1.05 * 300),  # one
        (400, 1.05 * 200),  # of two finalists: of three it would be 315 of 280
        (250, 1.05 * 160),  # of one
        (200, 1.05 * 100),  # none, though 140 might be kept: a part of a round confirms nothing
        (100, 70),  # not even what must be: the search gets its share
    ],
)
def test_whole_rounds_of_seeds_are_kept_for(limit: float, kept: float) -> None:
    needed = {(3, 3): 700.0, (3, 2): 500.0, (3, 1): 300.0, (2, 1): 200.0, (1, 1): 160.0,
              (3, 0): 100.0}  # fmt: skip
    wanted = confirmations(3, 3)
    assert wanted == list(needed)
    assert seconds_to_keep(limit, wanted, lambda *choice: needed[choice]) == pytest.approx(kept)


def test_nothing_is_confirmed_where_nobody_asked_for_it() -> None:
    assert confirmations(3, 0) == [(3, 0)]


def test_a_failed_default_recipe_is_stood_in_for_by_the_best_trial() -> None:
    failed = trial(0, "failed", 0.9, epochs_run=3)
    trials = [failed, trial(1, "complete", 0.5), trial(2, "complete", 0.6)]
    assert default_trial(trials, "maximize").number == 2
    assert default_trial([trial(0, "pruned", 0.1), *trials[1:]], "maximize").number == 0
    further = trial(0, "failed", 0.9, epochs_run=5)
    cut = trial(1, "interrupted", 0.4, epochs_run=3)
    assert default_trial([further, cut], "maximize").number == 1, "what failed would fail again"
    assert default_trial([further], "maximize").number == 0
    with pytest.raises(TrialError, match="at least one epoch"):
        default_trial([trial(0, "interrupted", None)], "maximize")


def test_a_runner_up_needs_two_candidates_beside_it() -> None:
    assert num_retrainings(num_candidates=4, num_seeds=2) == 3
    assert num_retrainings(num_candidates=2, num_seeds=2) == 2, "the default recipe is next best"
    assert num_retrainings(num_candidates=4, num_seeds=0) == 2, "nobody is: nothing was confirmed"
