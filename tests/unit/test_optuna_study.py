"""Optuna's study and ASHA's rungs, rebuilt from the ledger of an earlier process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as Optuna

from search.records import TrialState
from search.space import Choice, Fixed, Float, Int, Space
from search.tune.ledger import Ledger
from search.tune.optuna_search import StudySearch, build_optuna_study
from search.tune.scheduler import StudyScheduler

SPACE = Space(
    (
        Choice("optimizer", ("adamw", "sgd")),
        Float("lr", 1e-3, 1e-1, log=True),
        Float("momentum", 0.5, 0.99, when={"optimizer": ("sgd",)}),
        Int("depth", 2, 6, step=2),
        Fixed("width", 8),
    )
)
ADAMW: dict[str, Any] = {"optimizer": "adamw", "lr": 0.01, "depth": 4, "width": 8}
SGD = ADAMW | {"optimizer": "sgd", "momentum": 0.9}


def fill(ledger: Ledger, number: int, params: dict[str, Any], values: list[float]) -> None:
    ledger.start(number, params, seed=number)
    for epoch, value in enumerate(values, 1):
        ledger.epoch(number, {"epoch": epoch, "val_accuracy": value, "seconds": 1.0})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Trial 0 complete, 1 pruned, 2 failed, 3 cut off, 5 complete; 4 was never logged."""
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    fill(ledger, 0, ADAMW, [0.5, 0.8, 0.7])
    ledger.end(0, TrialState.COMPLETE)
    fill(ledger, 1, SGD, [0.2])
    ledger.end(1, TrialState.PRUNED)
    fill(ledger, 2, SGD, [])
    ledger.end(2, TrialState.FAILED, "loss is nan")
    fill(ledger, 3, ADAMW | {"lr": 0.05}, [0.6, 0.65])
    ledger.checkpoint(3, "there")
    ledger.end(3, TrialState.INTERRUPTED)
    fill(ledger, 5, SGD | {"depth": 6}, [0.7, 0.75, 0.9])
    ledger.end(5, TrialState.COMPLETE)
    return ledger


def rebuild(ledger: Ledger, points: list[dict[str, Any]]) -> optuna.Study:
    journal = ledger.path.with_name("optuna.journal")
    return build_optuna_study(ledger, SPACE, journal, "s", points, seed=0, num_trials=20)


def test_numbers_states_and_values_are_those_of_the_ledger(ledger: Ledger) -> None:
    trials = rebuild(ledger, []).trials
    assert [t.number for t in trials] == [0, 1, 2, 3, 4, 5]
    states = [Optuna.COMPLETE, Optuna.PRUNED, Optuna.FAIL, Optuna.WAITING, Optuna.WAITING]
    assert [t.state for t in trials] == [*states, Optuna.COMPLETE]
    assert (trials[0].value, trials[5].value) == (0.8, 0.9), "the best epoch, not the last"
    assert trials[1].intermediate_values == {1: 0.2}
    assert "momentum" not in trials[0].params
    assert "width" not in trials[0].params


def search_over(ledger: Ledger, study: optuna.Study) -> StudySearch:
    return StudySearch(
        study,
        SPACE,
        make_config=lambda number, params: {"number": number, "params": params},
        state_of=lambda trial_id, number, result, error: TrialState.PRUNED,
        ledger=ledger,
    )


def test_interrupted_trials_come_first_then_start_points_not_yet_tried(ledger: Ledger) -> None:
    point = {"optimizer": "adamw", "lr": 0.002, "depth": 2}
    study = rebuild(ledger, [{}, {}, {}, {}, point, {}, point])
    search = search_over(ledger, study)
    first, second, third, fourth = (search.suggest(name) for name in "abcd")
    assert first == {"number": 3, "params": ADAMW | {"lr": 0.05}}
    assert second == {"number": 4, "params": point | {"width": 8}}, "asked for, never logged"
    assert third == {"number": 6, "params": point | {"width": 8}}
    assert fourth is not None
    assert fourth["number"] == 7


def test_a_number_that_was_never_logged_is_asked_for_again(ledger: Ledger) -> None:
    search = search_over(ledger, rebuild(ledger, []))
    asked = [search.suggest(name) for name in "abc"]
    assert [config["number"] for config in asked if config] == [3, 4, 6]
    assert asked[1] is not None
    assert {"optimizer", "lr", "depth", "width"} <= set(asked[1]["params"]), "drawn anew"


def test_a_stopped_trial_is_told_as_pruned_with_its_last_value(ledger: Ledger) -> None:
    search = search_over(ledger, rebuild(ledger, []))
    search.suggest("a")
    search.on_trial_result("a", {"epoch": 1, "val_accuracy": 0.3})
    # Tune tells a searcher nothing of the epoch on which the scheduler stopped the trial.
    search.on_trial_complete("a", {"epoch": 2, "val_accuracy": 0.4})
    told = search._study.trials[3]
    assert (told.state, told.intermediate_values) == (Optuna.PRUNED, {1: 0.3, 2: 0.4})


def test_nothing_stays_running_after_closing(ledger: Ledger) -> None:
    search = search_over(ledger, rebuild(ledger, []))
    for name in "ab":
        search.suggest(name)
    search.close()
    assert all(t.state is not Optuna.RUNNING for t in search._study.trials)


def scheduler_over(ledger: Ledger) -> StudyScheduler:
    return StudyScheduler(ledger, max_epochs=9, min_epochs=1, reduction_factor=3, brackets=1)


def tune_trial(name: str, number: int, **searched: Any) -> Any:
    return SimpleNamespace(trial_id=name, config={"number": number, "searched": searched})


def test_past_trials_fill_the_rungs(ledger: Ledger) -> None:
    scheduler = scheduler_over(ledger)
    weak, strong = tune_trial("weak", 8), tune_trial("strong", 9)
    for trial in (weak, strong):
        scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, weak, {"epoch": 1, "val_accuracy": 0.1}) == "STOP"
    assert scheduler.on_trial_result(None, strong, {"epoch": 1, "val_accuracy": 0.9}) == "CONTINUE"
    assert scheduler.pruned == {"weak"}


def test_each_trainable_is_compared_with_its_own_kind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    ledger.start(0, {"trainable": "linear_probe"}, seed=0)
    ledger.epoch(0, {"epoch": 1, "val_accuracy": 0.9})
    ledger.end(0, TrialState.PRUNED)
    scheduler = scheduler_over(ledger)
    results = []
    for number, (trainable, value) in enumerate(
        [("classifier", 0.3), ("classifier", 0.5), ("classifier", 0.2), ("linear_probe", 0.8)], 1
    ):
        trial = tune_trial(f"t{number}", number, trainable=trainable)
        scheduler.on_trial_add(None, trial)
        result = {"epoch": 1, "val_accuracy": value}
        results.append(scheduler.on_trial_result(None, trial, result))
    assert results == ["CONTINUE", "CONTINUE", "STOP", "STOP"]


def test_the_default_recipe_is_never_stopped(ledger: Ledger) -> None:
    scheduler = scheduler_over(ledger)
    trial = tune_trial("zero", 0)
    scheduler.on_trial_add(None, trial)
    for epoch in range(1, 10):
        result = {"epoch": epoch, "val_accuracy": 0.0}
        assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"
    assert scheduler.pruned == set()


def test_a_resumed_trial_is_not_judged_again_at_rungs_it_passed(ledger: Ledger) -> None:
    scheduler = scheduler_over(ledger)
    resumed = tune_trial("back", 3)  # had 0.65 at epoch 2, so it passed the rung at 1
    scheduler.on_trial_add(None, resumed)
    result = {"epoch": 2, "val_accuracy": 0.0}
    assert scheduler.on_trial_result(None, resumed, result) == "CONTINUE"
