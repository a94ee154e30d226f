"""TensorBoard's view of a study: an event file a trial, written from the ledger.

A trial's file is begun whenever it starts or goes on, with all that the ledger knows of it, and
grows with it; the file of an earlier attempt is emptied. So a reader never finds an epoch twice.
"""

from __future__ import annotations

import math
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from search.progress import LedgerLike
from search.records import EpochRecord, TrialState

_SCALARS = tuple(f.name for f in fields(EpochRecord) if f.name not in ("trial_number", "epoch"))
_COARSE_SECONDS = 0.05  # of the times of files
_STATUS = {
    TrialState.COMPLETE: "STATUS_SUCCESS",
    TrialState.PRUNED: "STATUS_SUCCESS",
    TrialState.INFEASIBLE: "STATUS_SUCCESS",
    TrialState.FAILED: "STATUS_FAILURE",
}


class TensorBoard:
    """Event files under one folder, `<trial number>/events.out.tfevents.*`.

    Args:
        folder: Made when there is something to write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[int, _EventFile] = {}

    def catch_up(self, ledger: LedgerLike) -> None:
        """Write the trials that ended before, unless their files are there already."""
        for trial in ledger.trials.values():
            files = _event_files(self._folder / str(trial.number))
            written = max((file.stat().st_mtime for file in files), default=0.0)
            if trial.state in _STATUS and written + _COARSE_SECONDS < trial.last_event:
                self._begin(ledger, trial)
                self._end(trial)

    def on_change(self, ledger: LedgerLike, event: str, number: int) -> None:
        """Follow the ledger's events; a retry changes nothing until its first epoch."""
        if event == "retry":
            return
        trial = ledger.trials[number]
        file = self._open.get(number)
        if event == "end":
            self._end(trial)
        elif file is None or event == "start" or max(trial.epochs) <= file.last_epoch:
            self._begin(ledger, trial)  # also a worker that died and trains epochs again
        else:
            file.write_epoch(ledger, trial, max(trial.epochs))

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _begin(self, ledger: LedgerLike, trial: Any) -> None:
        folder = self._folder / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        old = _event_files(folder)
        if trial.number in self._open:
            self._open.pop(trial.number).close()
        self._open[trial.number] = file = _EventFile(folder, ledger, trial)
        for epoch in sorted(trial.epochs):
            file.write_epoch(ledger, trial, epoch)
        for path in old:
            path.write_bytes(b"")  # a TensorBoard that reads a file which goes is stuck there

    def _end(self, trial: Any) -> None:
        file = self._open.pop(trial.number, None)
        if file:
            file.end(trial)
            file.close()
            for path in _event_files(self._folder / str(trial.number)):
                if not path.stat().st_size:
                    path.unlink()


class _EventFile:
    """One trial's event file: hyperparameters, then scalars by epoch, then how it ended."""

    def __init__(self, folder: Path, ledger: LedgerLike, trial: Any) -> None:
        from tensorboardX.record_writer import RecordWriter

        self.last_epoch = 0
        self._best = -math.inf
        # Readers take a folder's files in the order of their names.
        self._writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}"))
        self._write(trial.first_start, 0, file_version="brain.Event:2")
        # A TensorBoard at work forgets what it read of an earlier file of this trial.
        self._write(trial.first_start, 0, session_log={"status": "START"})
        params = {name: _value(value) for name, value in trial.params.items()}
        times = {"group_name": str(trial.number), "start_time_secs": trial.first_start}
        self._write_hparams(trial.first_start, "session_start_info", {"hparams": params, **times})

    def write_epoch(self, ledger: LedgerLike, trial: Any, epoch: int) -> None:
        row = trial.epochs[epoch]
        values = {name: row[name] for name in _SCALARS if row.get(name) is not None}
        if ledger.metric in values:
            sign = 1 if ledger.direction == "maximize" else -1
            self._best = max(self._best, sign * values[ledger.metric])
            # The table of hyperparameters shows the last value of a scalar.
            values[f"best_{ledger.metric}"] = sign * self._best
        listed = [{"tag": name, "simple_value": float(value)} for name, value in values.items()]
        self._write(row["time"], epoch, summary={"value": listed})
        self.last_epoch = epoch

    def end(self, trial: Any) -> None:
        if trial.state in _STATUS:
            info = {"status": _STATUS[trial.state], "end_time_secs": trial.last_event}
            self._write_hparams(trial.last_event, "session_end_info", info)

    def close(self) -> None:
        self._writer.close()

    def _write_hparams(self, when: float, kind: str, info: dict[str, Any]) -> None:
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

        content = HParamsPluginData(**{kind: info}).SerializeToString()
        plugin = {"plugin_name": "hparams", "content": content}
        value = {"tag": f"_hparams_/{kind}", "metadata": {"plugin_data": plugin}}
        self._write(when, 0, summary={"value": [value]})

    def _write(self, when: float, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=when, step=step, **content)
        self._writer.write(event.SerializeToString())
        self._writer.flush()


def _value(value: Any) -> Any:
    """Return a hyperparameter's value as the message that TensorBoard reads."""
    from google.protobuf.struct_pb2 import Value

    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, (int, float)):
        return Value(number_value=value)
    return Value(string_value=str(value))


def _event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))
