"""The machine's faults, told apart from a configuration's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.tune.experiment import Trial

from search.errors import DatasetError
from search.records import TrialState
from search.tune.checkpoints import Checkpoints
from search.tune.failures import Failure, read_failure, refusal
from search.tune.ledger import Ledger
from search.tune.recorder import MAX_NODES_LOST, NUM_TROUBLES_TO_GIVE_UP, Recorder
from search.tune.worker import is_fault_of_machine
from trainables.contract import NonFiniteLossError

MEMORY = 1000


KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tpid: 14454\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
)
LOW = (
    "The actor died unexpectedly before finishing this task.\nTask was killed due to the node "
    "running low on memory."
)
LOST = "The actor died because its node has died. Node Id: 91cb058f"
FULL = """ray::ImplicitFunc.train() (pid=7, ip=192.0.2.2)
    save(path)
    ^^^^^^^^^^
OSError: [Errno 28] No space left on device
"""


class FakeTrial:
    """What Tune keeps of a trial whose attempts ended with an error."""

    def __init__(self, folder: Path, number: int, error: str, num_failures: int = 1) -> None:
        self.config = {
            "number": number, "searched": {}, "seed": 0, "memory_bytes": MEMORY,
            "architecture": "", "footprint": {},
            "keep_model": False,
        }  # fmt: skip
        self.trial_id = str(number)
        self.last_result: dict[str, Any] = {}
        self.num_failures = num_failures
        self.error_file = str(folder / f"{number}.txt")
        Path(self.error_file).write_text(f"Failure # 1 (occurred at noon)\n{error}\n")


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return make_recorder(tmp_path, [])


def make_recorder(folder: Path, seen: list[tuple[str, int]]) -> Recorder:
    ledger = Ledger(folder / "events.jsonl", "val_accuracy", "maximize")

    def on_change(ledger: Ledger, event: str, number: int) -> None:
        seen.append((event, number))

    def ended(trial: Trial, failed: bool) -> TrialState:
        return TrialState.FAILED if failed else TrialState.COMPLETE

    return Recorder(
        ledger, ended, Checkpoints(folder / "checkpoints"), folder / "logs", on_change, print
    )


@pytest.mark.parametrize(
    ("error", "reason", "worker_died"),
    [
        (KILLED, "its worker was killed (out of memory?) or crashed", True),
        (LOW, "Ray ended its worker: the machine was nearly out of memory", True),
        (LOST, "the node of its worker was lost", False),
        (FULL, "OSError: [Errno 28] No space left on device", False),
    ],
)
def test_what_ended_the_last_attempt(
    tmp_path: Path, error: str, reason: str, worker_died: bool
) -> None:
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1 (at noon)\nValueError: old\nFailure # 2 (at one)\n{error}\n")
    assert read_failure(str(file)) == Failure(reason, worker_died, node_lost=error == LOST)
    assert read_failure(None) == Failure("no message", False)


@pytest.mark.parametrize(
    ("error", "machine"),
    [
        (OSError(5, "Input/output error"), True),
        (DatasetError("store: damaged"), True),
        (ModuleNotFoundError("No module named 'timm'"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (NonFiniteLossError("loss is nan"), False),
        (ValueError("width must be even"), False),
        (MemoryError(), False),
    ],
)
def test_whose_fault_an_exception_is(error: Exception, machine: bool) -> None:
    assert is_fault_of_machine(error) is machine


def test_a_trial_whose_workers_died_has_failed_and_says_why(
    tmp_path: Path, recorder: Recorder
) -> None:
    trial: Any = FakeTrial(tmp_path, 3, KILLED)
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_recover(0, [], trial)
    assert trial.config["memory_bytes"] == MEMORY, "once may be an accident"
    trial.num_failures = 2
    recorder.on_trial_recover(0, [], trial)
    assert trial.config["memory_bytes"] == MEMORY / 2
    trial.num_failures = 3
    recorder.on_trial_error(0, [], trial)
    record = recorder._ledger.trial_records()[0]
    assert (record.state, record.num_retries) == ("failed", 2)
    assert record.error == "its worker was killed (out of memory?) or crashed, 3 times"
    assert (tmp_path / "logs" / "trial-3.txt").exists()


def test_that_its_node_was_lost_is_held_against_no_trial_for_a_long_time(
    tmp_path: Path, recorder: Recorder
) -> None:
    trial: Any = FakeTrial(tmp_path, 3, LOST)
    trial.run_metadata = SimpleNamespace(num_failures=0)
    recorder.on_trial_start(0, [], trial)
    for _ in range(MAX_NODES_LOST + 2):
        trial.run_metadata.num_failures += 1  # as Tune counts, before it asks whether to retry
        recorder.on_trial_recover(0, [], trial)
    assert trial.run_metadata.num_failures == 2, "only the last two count"
    assert recorder._ledger.trials[3].num_retries == MAX_NODES_LOST + 2


def test_a_trial_whose_node_was_lost_before_it_began_is_no_fault(
    tmp_path: Path, recorder: Recorder
) -> None:
    """A worker is handed over between trials, and may die in that moment."""
    trial: Any = FakeTrial(tmp_path, 3, LOST)
    trial.run_metadata = SimpleNamespace(num_failures=1)
    recorder.on_trial_recover(0, [], trial)
    assert recorder.fault is None
    assert trial.run_metadata.num_failures == 0
    recorder.on_trial_start(0, [], trial)
    assert recorder._ledger.trials[3].num_retries == 0


REFUSED_BY = "91cb058f" * 7


@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_a_node_without_room_is_named_and_held_against_no_trial_that_can_go_elsewhere(
    tmp_path: Path, is_elsewhere: bool
) -> None:
    told: list[tuple[str, str]] = []
    recorder = make_recorder(tmp_path, [])

    def refuse(node_id: str, reason: str) -> bool:
        told.append((node_id, reason))
        return is_elsewhere

    recorder._refuse = refuse
    why = OSError("/root/.cache: needs 800 MB of disk,\nhas 3 MB")
    error = (
        f"    raise OSError(refusal(node, error)) from error\nOSError: {refusal(REFUSED_BY, why)}"
    )
    trial: Any = FakeTrial(tmp_path, 3, error)
    trial.run_metadata = SimpleNamespace(num_failures=1)
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_recover(0, [], trial)
    assert told == [(REFUSED_BY, "/root/.cache: needs 800 MB of disk, has 3 MB")]
    assert trial.run_metadata.num_failures == (0 if is_elsewhere else 1)
    assert trial.config["memory_bytes"] == MEMORY


def test_a_trial_that_the_disk_stopped_can_go_on_and_three_in_a_row_are_enough(
    tmp_path: Path, recorder: Recorder
) -> None:
    for number in range(NUM_TROUBLES_TO_GIVE_UP):
        assert recorder.trouble == ""
        trial: Any = FakeTrial(tmp_path, number, FULL, 3)
        recorder.on_trial_start(0, [], trial)
        recorder.on_trial_error(0, [], trial)
    assert "No space left" in recorder.trouble
    assert {r.state for r in recorder._ledger.trial_records()} == {"interrupted"}


def test_a_listener_that_fails_is_no_fault_of_a_trial(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    recorder = make_recorder(tmp_path, seen)
    trial: Any = FakeTrial(tmp_path, 0, "")
    recorder.on_trial_start(0, [], trial)
    (tmp_path / "events.jsonl").unlink()
    (tmp_path / "events.jsonl").mkdir()
    recorder.on_trial_complete(0, [], trial)
    assert "must be writable" in str(recorder.fault)
    assert seen == [("start", 0)]
