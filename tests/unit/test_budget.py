"""When a search has had enough, and that what is running then goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.search import Searcher

from search.budget import trials_since_best, why_enough
from search.clock import Clock
from search.records import TrialState
from search.tune.ledger import Ledger
from search.tune.limits import NUM_FAILURES_TO_GIVE_UP, Limits, why_no_more
from search.tune.optuna_search import StudySearch
from tests.study_files import MINIMAL, load

COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED
FAILED = TrialState.FAILED


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ([], 0),
        ([(PRUNED, 0.9), (FAILED, None), (PRUNED, 0.8)], 0),  # nothing complete yet
        ([(PRUNED, 0.9), (COMPLETE, 0.5)], 0),
        ([(COMPLETE, 0.5), (PRUNED, 0.9), (COMPLETE, 0.5), (FAILED, 0.4)], 2),  # equal is no better
        ([(COMPLETE, 0.5), (PRUNED, 0.1), (COMPLETE, 0.6), (PRUNED, 0.1)], 1),
    ],
)
def test_trials_since_best(ended: Any, expected: int) -> None:
    assert trials_since_best(ended, "maximize") == expected
    losses = [(state, None if value is None else 1 - value) for state, value in ended]
    assert trials_since_best(losses, "minimize") == expected


def test_the_reason_is_said_in_numbers() -> None:
    ended = [(COMPLETE, 0.5)] + [(PRUNED, 0.1)] * 3

    def why(num_epochs: int, total: int | None, plateau: int | None) -> str:
        return why_enough(
            ended, num_epochs, direction="maximize", total_epochs=total, plateau_trials=plateau
        )

    assert why(100, None, None) == why(99, 100, 4) == ""
    assert why(101, 100, 4) == "epochs: 101 are trained, total_epochs is 100"
    assert why(99, 100, 3) == "plateau: best unchanged for 3 trials"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")


def run_epochs(ledger: Ledger, number: int, values: list[float]) -> None:
    ledger.start(number, {"lr": 0.001 + number / 1000}, seed=number)
    for epoch, value in enumerate(values, 1):
        ledger.epoch(number, {"epoch": epoch, "val_accuracy": value})


def searcher_over(ledger: Ledger, budget: str) -> StudySearch:
    config = load(MINIMAL, f"budget={budget}")

    def state_of(trial_id: str, number: int, result: Any, error: bool) -> TrialState:
        return TrialState.COMPLETE

    return StudySearch(
        config.search_space,
        lambda number, params: {"number": number, "params": params},
        state_of,
        ledger,
        optuna.samplers.RandomSampler(seed=0),
        is_enough=lambda: bool(why_no_more(config.budget, ledger)),
    )


def test_no_trial_starts_after_the_epochs_are_spent_and_running_ones_finish(
    ledger: Ledger,
) -> None:
    searcher = searcher_over(ledger, "{total_epochs: 6}")
    for number, name in enumerate("ab"):
        assert searcher.suggest(name)["number"] == number
        run_epochs(ledger, number, [0.5, 0.6, 0.7])
    assert searcher.suggest("c") is None, "wait: trials are running"
    ledger.end(0, COMPLETE)
    searcher.on_trial_complete("a", {"epoch": 3})
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("b", {"epoch": 3})
    assert searcher.suggest("c") == Searcher.FINISHED


def test_a_plateau_is_over_when_a_running_trial_finds_a_better_one(ledger: Ledger) -> None:
    searcher = searcher_over(ledger, "{plateau_trials: 2}")
    for number, name in enumerate("abcd"):
        searcher.suggest(name)
        run_epochs(ledger, number, [0.5])
    for number, name in enumerate("abc"):
        ledger.end(number, COMPLETE)
        searcher.on_trial_complete(name, {"epoch": 1})
    assert searcher.suggest("e") is None
    ledger.epoch(3, {"epoch": 2, "val_accuracy": 0.9})
    ledger.end(3, COMPLETE)
    searcher.on_trial_complete("d", {"epoch": 2})
    assert searcher.suggest("e")["number"] == 4


def test_a_study_that_goes_on_finishes_what_was_running_and_decides_the_same(
    ledger: Ledger,
) -> None:
    for number, state in enumerate([COMPLETE, PRUNED, TrialState.INTERRUPTED]):
        run_epochs(ledger, number, [0.5])
        ledger.end(number, state)
    again = Ledger(ledger.path, "val_accuracy", "maximize")
    searcher = searcher_over(again, "{plateau_trials: 1}")
    assert searcher.suggest("a")["number"] == 2, "it was running when the plateau was reached"
    assert searcher.suggest("b") is None
    again.start(2, {}, seed=0)
    again.end(2, PRUNED)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == Searcher.FINISHED


def test_what_was_lost_before_it_was_logged_waits_behind_what_was_running(ledger: Ledger) -> None:
    run_epochs(ledger, 0, [0.5])
    run_epochs(ledger, 2, [0.5])
    ledger.close_open_trials()
    searcher = searcher_over(ledger, "{total_epochs: 1}")
    assert [searcher.suggest(name)["number"] for name in "ab"] == [0, 2]
    assert searcher.suggest("c") is None


def limits_over(ledger: Ledger, clock: Clock) -> Limits:
    config = load(MINIMAL, f"budget.time_limit={clock.time_limit or 'none'}")
    runner = SimpleNamespace(config=config, clock=clock, slots=None, disk_reason=str)
    return Limits(runner, ledger)  # type: ignore[arg-type]


def test_the_time_limit_leaves_room_for_what_follows_once_there_is_something(
    ledger: Ledger,
) -> None:
    clock = Clock(100.0)
    clock.started -= 50  # half of it was gone before the search
    limits = limits_over(ledger, clock)
    assert not limits.are_reached(), "without an epoch there would be no model and no report"
    ledger.start(0, {}, seed=0)
    ledger.epoch(0, {"epoch": 1, "val_accuracy": 0.5, "seconds": 5.0})
    limits.on_change("epoch")
    assert limits.are_reached(), "at most 60 % are kept for the rest, which needs all of it"
    assert limits.reason.startswith("time limit")
    clock.stop_requested = True
    assert limits.are_reached()
    assert limits.reason.startswith("time limit"), "the first reason stays"


def test_without_any_epoch_the_search_ends_with_the_limit(ledger: Ledger) -> None:
    clock = Clock(100.0)
    clock.started -= 101
    assert limits_over(ledger, clock).are_reached()


def test_a_search_in_which_all_fails_gives_up_after_a_few(ledger: Ledger) -> None:
    limits = limits_over(ledger, Clock(None))
    for number in range(NUM_FAILURES_TO_GIVE_UP):
        assert not limits.are_reached()
        ledger.start(number, {}, seed=0)
        ledger.end(number, FAILED, "loss is nan")
    assert limits.are_reached()
    assert limits.reason == "every trial failed"
