"""TensorBoard's event files: what a reader finds in them, whatever the study went through."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from search.records import TrialState
from search.tensorboard import TensorBoard
from search.tune.ledger import Ledger

PARAMS = {"backbone": "small_cnn", "lr": 0.01, "width": 16, "pretrained": True}


def epoch_result(epoch: int, value: float) -> dict[str, Any]:
    return {
        "epoch": epoch, "train_loss": 1 / epoch, "val_loss": None, "val_accuracy": value,
        "lr": 0.01, "seconds": 2.0, "node": "n", "worker": "1",
    }  # fmt: skip


class Run:
    """A ledger with its event files beside it, as the search drives them."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "events.jsonl", "val_accuracy", "maximize")
        self.files = TensorBoard(folder / "tensorboard")

    def start(self, number: int) -> None:
        self.ledger.start(number, PARAMS, seed=1)
        self.files.on_change(self.ledger, "start", number)

    def epoch(self, number: int, epoch: int, value: float) -> None:
        self.ledger.epoch(number, epoch_result(epoch, value))
        self.files.on_change(self.ledger, "epoch", number)

    def end(self, number: int, state: TrialState) -> None:
        self.ledger.end(number, state)
        self.files.on_change(self.ledger, "end", number)


def events(folder: Path) -> list[Any]:
    """Read the one event file of a trial with tensorboardX's own messages and checksums."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    (file,) = folder.iterdir()
    data, found = file.read_bytes(), []
    while data:
        size, check = struct.unpack("<QI", data[:12])
        body, tail = data[12 : 12 + size], data[12 + size : 16 + size]
        assert check == masked_crc32c(data[:8])
        assert struct.unpack("<I", tail)[0] == masked_crc32c(body)
        found.append(Event.FromString(body))
        data = data[16 + size :]
    return found


def scalars(found: list[Any]) -> dict[str, list[tuple[int, float]]]:
    rows: dict[str, list[tuple[int, float]]] = {}
    for event in found:
        for value in event.summary.value:
            if not value.tag.startswith("_hparams_/"):
                rows.setdefault(value.tag, []).append(
                    (event.step, pytest.approx(value.simple_value))
                )
    return rows


def hparams(found: list[Any]) -> dict[str, Any]:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    return {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in found
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }


def test_a_trial_becomes_scalars_and_hyperparameters(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(3)
    for epoch, value in enumerate((0.5, 0.8, 0.7), 1):
        run.epoch(3, epoch, value)
    run.end(3, TrialState.PRUNED)
    found = events(tmp_path / "tensorboard" / "3")
    rows = scalars(found)
    assert rows["val_accuracy"] == [(1, 0.5), (2, 0.8), (3, 0.7)]
    assert rows["best_val_accuracy"] == [(1, 0.5), (2, 0.8), (3, 0.8)]
    assert set(rows) == {"train_loss", "val_accuracy", "best_val_accuracy", "lr", "seconds"}
    told = hparams(found)
    start = told["_hparams_/session_start_info"].session_start_info
    assert start.hparams["backbone"].string_value == "small_cnn"
    assert start.hparams["width"].number_value == 16
    assert start.hparams["pretrained"].bool_value is True
    assert told["_hparams_/session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_going_on_repeats_no_epoch(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.start(0)
    first.epoch(0, 1, 0.3)
    first.epoch(0, 2, 0.4)  # and here it was killed: no end, nothing closed

    second = Run(tmp_path)
    second.start(0)
    second.epoch(0, 2, 0.5)  # again, from the checkpoint of epoch 1
    second.epoch(0, 3, 0.6)
    second.end(0, TrialState.COMPLETE)
    rows = scalars(events(tmp_path / "tensorboard" / "0"))
    assert rows["val_accuracy"] == [(1, 0.3), (2, 0.5), (3, 0.6)]


def test_a_worker_that_dies_before_its_first_epoch_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(0)
    run.files.on_change(run.ledger, "retry", 0)
    run.epoch(0, 1, 0.3)
    run.end(0, TrialState.COMPLETE)
    rows = scalars(events(tmp_path / "tensorboard" / "0"))
    assert rows["val_accuracy"] == [(1, 0.3)]


def test_trials_that_ended_before_it_was_asked_for_are_written_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number, state in enumerate((TrialState.COMPLETE, TrialState.FAILED)):
        run.ledger.start(number, PARAMS, seed=1)
        run.ledger.epoch(number, epoch_result(1, 0.5))
        run.ledger.end(number, state)
    run.ledger.start(2, PARAMS, seed=1)
    run.files.catch_up(run.ledger)
    written = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert written == ["0", "1"]
    failed = hparams(events(tmp_path / "tensorboard" / "1"))
    assert failed["_hparams_/session_end_info"].session_end_info.status == 2  # STATUS_FAILURE
    (file,) = (tmp_path / "tensorboard" / "0").iterdir()
    run.files.catch_up(run.ledger)
    assert list((tmp_path / "tensorboard" / "0").iterdir()) == [file]
    os.utime(file, (0, 0))  # as if the last of it had been lost
    run.files.catch_up(run.ledger)
    assert list((tmp_path / "tensorboard" / "0").iterdir()) != [file]
