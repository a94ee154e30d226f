"""The log of trials: what is appended is what a later process reads, cut lines and all."""

from __future__ import annotations

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


def test_a_trial_that_never_ended_was_interrupted(path: Path) -> None:
    first = open_ledger(path)
    first.start(0, {}, seed=0)
    first.epoch(0, epoch(1, 0.5))
    first.checkpoint(0, "somewhere")
    second = open_ledger(path)
    assert second.trials[0].state is TrialState.INTERRUPTED
    assert second.trials[0].checkpoint == "somewhere"
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
