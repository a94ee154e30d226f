"""The log of trials: what is appended is what a later process reads, cut lines and all."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from search.errors import ResultsError
from search.records import TrialState
from search.tune.ledger import Ledger


def epoch(number: int, accuracy: float) -> dict[str, object]:
    return {
        "epoch": number, "train_loss": 1.0, "val_loss": 0.9, "val_accuracy": accuracy,
        "val_balanced_accuracy": accuracy, "val_macro_f1": accuracy, "lr": 0.1, "seconds": 2.0,
        "images_per_second": 50.0, "node": "here", "worker": "7",
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study" / "events.jsonl"


def open_ledger(path: Path, direction: str = "maximize") -> Ledger:
    return Ledger(path, "val_accuracy", direction)


def test_a_later_process_reads_what_was_recorded(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {"lr": 0.1, "odd": "a\nb'"}, seed=5)
    for number, accuracy in ((1, 0.5), (2, 0.7), (3, 0.6)):
        first.epoch(0, epoch(number, accuracy))
    first.end(0, TrialState.COMPLETE)
    second = open_ledger(path)
    assert second.trial_records() == first.trial_records()
    assert second.epoch_records() == first.epoch_records()
    record = second.trial_records()[0]
    assert (record.best_value, record.best_epoch, record.last_value) == (0.7, 2, 0.6)
    assert (record.params["odd"], record.epochs_run, record.node) == ("a\nb'", 3, "here")


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_equal_epochs_the_one_of_least_loss_is_best(path: Path, direction: str) -> None:
    ledger = open_ledger(path, direction)
    ledger.start(0, {}, seed=0)
    for number, loss in ((1, 0.9), (2, 0.7), (3, 0.8), (4, 0.7)):
        ledger.epoch(0, epoch(number, 0.5) | {"val_loss": loss})
    assert ledger.best(ledger.trials[0]) == (2, 0.5)
    assert ledger.trial_records()[0].best_loss == 0.7


def test_a_trial_that_never_ended_was_interrupted(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    first.epoch(0, epoch(1, 0.5))
    second = open_ledger(path)
    assert second.trials[0].state is TrialState.INTERRUPTED
    assert second.finished() == []


def test_a_line_cut_short_is_dropped_and_appending_goes_on(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    first.epoch(0, epoch(1, 0.5))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"epoch","number":0,"epo')
    second = open_ledger(path)
    second.end(0, TrialState.PRUNED)
    third = open_ledger(path)
    assert third.trials[0].state is TrialState.PRUNED
    assert path.read_bytes().startswith(whole)


def test_an_event_that_the_disk_refuses_leaves_no_half_line(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with pytest.raises(ResultsError, match="must be writable, got File too large"):
            first.epoch(0, epoch(1, 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole
    assert first.trials[0].epochs == {}, "what is not on disk did not happen"
    first.epoch(0, epoch(1, 0.5))
    assert open_ledger(path).trials[0].values("val_accuracy") == {1: 0.5}


@pytest.mark.parametrize("days", [-1, 1])
def test_a_jump_of_the_clock_takes_no_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + days * 86_400)
    first.end(0, TrialState.COMPLETE)
    assert 0 <= first.trial_records()[0].seconds < 60
    second = open_ledger(path)
    second.start(1, {}, seed=1)
    second.end(1, TrialState.COMPLETE)
    records = open_ledger(path).trial_records()
    assert [record.started_s >= 0 for record in records] == [True, True]
    assert max(record.seconds for record in records) < 60


def test_a_retry_is_counted_and_its_reason_gone_at_a_good_end(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.start(0, {}, seed=0)
    ledger.retry(0, "its worker was killed")
    assert ledger.trials[0].error == "its worker was killed"
    ledger.end(0, TrialState.COMPLETE)
    record = open_ledger(path).trial_records()[0]
    assert (record.num_retries, record.error) == (1, "")


@pytest.mark.parametrize("line", ['{"event":"epoch","number":3}', "[]", '{"event":"end"}'])
def test_an_event_that_cannot_be_is_damage(path: Path, line: str) -> None:
    open_ledger(path).start(0, {}, seed=0)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ResultsError, match=r"events\.jsonl:2: must be one event a line"):
        open_ledger(path)


def test_damage_in_the_middle_is_an_error_that_names_the_line(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    first.end(0, TrialState.COMPLETE)
    lines = path.read_text().splitlines()
    path.write_text("garbage\n" + "\n".join(lines) + "\n")
    with pytest.raises(ResultsError, match=r"events\.jsonl:1: must be"):
        open_ledger(path)


def test_a_resumed_trial_overrules_its_earlier_epochs(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.start(0, {}, seed=0)
    for number, accuracy in ((1, 0.1), (2, 0.2), (3, 0.9)):
        ledger.epoch(0, epoch(number, accuracy))
    ledger.end(0, TrialState.INTERRUPTED)
    ledger.start(0, {}, seed=0)  # went on from the checkpoint of epoch 1
    ledger.epoch(0, epoch(2, 0.3))
    assert ledger.trials[0].values("val_accuracy") == {1: 0.1, 2: 0.3}
    assert len(ledger.trial_records()) == 1


def test_the_best_epoch_follows_the_direction_and_the_earliest_of_equals(path: Path) -> None:
    ledger = open_ledger(path, "minimize")
    ledger.start(0, {}, seed=0)
    for number, value in ((1, 0.4), (2, 0.2), (3, 0.2)):
        ledger.epoch(0, epoch(number, value))
    assert ledger.best(ledger.trials[0]) == (2, 0.2)


def test_closing_names_what_still_runs(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.start(0, {}, seed=0)
    ledger.start(1, {}, seed=1)
    ledger.end(0, TrialState.COMPLETE)
    ledger.close_open_trials()
    assert [t.state for t in ledger.trial_records()] == ["complete", "interrupted"]
