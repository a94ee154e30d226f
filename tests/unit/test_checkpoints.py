"""Where the checkpoints of running trials are, and which of them stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from search.records import TrialState
from search.results import CHECKPOINT
from search.tune.checkpoints import Checkpoints
from search.tune.ledger import Ledger


def save(value: int, folder: Path) -> None:
    torch.save({"epoch": value, "model": torch.zeros(1000)}, folder / CHECKPOINT)


def epoch_of(checkpoints: Checkpoints, number: int) -> tuple[int | None, bool]:
    with checkpoints.newest(number) as (file, is_damaged):
        return torch.load(file, weights_only=True)["epoch"] if file else None, is_damaged


def test_the_newest_replaces_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "search")
    assert epoch_of(checkpoints, 7) == (None, False)
    for value in (1, 2):
        checkpoints.keep(7, lambda folder, value=value: save(value, folder))  # type: ignore[misc]
    assert epoch_of(checkpoints, 7) == (2, False)
    assert [file.name for file in (tmp_path / "search" / "7").iterdir()] == [CHECKPOINT]


def test_one_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)

    def fail(folder: Path) -> None:
        (folder / CHECKPOINT).write_bytes(b"half")
        raise OSError("No space left on device")

    checkpoints.keep(0, lambda folder: save(1, folder))
    with pytest.raises(OSError, match="No space"):
        checkpoints.keep(0, fail)
    assert epoch_of(checkpoints, 0) == (1, False)
    assert len(list((tmp_path / "0").iterdir())) == 1


def test_a_damaged_one_is_told_and_not_read(tmp_path: Path) -> None:
    checkpoints, file = Checkpoints(tmp_path), tmp_path / "3" / CHECKPOINT
    checkpoints.keep(3, lambda folder: save(1, folder))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert epoch_of(checkpoints, 3) == (None, True)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    file.write_bytes(bytes(flipped))
    assert epoch_of(checkpoints, 3) == (None, True), "a checksum tells"


def test_those_that_no_trial_goes_on_from_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    for number in (3, 4, 5):
        checkpoints.keep(number, lambda folder: save(1, folder))
    (tmp_path / "3" / "tmp-of-a-killed-worker").mkdir()
    (tmp_path / "3" / ".checkpoint.pt.1-2").write_bytes(b"half")
    (tmp_path / "5" / "weights.safetensors").write_bytes(b"a model to be collected")
    for number, state in ((3, TrialState.INTERRUPTED), (5, TrialState.COMPLETE)):
        ledger.start(number, {}, 0)
        ledger.end(number, state)
    checkpoints.remove_leftovers(ledger.trials)
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.glob("*/*"))
    assert left == ["3/checkpoint.pt", "5/weights.safetensors"]
    checkpoints.remove(3)
    checkpoints.remove(99)
    assert not (tmp_path / "3").exists()


def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says `unexpected pos 64 vs 0`."""

    def write(folder: Path) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        Checkpoints(tmp_path).keep(3, write)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(OSError, match="no space left on device"):
        Checkpoints(tmp_path).keep(3, write)
    assert list((tmp_path / "3").iterdir()) == []
