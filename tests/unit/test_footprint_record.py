"""Footprints on their way from a worker into the ledger, and the request that carries them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.goals import architecture_of
from search.records import TrialState
from search.tune.checkpoints import Checkpoints
from search.tune.engine import state_of
from search.tune.ledger import Ledger
from search.tune.recorder import Recorder
from search.tune.worker import Request, _faults, _measure_footprint
from tests.trade_offs import open_ledger, trade_off_study
from trainables.parameters import default_params

COST = {"latency_ms": 3.0, "num_parameters": 5000.0, "model_mb": 0.02}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(trade_off_study(), tmp_path / "events.jsonl")


def recorder_over(ledger: Ledger, seen: list[str]) -> Recorder:
    def ended(trial: Any, failed: bool) -> TrialState:
        return state_of(
            ledger, SimpleNamespace(pruned=()), trial_id="", number=trial.config["number"],  # type: ignore[arg-type]
            stop_epoch=2, result=trial.last_result, failed=failed,
        )  # fmt: skip

    return Recorder(
        ledger,
        ended,
        Checkpoints(ledger.path.parent / "checkpoints"),
        ledger.path.parent,
        lambda _, event, n: seen.append(event),
        print,
    )


def tune_trial(number: int, known: dict[str, float] | None = None) -> Any:
    config = {
        "number": number, "searched": {}, "seed": 0, "architecture": "net", "keep_model": False,
        "footprint": known or {}, "memory_bytes": None,
    }  # fmt: skip
    return SimpleNamespace(
        trial_id=str(number), config=config, last_result={}, temporary_state=None
    )


def run(recorder: Recorder, trial: Any, *results: dict[str, Any]) -> None:
    recorder.on_trial_start(0, [], trial)
    for result in results:
        recorder.on_trial_result(0, [], trial, result)
        trial.last_result = result
    recorder.on_trial_complete(0, [], trial)
    assert recorder.fault is None


def epoch(number: int, **more: Any) -> dict[str, Any]:
    return {"epoch": number, "val_accuracy": 0.5, "val_loss": 1.0} | more


def test_the_first_report_brings_the_footprint_and_the_first_of_two_stands(ledger: Ledger) -> None:
    seen: list[str] = []
    recorder = recorder_over(ledger, seen)
    run(recorder, tune_trial(0), epoch(1, **COST), epoch(2))
    run(recorder, tune_trial(1), epoch(1, **COST | {"latency_ms": 9.0}), epoch(2))
    run(recorder, tune_trial(2, known=COST), epoch(1), epoch(2))
    assert [t.footprint for t in ledger.trials.values()] == [COST] * 3
    assert [t.state for t in ledger.trials.values()] == [TrialState.COMPLETE] * 3
    assert set(seen) == {"start", "epoch", "end"}, "who shows progress is not told"
    again = open_ledger(trade_off_study(), ledger.path)
    assert again.footprints == {"net": COST}
    assert again.trial_records() == ledger.trial_records()


def test_a_trial_that_ends_by_its_measurement_keeps_it(ledger: Ledger) -> None:
    recorder = recorder_over(ledger, [])
    run(recorder, tune_trial(0), epoch(1, **COST), epoch(2))
    own = COST | {"num_parameters": 90e3}
    reason = "num_parameters must be <= 30000, has 90000"
    run(recorder, tune_trial(1), own | {"infeasible": reason})
    ended = ledger.trials[1]
    assert (ended.state, ended.error, ended.footprint) == (TrialState.INFEASIBLE, reason, own)
    assert ledger.footprints["net"] == COST


def test_a_failure_is_no_broken_constraint(ledger: Ledger) -> None:
    run(recorder_over(ledger, []), tune_trial(0), {"failure": "ValueError: no"} | COST)
    assert (ledger.trials[0].state, ledger.trials[0].error) == ("failed", "ValueError: no")


def request(**more: Any) -> Request:
    params = default_params("classifier") | {"size_px": 32, "depth": 2, "width": 8}
    shared = {"number": 0, "params": params, "searched": {}, "seed": 0, "max_epochs": 2}
    rest = {"trainable": "classifier", "stop_epoch": 2, "weights": None, "num_threads": 1}
    asked = {"architecture": architecture_of(params)}
    return Request(**shared | rest | asked | more)  # type: ignore[arg-type]


def test_a_worker_measures_what_is_asked_for_and_not_known() -> None:
    measured = _measure_footprint(request(), 3, "cpu")
    assert measured["num_parameters"] == 1467
    assert _measure_footprint(request(footprint=COST), 3, "cpu") == {}
    assert _measure_footprint(request(architecture=""), 3, "cpu") == {}, "confirm and retrain"
    assert _measure_footprint(request(trainable="noop"), 3, "cpu") == {}, "a benchmark's"


def test_a_worker_judges_by_what_is_known_first() -> None:
    limits = (("num_parameters", "<=", 1000.0), ("val_accuracy", ">=", 0.9))
    asked = request(constraints=limits)
    assert Request(**asdict(asked)) == asked
    assert _faults(asked, COST) == "num_parameters must be <= 1000, has 5000"
    known = COST | {"num_parameters": 10.0}
    assert _faults(request(constraints=limits, footprint=known), COST) == ""
