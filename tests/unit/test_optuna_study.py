"""What is asked next, and the journal that Optuna's tools read: both follow the ledger."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Optuna
from ray.tune.search.searcher import Searcher

from search.records import TrialState
from search.space import Choice, Fixed, Float, Int, Space
from search.tune.ledger import Ledger
from search.tune.optuna_file import OptunaFile
from search.tune.optuna_search import StudySearch
from search.tune.points import point_key, points
from search.tune.sampler import make_sampler

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
    ledger.end(3, TrialState.INTERRUPTED)
    fill(ledger, 5, SGD | {"depth": 6}, [0.7, 0.75, 0.9])
    ledger.end(5, TrialState.COMPLETE)
    return ledger


def journal_of(ledger: Ledger) -> OptunaFile:
    path = ledger.path.with_name("optuna.journal")
    return OptunaFile(path, "s", ledger, SPACE, {"metric": ledger.metric})


def read_journal(ledger: Ledger) -> list[FrozenTrial]:
    """Read the file as Optuna's own tools do."""
    backend = JournalFileBackend(str(ledger.path.with_name("optuna.journal")))
    return optuna.load_study(study_name="s", storage=JournalStorage(backend)).trials


def test_the_journal_has_numbers_states_and_values_of_the_ledger(ledger: Ledger) -> None:
    journal_of(ledger)
    trials = read_journal(ledger)
    assert [t.number for t in trials] == [0, 1, 2, 3, 4, 5]
    states = [Optuna.COMPLETE, Optuna.PRUNED, Optuna.FAIL, Optuna.WAITING, Optuna.WAITING]
    assert [t.state for t in trials] == [*states, Optuna.COMPLETE]
    assert (trials[0].value, trials[5].value) == (0.8, 0.9), "the best epoch, not the last"
    assert trials[1].intermediate_values == {1: 0.2}
    assert trials[3].intermediate_values == {1: 0.6, 2: 0.65}, "what it did before it was cut off"
    assert "momentum" not in trials[0].params
    assert "width" not in trials[0].params
    assert trials[2].user_attrs == {"error": "loss is nan"}
    started, ended = trials[0].datetime_start, trials[0].datetime_complete
    assert started is not None
    assert ended is not None
    assert started.timestamp() == pytest.approx(ledger.trials[0].first_start)
    assert ended.timestamp() == pytest.approx(ledger.trials[0].last_event)


def test_the_journal_follows_the_ledger_event_by_event(ledger: Ledger) -> None:
    journal = journal_of(ledger)

    def tell(event: str, number: int) -> FrozenTrial:
        journal.on_change(ledger, event, number)
        return read_journal(ledger)[number]

    fill(ledger, 4, ADAMW | {"depth": 2}, [])
    running = tell("start", 4)
    assert (running.state, running.params["depth"]) == (Optuna.RUNNING, 2), "the lost number"
    ledger.start(7, SGD | {"lr": 0.003}, seed=7)
    assert tell("start", 7).state is Optuna.RUNNING, "it may start before number 6"
    ledger.epoch(7, {"epoch": 1, "val_accuracy": 0.3, "seconds": 1.0})
    assert tell("epoch", 7).intermediate_values == {1: 0.3}
    ledger.end(7, TrialState.PRUNED)
    assert tell("end", 7).state is Optuna.PRUNED
    ledger.end(4, TrialState.FAILED, "out of memory")
    assert tell("end", 4).user_attrs == {"error": "out of memory"}
    ledger.start(3, ledger.trials[3].params, seed=3)
    assert tell("start", 3).state is Optuna.RUNNING, "a trial that was cut off goes on"


def test_a_closed_journal_is_the_ledger_to_the_last_value(ledger: Ledger) -> None:
    journal = journal_of(ledger)
    fill(ledger, 6, SGD | {"lr": 0.004}, [])
    journal.on_change(ledger, "start", 6)
    for epoch in (1, 2, 3):
        ledger.epoch(6, {"epoch": epoch, "val_accuracy": 0.1 * epoch, "seconds": 1.0})
        journal.on_change(ledger, "epoch", 6)
    # The worker died and began again after epoch 1, and was stopped before it had been so far.
    ledger.epoch(6, {"epoch": 2, "val_accuracy": 0.15, "seconds": 1.0})
    journal.on_change(ledger, "epoch", 6)
    ledger.end(6, TrialState.PRUNED)
    journal.on_change(ledger, "end", 6)
    fill(ledger, 7, ADAMW | {"lr": 0.004}, [0.2])
    journal.on_change(ledger, "start", 7)
    ledger.close_open_trials()  # a time limit, or Ctrl-C
    journal.close()
    trials = read_journal(ledger)
    assert trials[6].intermediate_values == {1: pytest.approx(0.1), 2: 0.15}
    assert [t.state for t in trials[3:]] == [
        Optuna.FAIL, Optuna.FAIL, Optuna.COMPLETE, Optuna.PRUNED, Optuna.FAIL,
    ]  # fmt: skip
    for trial in trials:
        known = ledger.trials.get(trial.number)
        assert trial.intermediate_values == (known.values("val_accuracy") if known else {})


def search_over(
    ledger: Ledger,
    points: Sequence[dict[str, Any]] = (),
    space: Space = SPACE,
    sampler: str = "tpe",
    state: TrialState = TrialState.PRUNED,
    past: Sequence[FrozenTrial] = (),
) -> StudySearch:
    return StudySearch(
        space,
        make_config=lambda number, params: {"number": number, "params": params},
        state_of=lambda trial_id, number, result, error: state,
        ledger=ledger,
        sampler=make_sampler(sampler, seed=0, num_startup=4),
        start_points=points,
        past=past,
    )


def test_interrupted_trials_come_first_then_start_points_not_yet_tried(ledger: Ledger) -> None:
    point = {"optimizer": "adamw", "lr": 0.002, "depth": 2}
    later = point | {"lr": 0.003}
    tried = {"optimizer": "adamw", "lr": 0.01, "depth": 4}
    search = search_over(ledger, [tried, tried, tried, tried, point, tried, later])
    first, second, third, fourth = (search.suggest(name) for name in "abcd")
    assert first == {"number": 3, "params": ADAMW | {"lr": 0.05}}
    assert second == {"number": 4, "params": point | {"width": 8}}, "asked for, never logged"
    assert third == {"number": 6, "params": later | {"width": 8}}
    assert fourth is not None
    assert fourth["number"] == 7


def test_a_number_that_was_never_logged_is_asked_for_again(ledger: Ledger) -> None:
    search = search_over(ledger)
    asked = [search.suggest(name) for name in "abc"]
    assert [config["number"] for config in asked if config] == [3, 4, 6]
    assert asked[1] is not None
    assert {"optimizer", "lr", "depth", "width"} <= set(asked[1]["params"]), "drawn anew"


def test_the_sampler_hears_how_a_trial_ended_and_its_last_value(ledger: Ledger) -> None:
    search = search_over(ledger)
    fill(ledger, search.suggest("a")["number"], ADAMW | {"lr": 0.05}, [0.3])
    # Tune tells a searcher of the epoch on which the scheduler stopped a trial only here.
    search.on_trial_complete("a", {"epoch": 2, "val_accuracy": 0.4})
    told = search._study.trials[-1]
    assert (told.state, told.intermediate_values) == (Optuna.PRUNED, {1: 0.3, 2: 0.4})


def test_a_gaussian_process_learns_from_stopped_trials_too(ledger: Ledger) -> None:
    told = search_over(ledger, sampler="gp")._study.trials
    assert [t.value for t in told if t.state is Optuna.COMPLETE] == [0.8, 0.2, 0.9]


SMALL = Space((Choice("a", (1, 2, 3)), Float("b", 0.1, 0.3, step=0.1)))
NARROW = Space(
    (
        Choice("optimizer", ("adamw", "sgd")),
        Float("momentum", 0.5, 0.9, when={"optimizer": ("sgd",)}),
    )
)


def ask(search: StudySearch, ledger: Ledger, count: int) -> list[dict[str, Any]]:
    """Run trials one after the other, each as good as the first of its kind."""
    asked = []
    for k in range(count):
        config = search.suggest(f"t{k}")
        if config == Searcher.FINISHED:
            break
        params = config["params"]
        value = 1.0 if next(iter(params.values())) in (1, "adamw") else 0.1
        fill(ledger, config["number"], params, [value])
        search.on_trial_complete(f"t{k}", {"epoch": 1, "val_accuracy": value})
        ledger.end(config["number"], TrialState.COMPLETE)
        asked.append(config)
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_small_space_is_tried_once_and_then_the_search_ends(tmp_path: Path, sampler: str) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    search = search_over(ledger, space=SMALL, sampler=sampler, state=TrialState.COMPLETE)
    first = ask(search, ledger, 5)
    # Another process goes on: what was tried before counts too.
    search = search_over(ledger, space=SMALL, sampler=sampler, state=TrialState.COMPLETE)
    asked = first + ask(search, ledger, 20)
    assert search.is_exhausted
    assert [config["number"] for config in asked] == list(range(9)), "no number is lost to a repeat"
    assert len({point_key(SMALL, config["params"]) for config in asked}) == 9
    assert SMALL.num_configurations == 9


def test_a_branch_with_one_point_is_tried_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    search = search_over(ledger, space=NARROW, state=TrialState.COMPLETE)
    asked = [config["params"]["optimizer"] for config in ask(search, ledger, 15)]
    assert asked.count("adamw") == 1, "best, and liked by the sampler, but there is only one of it"
    assert len(asked) == 15
    states = {trial.state for trial in search._study.trials}
    assert states <= {Optuna.COMPLETE, Optuna.FAIL}, "repeats are closed"


def test_points_of_a_space_are_as_many_as_it_counts() -> None:
    found = list(points(SMALL, random.Random(0)))
    assert len(found) == len({point_key(SMALL, point) for point in found}) == 9
    drawn = [point.get("momentum", 0.5) for point in points(NARROW, random.Random(0))]
    assert len(drawn) == 2
    assert all(0.5 <= momentum <= 0.9 for momentum in drawn)


def test_a_point_is_the_same_whichever_sum_of_floats_led_there() -> None:
    assert point_key(SMALL, {"a": 1, "b": 0.1 + 0.2}) == point_key(SMALL, {"a": 1, "b": 0.3})
    assert point_key(SPACE, ADAMW) == point_key(SPACE, ADAMW | {"width": 9}), "fixed ones tell none"
    assert point_key(SPACE, ADAMW) != point_key(SPACE, SGD)


def test_a_gaussian_process_leaves_the_cores_to_the_trainings() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        make_sampler("tpe", seed=0, num_startup=4)
        assert torch.get_num_threads() == 2
        make_sampler("gp", seed=0, num_startup=4)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
