"""Several objectives and constraints in a search: what is proposed, stopped, told and written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState as Optuna

from search.errors import TrialError
from search.goals import Goals, architecture_of
from search.pareto import front_of
from search.records import TrialState
from search.results import ResultsFolder
from search.select import default_trial, rank_trials, select_top
from search.tune import sampler as sampler_module
from search.tune.ledger import Ledger
from search.tune.limits import NUM_INFEASIBLE_TO_GIVE_UP, why_hopeless
from search.tune.optuna_file import OptunaFile
from search.tune.sampler import SamplerMemory, is_infeasible
from search.tune.study import _raise_if_nothing_to_rank
from search.tune.told import told_of
from tests.trade_offs import (
    GOALS,
    footprint,
    open_ledger,
    run_study,
    scheduler_over,
    searcher_over,
    trade_off_study,
)

SAMPLERS = ("tpe", "gp", "random")


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_limit_is_learned_at_the_cost_of_one_trial_a_network(tmp_path: Path, name: str) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    run_study(config, ledger, 30, name)
    trials = ledger.trial_records()
    assert len(trials) == 30
    infeasible = [t for t in trials if t.state is TrialState.INFEASIBLE]
    networks = {architecture_of(config.recipe_of(t.params) | t.params) for t in infeasible}
    assert 0 < len(networks) == len(infeasible), "none is tried twice"
    for trial in trials:
        cost = footprint(config.recipe_of(trial.params) | trial.params)
        assert (trial.state is TrialState.INFEASIBLE) == (cost["num_parameters"] > 30e3)
        assert trial.num_parameters == cost["num_parameters"]
    assert all(t.epochs_run == 0 and t.best_value is None for t in infeasible), "not trained"
    assert all(t.error.startswith("num_parameters must be <= 30000, has") for t in infeasible)
    assert {t.state for t in trials} >= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_study_that_goes_on_hears_what_it_heard(tmp_path: Path, name: str) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    before = run_study(config, ledger, 16, name)
    again = open_ledger(config, tmp_path / "events.jsonl")
    assert again.footprints == ledger.footprints
    assert again.trial_records() == ledger.trial_records()
    after = searcher_over(config, again, scheduler_over(config, again), name)

    def heard(search: object) -> list[tuple[object, ...]]:
        trials = [t for t in search._study.trials if t.state is not Optuna.FAIL]  # type: ignore[attr-defined]
        return [(t.state, t.values, t.params, t.constraints) for t in trials]

    assert heard(after) == heard(before)
    if name != "gp":  # its caches start its fits elsewhere
        asked = before.suggest("x"), after.suggest("x")
        assert asked[0] == asked[1]


def test_tpe_looks_where_trade_offs_are_good(tmp_path: Path) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    run_study(config, ledger, 60)
    rates = [t.params["lr"] for t in ledger.trial_records()]
    late = sum(abs(rate - 3e-3) < 1e-3 for rate in rates[30:])
    assert late > sum(abs(rate - 3e-3) < 1e-3 for rate in rates[:30]), "the right learning rate"


def test_everything_excluded_ends_the_search(tmp_path: Path) -> None:
    config = trade_off_study("constraints.num_parameters='<= 100'")
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    search = run_study(config, ledger, 50)
    assert search.is_exhausted
    assert len(ledger.trials) == 15, "as many as there are networks"
    assert not rank_trials(ledger.trial_records(), "maximize")
    with pytest.raises(TrialError, match=r"none of 15 trials satisfies the constraints, such as: "):
        _raise_if_nothing_to_rank(ledger, ResultsFolder(tmp_path))
    ledger.start(99, {}, seed=0)
    ledger.epoch(99, {"epoch": 1, "val_accuracy": 0.5})
    _raise_if_nothing_to_rank(ledger, ResultsFolder(tmp_path))


def test_a_hopeless_search_gives_up_and_a_lucky_one_does_not(tmp_path: Path) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    for number in range(NUM_INFEASIBLE_TO_GIVE_UP):
        assert not why_hopeless(ledger)
        ledger.start(number, {}, seed=0)
        ledger.end(number, TrialState.INFEASIBLE, "num_parameters must be <= 30000, has 1e6")
    assert why_hopeless(ledger) == "every trial breaks a constraint"
    ledger.start(99, {}, seed=0)
    ledger.epoch(99, {"epoch": 1, "val_accuracy": 0.5})
    assert not why_hopeless(ledger)


def test_what_breaks_a_limit_is_never_the_best(tmp_path: Path) -> None:
    """A limit of the trained model is judged at its end: such a trial has a value."""
    config = trade_off_study(goals=GOALS.replace("num_parameters: <= 30e3", "val_loss: <= 0.5"))
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    for number, (value, loss) in enumerate([(0.9, 0.6), (0.8, 0.4), (0.7, 0.4)]):
        ledger.start(number, {"lr": 0.01 * (number + 1)}, seed=0)
        ledger.footprint(number, f"net {number}", {"latency_ms": 1.0, "num_parameters": 5.0,
                                                   "model_mb": 1.0})  # fmt: skip
        ledger.epoch(number, {"epoch": 9, "val_accuracy": value, "val_loss": loss})
        reason = ledger.why_infeasible(ledger.trials[number], is_complete=True)
        assert not ledger.why_infeasible(ledger.trials[number], is_complete=False)
        state = TrialState.INFEASIBLE if reason else TrialState.COMPLETE
        ledger.end(number, state, reason)
    trials = ledger.trial_records()
    assert [t.state.value for t in trials] == ["infeasible", "complete", "complete"]
    assert trials[0].error == "val_loss must be <= 0.5, has 0.6"
    assert [t.number for t in rank_trials(trials, "maximize")] == [1, 2]
    assert [t.number for t in select_top(trials, top_k=3, direction="maximize")] == [1, 2]
    assert default_trial(trials, "maximize").number == 1, "the best stands in for it"
    told = told_of(config.goals, trials[0].state, ledger.trials[0].epochs, {"latency_ms": 1.0})
    assert (told.state, told.values) == (Optuna.COMPLETE, [0.9, 1.0]), "all of it is known"
    assert told.constraints == {"val_loss <= 0.5": pytest.approx(0.2)}


def test_the_first_measurement_of_a_network_stands(tmp_path: Path) -> None:
    ledger = open_ledger(trade_off_study(), tmp_path / "events.jsonl")
    first = {"latency_ms": 3.0, "num_parameters": 5.0, "model_mb": 1.0}
    for number, cost in enumerate([first, first | {"latency_ms": 9.0}]):
        ledger.start(number, {}, seed=0)
        ledger.footprint(number, "net", cost)
    assert ledger.footprints == {"net": first}
    assert not ledger.excludes("net")
    assert not ledger.excludes("another")


def test_a_ledger_without_footprints_loads(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [
        {"event": "start", "number": 0, "params": {"lr": 0.1}, "seed": 0, "time": 1.0},
        {"event": "epoch", "number": 0, "epoch": 1, "val_accuracy": 0.5, "node": "", "worker": "",
         "time": 2.0},
        {"event": "end", "number": 0, "state": "complete", "error": "", "time": 3.0},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    (record,) = Ledger(path, "val_accuracy", "maximize").trial_records()
    assert (record.best_value, record.latency_ms, record.num_parameters) == (0.5, None, None)


def test_optuna_reads_values_and_constraints_from_the_journal(tmp_path: Path) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    path = tmp_path / "optuna.journal"
    journal = OptunaFile(path, "s", ledger, config.search_space, {})
    run_study(config, ledger, 20, on_change=journal.on_change)
    followed = path.read_bytes()
    journal.close()
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.load_study(study_name="s", storage=storage)
    assert study.metric_names == ["val_accuracy", "latency_ms"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    records = {t.number: t for t in ledger.trial_records()}
    assert len(study.trials) == len(records) == 20
    for trial in study.trials:
        record = records[trial.number]
        expected = (record.num_parameters or 0) / 30e3 - 1
        assert trial.constraints == {"num_parameters <= 30000": pytest.approx(expected)}
        assert trial.user_attrs["latency_ms"] == record.latency_ms
        complete = record.state is TrialState.COMPLETE
        assert trial.values == ([record.best_value, record.latency_ms] if complete else None)
    complete_ones = [n for n, t in records.items() if t.state is TrialState.COMPLETE]
    figures = [ledger.figures(ledger.trials[n]) for n in complete_ones]
    ours = {complete_ones[k] for k in front_of(figures, config.goals.objectives)}
    assert {t.number for t in study.best_trials} == ours
    assert followed == path.read_bytes(), "event by event it came to the same"


def test_a_fast_poor_network_is_spared_at_a_rung_and_a_beaten_one_is_not(tmp_path: Path) -> None:
    config = trade_off_study()
    ledger = open_ledger(config, tmp_path / "events.jsonl")
    scheduler = scheduler_over(config, ledger)

    def report(number: int, value: float, latency: float) -> bool:
        cost = {"latency_ms": latency, "num_parameters": 1.0, "model_mb": 1.0}
        asked = {"number": number, "searched": {}, "architecture": f"n{number}", "footprint": {}}
        trial = type("T", (), {"trial_id": f"t{number}", "config": asked})()
        result = {"epoch": 1, "val_accuracy": value} | cost
        return scheduler.on_trial_result(None, trial, result) == "CONTINUE"

    for number in range(1, 7):
        report(number, 0.5 + 0.05 * number, 5.0 * number)
    assert report(7, 0.2, 0.1), "the fastest of all"
    assert report(8, 0.99, 99.0), "the best of all"
    assert not report(9, 0.3, 50.0), "slow and poor"


# --- the memory of the sampler


def memory_of(values: list[list[float]], directions: list[str]) -> tuple[SamplerMemory, int]:
    memory = SamplerMemory()
    study = optuna.create_study(directions=directions, storage=memory)
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=row))
    return memory, study._study_id


def kept(memory: SamplerMemory, study_id: int) -> list[int]:
    states = (Optuna.COMPLETE, Optuna.PRUNED)
    return [t.number for t in memory.get_all_trials(study_id, states=states)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_one_objective_the_best_are_kept_as_ever(
    monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setattr(sampler_module, "NUM_LATEST", 5)
    monkeypatch.setattr(sampler_module, "NUM_BEST", 4)
    values = [float(k * 7 % 5) for k in range(40)]
    sign = -1 if direction == "maximize" else 1
    best = sorted(range(35), key=lambda k: sign * values[k])[:4]
    memory, study_id = memory_of([[v] for v in values], [direction])
    assert kept(memory, study_id) == [*sorted(best), *range(35, 40)]


def test_what_is_kept_does_not_depend_on_who_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that goes on tells its trials in another order than they had ended."""
    monkeypatch.setattr(sampler_module, "NUM_LATEST", 5)
    monkeypatch.setattr(sampler_module, "NUM_BEST", 4)
    rng = random.Random(0)
    values = [rng.randrange(9) / 10 for _ in range(60)]
    states = [rng.choice((Optuna.COMPLETE, Optuna.PRUNED, Optuna.FAIL)) for _ in values]
    memory = SamplerMemory()
    study = optuna.create_study(direction="maximize", storage=memory)
    trials = [study.ask() for _ in values]
    for trial in rng.sample(trials, len(trials)):
        state = states[trial.number]
        study.tell(trial, values[trial.number] if state is Optuna.COMPLETE else None, state)
    older = [k for k in range(55) if states[k] is Optuna.COMPLETE]
    best = sorted(older, key=lambda k: -values[k])[:4]
    latest = [k for k in range(55, 60) if states[k] is not Optuna.FAIL]
    assert kept(memory, study._study_id) == [*sorted(best), *latest]
    assert len(study.trials) == 60, "the others are still there"


def test_of_several_objectives_the_front_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "NUM_LATEST", 5)
    monkeypatch.setattr(sampler_module, "NUM_BEST", 4)
    front = [[0.9, 9.0], [0.8, 4.0], [0.5, 1.0]]
    beaten = [[0.4, 10.0 + k] for k in range(30)]
    memory, study_id = memory_of(front + beaten, ["maximize", "minimize"])
    assert set(kept(memory, study_id)) >= {0, 1, 2}
    assert len(kept(memory, study_id)) == 4 + 5


def test_a_gaussian_process_sees_the_limit_in_trials_never_trained() -> None:
    memory, study_id = memory_of([[0.9, 9.0], [0.5, 1.0]], ["maximize", "minimize"])
    study = optuna.load_study(study_name=memory.get_study_name_from_id(study_id), storage=memory)
    for trial in (
        optuna.trial.create_trial(state=Optuna.PRUNED, constraints={"a": 0.5}),
        optuna.trial.create_trial(state=Optuna.PRUNED, constraints={"a": -0.5}),
        optuna.trial.create_trial(state=Optuna.FAIL),
    ):
        study.add_trial(trial)
    shown = memory.get_all_trials(study_id, states=(Optuna.COMPLETE, Optuna.RUNNING))
    assert [(t.number, t.values) for t in shown][2:] == [(2, [0.5, 9.0])], "the worst of each"
    assert is_infeasible(shown[2])
    assert memory.get_all_trials(study_id)[2].state is Optuna.PRUNED, "only for show"


def test_goals_without_a_value_are_told_as_failed() -> None:
    goals = trade_off_study().goals
    epochs = {1: {"val_accuracy": 0.5}}
    assert told_of(goals, TrialState.COMPLETE, epochs, {}).state is Optuna.FAIL
    single = Goals(goals.objectives[:1])
    told = told_of(single, TrialState.COMPLETE, epochs, {})
    assert (told.state, told.values, told.by_epoch) == (Optuna.COMPLETE, [0.5], {1: 0.5})
    stopped = told_of(goals, TrialState.PRUNED, epochs, {"latency_ms": 2.0}, is_gaussian=True)
    assert (stopped.state, stopped.values) == (Optuna.COMPLETE, [0.5, 2.0])
