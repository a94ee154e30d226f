"""Beginning with another study's trials: what fits, what counts, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as Optuna

from search.config import StudyConfig, load_study
from search.errors import ResultsError
from search.identity import write_study
from search.records import TrialState, write_json
from search.results import ResultsFolder
from search.tune.ledger import Ledger
from search.tune.optuna_search import StudySearch
from search.tune.sampler import make_sampler
from search.tune.warm_start import check_warm_start, fit_point, take_warm_start

SPACE = """
name: {name}
dataset: {{root: photos, size_px: 32}}
budget: {{num_trials: 8, max_epochs: 3}}
space:
  backbone: {{choice: [small_cnn, separable_cnn]}}
  lr: {{float: [1.0e-3, 1.0e-1], log: true}}
  optimizer: {{choice: [adamw, sgd]}}
  momentum: {{float: [0.5, 0.95], when: {{optimizer: sgd}}}}
  dropout: {dropout}
"""
ADAMW: dict[str, Any] = {
    "backbone": "small_cnn", "lr": 0.01, "optimizer": "adamw",
    "dropout": 0.2,
}  # fmt: skip
SGD = ADAMW | {"optimizer": "sgd", "momentum": 0.9}


def study(folder: Path, name: str, *overrides: str, dropout: str = "0.2") -> StudyConfig:
    path = folder / f"{name}.yaml"
    path.write_text(SPACE.format(name=name, dropout=dropout), encoding="utf-8")
    return load_study(path, overrides)


def results_of(folder: Path, config: StudyConfig) -> ResultsFolder:
    """Write the folder of a study that has looked at its images."""
    results = ResultsFolder(folder / "results" / config.name)
    write_study(config, results)
    results.mark_done("images", "the same images", 0.0)
    return results


@pytest.fixture
def other(tmp_path: Path) -> ResultsFolder:
    """A study with four trials that ended well, one that failed, one that runs."""
    config = study(tmp_path, "other")
    results = results_of(tmp_path, config)
    ledger = Ledger(results.events, "val_accuracy", "maximize")
    rows: list[tuple[dict[str, Any], list[float], TrialState | None]] = [
        (ADAMW, [0.5, 0.6, 0.7], TrialState.COMPLETE),
        (SGD, [0.5, 0.8, 0.9], TrialState.COMPLETE),
        (SGD | {"backbone": "separable_cnn"}, [0.1], TrialState.PRUNED),
        (ADAMW | {"lr": 0.05}, [0.5, 0.95, 0.9], TrialState.COMPLETE),
        (ADAMW | {"lr": 0.09}, [], TrialState.FAILED),
        (ADAMW | {"lr": 0.002}, [0.3], None),
    ]
    for number, (params, values, state) in enumerate(rows):
        ledger.start(number, params, seed=number)
        for epoch, value in enumerate(values, 1):
            ledger.epoch(number, {"epoch": epoch, "val_accuracy": value, "seconds": 1.0})
        if state:
            ledger.end(number, state)
    return results


def fit(config: StudyConfig, params: dict[str, Any]) -> tuple[dict[str, Any], str]:
    return fit_point(
        config, params, {"trainable": "classifier", **config.recipe_of(params), **params}
    )


def test_a_trial_fits_where_it_would_be_the_same_training(tmp_path: Path) -> None:
    same = study(tmp_path, "same")
    searched = {"backbone": "small_cnn", "lr": 0.01, "optimizer": "adamw"}
    assert fit(same, ADAMW) == (searched, "")
    wider = study(tmp_path, "wider", dropout="{float: [0.0, 0.5]}")
    assert fit(wider, ADAMW) == (searched | {"dropout": 0.2}, ""), "fixed there, searched here"


def test_a_trial_outside_the_space_is_told_why(tmp_path: Path) -> None:
    narrow = study(tmp_path, "narrow", "space.lr.float=[0.02, 0.1]")
    assert fit(narrow, ADAMW)[1] == "lr is outside this space"
    assert fit(study(tmp_path, "fixed", dropout="0.3"), ADAMW)[1] == "dropout is 0.3 here"
    path = tmp_path / "without.yaml"
    text = SPACE.format(name="without", dropout="0.2").replace("  dropout: 0.2\n", "")
    path.write_text(text, encoding="utf-8")
    assert fit(load_study(path), ADAMW)[1] == "dropout is 0.1 here", "its default has an effect too"


def test_what_is_taken_is_told_and_kept(tmp_path: Path, other: ResultsFolder) -> None:
    config = study(tmp_path, "this", "space.backbone=small_cnn")
    results = results_of(tmp_path, config)
    taken = take_warm_start(config, results, other.root)
    assert taken is not None
    assert [trial.number for trial in taken.trials] == [3, 1, 0], "best first"
    assert taken.text(config) == (
        f"3 of 6 trials of {other.root} fit (skipped: backbone is small_cnn here: 1, failed: 1, "
        "unfinished: 1); its best 3 come first"
    )
    other.events.unlink()
    assert take_warm_start(config, results, None) == taken, "a run that goes on needs it no more"


def test_past_trials_teach_the_sampler_but_have_no_number(
    tmp_path: Path, other: ResultsFolder
) -> None:
    config = study(tmp_path, "this")
    results = results_of(tmp_path, config)
    taken = take_warm_start(config, results, other.root)
    assert taken is not None
    ledger = Ledger(results.events, "val_accuracy", "maximize")
    search = StudySearch(
        config.search_space,
        lambda number, params: {"number": number, "params": params},
        lambda trial_id, number, result, error: TrialState.COMPLETE,
        ledger,
        make_sampler("tpe", seed=0, num_startup=4),
        config.start_points + taken.start_points(config),
        taken.frozen_trials(config.search_space, config.goals),
    )
    known = search._study.trials
    states = [Optuna.COMPLETE, Optuna.COMPLETE, Optuna.PRUNED, Optuna.COMPLETE]
    assert [trial.state for trial in known] == states
    assert [trial.value for trial in known if trial.value] == [0.7, 0.9, 0.95]
    assert known[2].intermediate_values == {1: 0.1}
    asked = [search.suggest(name) for name in "abcde"]
    assert [config["number"] for config in asked] == [0, 1, 2, 3, 4]
    assert [config["params"]["lr"] for config in asked[1:4]] == [0.05, 0.01, 0.01]
    assert all(isinstance(trial, optuna.trial.FrozenTrial) for trial in known)


@pytest.mark.parametrize("override", ["dataset.size_px=64", "budget.max_epochs=9", "seed=5"])
def test_values_of_another_scale_do_not_count(
    tmp_path: Path, other: ResultsFolder, override: str
) -> None:
    config = study(tmp_path, "this", override)
    taken = take_warm_start(config, results_of(tmp_path, config), other.root)
    assert taken is not None
    assert taken.frozen_trials(config.search_space, config.goals) == []
    assert len(taken.start_points(config)) == 3
    name, value = override.split("=")
    assert f"its values do not count, since {name} is {value}, not" in taken.text(config)


def test_values_from_other_images_do_not_count(tmp_path: Path, other: ResultsFolder) -> None:
    config = study(tmp_path, "this")
    results = results_of(tmp_path, config)
    results.mark_done("images", "other images", 0.0)
    taken = take_warm_start(config, results, other.root)
    assert taken is not None
    assert taken.frozen_trials(config.search_space, config.goals) == []
    assert "the images are others here" in taken.text(config)


def test_what_cannot_be_begun_with_is_refused(tmp_path: Path, other: ResultsFolder) -> None:
    config = study(tmp_path, "this")
    results = results_of(tmp_path, config)

    def refusal(config: StudyConfig, folder: Path) -> str:
        with pytest.raises(ResultsError) as caught:
            check_warm_start(config, results, folder)
        assert caught.value.exit_code == 2
        return str(caught.value)

    assert "must be the results folder of a study" in refusal(config, tmp_path / "nowhere")
    by_loss = study(tmp_path, "loss", "objective.metric=val_loss")
    assert "must have the objective val_loss, got val_accuracy" in refusal(by_loss, other.root)
    elsewhere = study(tmp_path, "elsewhere", "space.lr.float=[1.0e-6, 1.0e-5]")
    assert "lr is outside this space: 4" in refusal(elsewhere, other.root)
    assert check_warm_start(config, results, other.root).num_trials == 6
    take_warm_start(config, results, other.root)
    check_warm_start(config, results, other.root)
    assert "began with" in refusal(config, tmp_path / "nowhere")
    results.warm_start.unlink()
    Ledger(results.events, "val_accuracy", "maximize").start(0, ADAMW, 0)
    assert "must be given when a study begins" in refusal(config, other.root)


TRADE_OFF = "objective=[{metric: val_accuracy}, {metric: num_parameters}]"
LIMIT = "constraints={num_parameters: <= 1000}"


def measure(results: ResultsFolder, processor: str = "the same") -> None:
    """Add footprints to the other study's ledger: trial 0 is small, the others are large."""
    ledger = Ledger(results.events, "val_accuracy", "maximize")
    for number in list(ledger.trials):
        count = 500.0 if number == 0 else 5000.0
        cost = {"latency_ms": 1.0, "num_parameters": count, "model_mb": count / 1e6}
        ledger.footprint(number, f"net {count}", cost)
    write_json(results.environment, {"hardware": {"processor": processor}})


def test_a_trade_off_learns_from_a_study_of_one_objective(
    tmp_path: Path, other: ResultsFolder
) -> None:
    measure(other)
    config = study(tmp_path, "this", TRADE_OFF, LIMIT)
    results = results_of(tmp_path, config)
    write_json(results.environment, {"hardware": {"processor": "the same"}})
    taken = take_warm_start(config, results, other.root)
    assert taken is not None
    assert taken.differences == ()
    told = taken.frozen_trials(config.search_space, config.goals)
    assert [t.values for t in told] == [[0.7, 500.0], [0.9, 5000.0], None, [0.95, 5000.0]]
    assert [next(iter(t.constraints.values())) for t in told] == [-0.5, 4.0, 4.0, 4.0]
    (only,) = taken.start_points(config)
    assert only["lr"] == ADAMW["lr"], "the best of those that keep the limit"


def test_what_was_not_measured_there_does_not_count(tmp_path: Path, other: ResultsFolder) -> None:
    config = study(tmp_path, "this", TRADE_OFF)
    taken = take_warm_start(config, results_of(tmp_path, config), other.root)
    assert taken is not None
    assert taken.differences == ("num_parameters has to be measured anew",)
    assert taken.frozen_trials(config.search_space, config.goals) == []
    assert len(taken.start_points(config)) == 3, "where the search starts"


def test_latency_is_another_one_on_another_machine(tmp_path: Path, other: ResultsFolder) -> None:
    measure(other, processor="another")
    config = study(tmp_path, "this", "constraints={latency_ms: <= 10}")
    results = results_of(tmp_path, config)
    write_json(results.environment, {"hardware": {"processor": "mine"}})
    taken = take_warm_start(config, results, other.root)
    assert taken is not None
    assert taken.differences == ("latency_ms has to be measured anew",)
