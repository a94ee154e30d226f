"""Who wins the confirmation."""

from __future__ import annotations

import pytest

from search.confirm import choose_winner
from search.records import Confirmation, ConfirmRun, TrialRecord, TrialState
from search.retrain import retrain_epochs

CANDIDATES = [
    TrialRecord(number, TrialState.COMPLETE, best_value=value, best_epoch=7)
    for number, value in ((4, 0.9), (7, 0.89), (0, 0.7))
]


def run(number: int, seed: int, value: float | None, **rest: object) -> ConfirmRun:
    values = {"epochs_run": 10, "best_epoch": 8, "seconds": 1.0, "params": {}} | rest
    return ConfirmRun(f"trial {number}", number, seed=seed, value=value, **values)  # type: ignore[arg-type]


def choose(
    runs: list[ConfirmRun], direction: str = "maximize", only: tuple[int, ...] = (4, 7)
) -> Confirmation:
    candidates = [t for t in CANDIDATES if t.number in only]
    return choose_winner(runs, candidates, direction=direction, max_epochs=10)


def test_the_best_mean_wins_not_the_best_single_run() -> None:
    runs = [run(4, 1, 0.95), run(4, 2, 0.70), run(7, 1, 0.85), run(7, 2, 0.86)]
    chosen = choose(runs)
    assert chosen.winner.number == 7
    assert chosen.mean == pytest.approx(0.855)
    assert chosen.std == pytest.approx(0.00707, abs=1e-4)


def test_losses_are_minimised() -> None:
    assert choose([run(4, 1, 0.3), run(7, 1, 0.2)], "minimize").winner.number == 7


def test_only_seeds_that_all_have_are_compared() -> None:
    runs = [run(4, 1, 0.80), run(7, 1, 0.81), run(0, 1, 0.5), run(4, 2, 0.99)]
    chosen = choose(runs, only=(4, 7, 0))
    assert chosen.winner.number == 7, "trial 4 had a second try that the others did not get"
    assert chosen.mean == pytest.approx(0.81)


def test_unfinished_and_failed_runs_do_not_count() -> None:
    runs = [run(4, 1, 0.99, epochs_run=3), run(4, 2, 0.99, error="nan"), run(7, 1, 0.6)]
    assert choose(runs).winner.number == 7


def test_without_a_full_round_the_search_decides_and_says_so() -> None:
    chosen = choose([run(4, 1, 0.9, epochs_run=2)])
    assert (chosen.winner.number, chosen.mean) == (4, None)
    assert "not confirmed" in chosen.note


def test_a_candidate_that_got_no_turn_was_not_beaten() -> None:
    chosen = choose([run(7, 1, 0.99)], only=(4, 7, 0))
    assert (chosen.winner.number, chosen.mean) == (4, None), "the search's order stands"
    assert "not confirmed" in chosen.note


def test_the_default_recipe_can_win_without_a_confirmation() -> None:
    weak = TrialRecord(3, TrialState.PRUNED, best_value=0.99, epochs_run=2)
    default = TrialRecord(0, TrialState.COMPLETE, best_value=0.8, epochs_run=10)
    chosen = choose_winner([], [weak, default], direction="maximize", max_epochs=10)
    assert chosen.winner.number == 0


def test_a_settling_schedule_is_retrained_to_its_end() -> None:
    assert retrain_epochs("cosine", [5, 9, 6], 10) == 10
    assert retrain_epochs("one_cycle", [5], 10) == 10


def test_any_other_stops_at_the_median_best_epoch() -> None:
    assert retrain_epochs("constant", [5, 9, 6], 10) == 6
    assert retrain_epochs("step", [None], 10) == 10
