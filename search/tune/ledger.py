"""What happened to every trial, as an append-only log that a crash cannot undo.

Ray's snapshot, Optuna's storage and our tables each know a part of a study, and after a kill they
disagree. So the log is the truth: one line an event, appended by the driver alone. Whatever else is
needed to go on, Optuna's study and ASHA's rungs included, is rebuilt from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from search.errors import ResultsError
from search.goals import Goals, best_epoch, figures_of, footprint_of, single_goal
from search.records import EpochRecord, TrialRecord, TrialState

_EPOCH_FIELDS = tuple(f.name for f in fields(EpochRecord) if f.name != "trial_number")


@dataclass
class LedgerTrial:
    """One trial's history as the log tells it; `state` is None while it runs.

    Attributes:
        best: See `Ledger.best`; kept, since all trials are asked at every event.
        footprint: Metric -> value; empty where it was not measured.
    """

    number: int
    params: dict[str, Any]
    seed: int
    first_start: float
    last_start: float
    state: TrialState | None = None
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    node: str = ""
    worker: str = ""
    num_retries: int = 0
    seconds: float = 0.0
    last_event: float = 0.0
    best: tuple[int, float] | None = None
    footprint: dict[str, float] = field(default_factory=dict)

    def values(self, metric: str) -> dict[int, float]:
        """Return epoch -> value of a metric, for the epochs that have it."""
        return {e: row[metric] for e, row in self.epochs.items() if row.get(metric) is not None}


class Ledger:
    """Append events, and replay those of an earlier process.

    Args:
        path: The log (JSON lines). A last line cut short by a crash is dropped.
        metric, direction: The study's objective.
        goals: All of the study's goals, if there are more than that objective.
        read_since: Only read, leaving the file to a driver that may be at work: of the trials
            without an end, those that started since then (seconds since 1970) are running.

    Attributes:
        footprints: Architecture -> footprint, as it was measured first.

    Raises:
        ResultsError: A line other than the last is damaged.
    """

    def __init__(
        self,
        path: Path,
        metric: str,
        direction: str,
        *,
        goals: Goals | None = None,
        read_since: float | None = None,
    ) -> None:
        self.path = path
        self.metric = metric
        self.direction = direction
        self.goals = goals or single_goal(metric, direction)
        self.trials: dict[int, LedgerTrial] = {}
        self.footprints: dict[str, dict[str, float]] = {}
        for event in _read_events(path, mend=read_since is None):
            self._apply(event)
        # Times never go back, whatever is done to the machine's clock: durations are differences.
        last_event = max((t.last_event for t in self.trials.values()), default=0.0)
        self._offset = max(time.time(), last_event) - time.monotonic()
        running_since = float("inf") if read_since is None else read_since
        for trial in self.trials.values():
            if trial.state is None and trial.last_start < running_since:
                # Its process died before it could say how it ended.
                trial.state = TrialState.INTERRUPTED
                trial.seconds += max(0.0, trial.last_event - trial.last_start)

    def now(self) -> float:
        """Return the time of an event that happens now: seconds since 1970 that never go back."""
        return self._offset + time.monotonic()

    def start(self, number: int, params: dict[str, Any], seed: int) -> None:
        self._append({"event": "start", "number": number, "params": params, "seed": seed})

    def epoch(self, number: int, result: dict[str, Any]) -> None:
        """Record one epoch; it overrules epochs of an earlier attempt from there on."""
        row = {name: result.get(name) for name in _EPOCH_FIELDS}
        where = {"node": result.get("node", ""), "worker": result.get("worker", "")}
        self._append({"event": "epoch", "number": number} | row | where)

    def footprint(self, number: int, architecture: str, values: dict[str, float]) -> None:
        """Record what a trial's model costs whoever uses it."""
        event = {"event": "footprint", "number": number, "architecture": architecture}
        self._append(event | values)

    def retry(self, number: int, reason: str) -> None:
        """Record that the machine ended an attempt, and that the trial goes on in another."""
        self._append({"event": "retry", "number": number, "reason": reason})

    def end(self, number: int, state: TrialState, error: str = "") -> None:
        event = {"event": "end", "number": number, "state": state.value, "error": error}
        self._append(event, sync=True)

    def close_open_trials(self) -> None:
        """End every trial that still runs as INTERRUPTED."""
        for number in [n for n, trial in self.trials.items() if trial.state is None]:
            self.end(number, TrialState.INTERRUPTED)

    def finished(self) -> list[LedgerTrial]:
        """Return trials that need no more work, in number order."""
        open_states = (None, TrialState.INTERRUPTED)
        return [t for _, t in sorted(self.trials.items()) if t.state not in open_states]

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
        """Return (epoch, value) of a trial's best epoch; of equals the one of least val_loss.

        On few val images many epochs are right equally often; their loss still tells them apart.
        """
        return trial.best

    def figures(self, trial: LedgerTrial) -> dict[str, float]:
        """Return every metric that is known of a trial: its best epoch's, and its footprint."""
        best = self.best(trial)
        return figures_of(trial.epochs[best[0]] if best else {}, trial.footprint)

    def why_infeasible(self, trial: LedgerTrial, is_complete: bool) -> str:
        """Say which constraints a trial breaks, "" if none.

        Args:
            is_complete: It trained to its end. Before that only its footprint is final.
        """
        return self.goals.faults(self.figures(trial) if is_complete else trial.footprint)

    def excludes(self, architecture: str) -> bool:
        """Tell whether no model of an architecture can satisfy the constraints, as far as known."""
        return bool(self.goals.faults(self.footprints.get(architecture, {})))

    def _record(self, trial: LedgerTrial, begin: float) -> TrialRecord:
        best = self.best(trial)
        values = trial.values(self.metric)
        pieces = trial.values("micro_batch").values()
        count = trial.footprint.get("num_parameters")
        seconds = trial.seconds
        if trial.state is None:
            seconds += self.now() - trial.last_start
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
            best_loss=trial.epochs[best[0]].get("val_loss") if best else None,
            latency_ms=trial.footprint.get("latency_ms"),
            num_parameters=None if count is None else int(count),
            model_mb=trial.footprint.get("model_mb"),
            num_retries=trial.num_retries,
            error=trial.error,
        )

    def _append(self, event: dict[str, Any], sync: bool = False) -> None:
        event["time"] = self.now()
        line = json.dumps(event, separators=(",", ":")) + "\n"
        try:
            self._write(line.encode(), sync)
        except OSError as error:
            raise ResultsError(
                f"{self.path}: must be writable, got {error.strerror or error}. Mend that (a full "
                "disk?): every trial that finished is kept, the same command goes on."
            ) from error
        self._apply(event)

    def _write(self, line: bytes, sync: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
                if sync:  # a finished trial outlives a power cut too
                    os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(size)  # half a line would spoil the next one
                raise

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
            trial.best = best_epoch(trial.epochs, self.metric, self.direction)
            trial.node, trial.worker = event["node"], event["worker"]
        elif event["event"] == "footprint":
            trial.footprint = footprint_of(event)
            self.footprints.setdefault(event["architecture"], trial.footprint)
        elif event["event"] == "retry":
            trial.num_retries, trial.error = trial.num_retries + 1, event["reason"]
        elif event["event"] == "end":
            trial.state, trial.error = TrialState(event["state"]), event["error"]
            trial.seconds += when - trial.last_start


def _read_events(path: Path, mend: bool) -> list[dict[str, Any]]:
    """Read the log without a half-written last line; `mend` cuts that off, to append safely."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if mend and whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    events: list[dict[str, Any]] = []
    started: set[Any] = set()
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            event = json.loads(line)
            if event["event"] == "start":
                started.add(event["number"])
            elif event["number"] not in started:
                raise ValueError(f"trial {event['number']} has no start")
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                f"{path}:{number}: must be one event a line, got damaged text ({error}). "
                "Restore the file from a backup, or start again with --fresh."
            ) from None
        events.append(event)
    return events
