"""What happened to every trial, as an append-only log that a crash cannot undo.

Ray's snapshot, Optuna's storage and our tables each know a part of a study, and after a kill they
disagree. So the log is the truth: one line an event, appended by the driver alone. Whatever else is
needed to go on, Optuna's study and ASHA's rungs included, is rebuilt from it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from search.errors import ResultsError
from search.records import EpochRecord, TrialRecord, TrialState

_EPOCH_FIELDS = tuple(f.name for f in fields(EpochRecord) if f.name != "trial_number")


@dataclass
class LedgerTrial:
    """One trial's history as the log tells it; `state` is None while it runs."""

    number: int
    params: dict[str, Any]
    seed: int
    first_start: float
    last_start: float
    state: TrialState | None = None
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    checkpoint: str = ""
    error: str = ""
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    last_event: float = 0.0

    def values(self, metric: str) -> dict[int, float]:
        """Return epoch -> value of a metric, for the epochs that have it."""
        return {e: row[metric] for e, row in self.epochs.items() if row.get(metric) is not None}


class Ledger:
    """Append events, and replay those of an earlier process.

    Args:
        path: The log (JSON lines). A last line cut short by a crash is dropped.
        metric, direction: The study's objective.

    Raises:
        ResultsError: A line other than the last is damaged.
    """

    def __init__(self, path: Path, metric: str, direction: str) -> None:
        self.path = path
        self.metric = metric
        self.direction = direction
        self.trials: dict[int, LedgerTrial] = {}
        for event in _read_events(path):
            self._apply(event)
        for trial in self.trials.values():
            if trial.state is None:  # its process died before it could say how it ended
                trial.state = TrialState.INTERRUPTED
                trial.seconds += max(0.0, trial.last_event - trial.last_start)

    def start(self, number: int, params: dict[str, Any], seed: int) -> None:
        self._append({"event": "start", "number": number, "params": params, "seed": seed})

    def epoch(self, number: int, result: dict[str, Any]) -> None:
        """Record one epoch; it overrules epochs of an earlier attempt from there on."""
        row = {name: result.get(name) for name in _EPOCH_FIELDS}
        where = {"node": result.get("node", ""), "worker": result.get("worker", "")}
        self._append({"event": "epoch", "number": number} | row | where)

    def checkpoint(self, number: int, path: str) -> None:
        self._append({"event": "checkpoint", "number": number, "path": path})

    def end(self, number: int, state: TrialState, error: str = "") -> None:
        event = {"event": "end", "number": number, "state": state.value, "error": error}
        self._append(event, sync=True)

    def close_open_trials(self) -> None:
        """End every trial that still runs as INTERRUPTED."""
        for number in [n for n, trial in self.trials.items() if trial.state is None]:
            self.end(number, TrialState.INTERRUPTED)

    def finished(self) -> list[LedgerTrial]:
        """Return trials that need no more work, in number order."""
        done = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
        return [t for _, t in sorted(self.trials.items()) if t.state in done]

    def trial_records(self) -> tuple[TrialRecord, ...]:
        """Return every trial as the tables show it, in number order."""
        begin = min((t.first_start for t in self.trials.values()), default=0.0)
        return tuple(self._record(t, begin) for _, t in sorted(self.trials.items()))

    def epoch_records(self) -> tuple[EpochRecord, ...]:
        return tuple(
            EpochRecord(trial_number=number, **{k: row[k] for k in _EPOCH_FIELDS if k in row})
            for number, trial in sorted(self.trials.items())
            for _, row in sorted(trial.epochs.items())
        )

    def best(self, trial: LedgerTrial) -> tuple[int, float] | None:
        """Return (epoch, value) of a trial's best epoch; the earliest of equals."""
        values = trial.values(self.metric)
        if not values:
            return None
        sign = 1 if self.direction == "maximize" else -1
        epoch = max(values, key=lambda e: (sign * values[e], -e))
        return epoch, values[epoch]

    def _record(self, trial: LedgerTrial, begin: float) -> TrialRecord:
        best = self.best(trial)
        values = trial.values(self.metric)
        pieces = trial.values("micro_batch").values()
        seconds = trial.seconds
        if trial.state is None:
            seconds += time.time() - trial.last_start
        return TrialRecord(
            number=trial.number,
            state=trial.state or TrialState.INTERRUPTED,
            params=trial.params,
            epochs_run=max(trial.epochs, default=0),
            best_value=best[1] if best else None,
            best_epoch=best[0] if best else None,
            last_value=values[max(values)] if values else None,
            seconds=round(seconds, 2),
            started_s=round(trial.first_start - begin, 2),
            seed=trial.seed,
            node=trial.node,
            worker=trial.worker,
            peak_memory_mb=max(trial.values("peak_memory_mb").values(), default=None),
            micro_batch=int(min(pieces)) if pieces else None,
            error=trial.error,
        )

    def _append(self, event: dict[str, Any], sync: bool = False) -> None:
        event["time"] = time.time()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
            file.flush()
            if sync:  # a finished trial outlives a power cut too
                os.fsync(file.fileno())
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        number, when = int(event["number"]), float(event["time"])
        if event["event"] == "start":
            trial = self.trials.get(number)
            if trial is None:
                trial = LedgerTrial(number, event["params"], event["seed"], when, when)
                self.trials[number] = trial
            trial.state, trial.last_start, trial.error = None, when, ""
        trial = self.trials[number]
        trial.last_event = when
        if event["event"] == "epoch":
            epoch = int(event["epoch"])
            # A new dict each time: the terminal's thread may be reading the old one.
            kept = {e: row for e, row in trial.epochs.items() if e < epoch}
            trial.epochs = kept | {epoch: event}
            trial.node, trial.worker = event["node"], event["worker"]
        elif event["event"] == "checkpoint":
            trial.checkpoint = event["path"]
        elif event["event"] == "end":
            trial.state, trial.error = TrialState(event["state"]), event["error"]
            trial.seconds += when - trial.last_start


def _read_events(path: Path) -> list[dict[str, Any]]:
    """Read the log, and cut a half-written last line off the file so that appending is safe."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    events = []
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise ResultsError(
                f"{path}:{number}: must be one JSON object a line, got damaged text ({error}). "
                "Restore the file from a backup, or start again with --fresh."
            ) from None
    return events
