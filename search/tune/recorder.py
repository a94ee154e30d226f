"""Ray Tune's events, written to the ledger and passed on to whoever shows progress."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.records import TrialState
from search.tune.ledger import Ledger
from search.tune.unsaved import Unsaved

OnChange = Callable[[Ledger, str, int], None]
"""Called with the ledger, the event ("start", "epoch", "end") and the trial's number."""


class Recorder(Unsaved, Callback):
    """Keep the ledger true to what Tune does.

    Args:
        state_of: (number, result, error) -> how a trial ended.
        logs: Folder for the tracebacks of failed trials.
    """

    def __init__(
        self,
        ledger: Ledger,
        state_of: Callable[[Trial, bool], TrialState],
        logs: Path,
        on_change: OnChange,
    ) -> None:
        self._ledger = ledger
        self._state_of = state_of
        self._logs = logs
        self._on_change = on_change
        self._open: set[int] = set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        config = trial.config
        number = config["number"]
        if number not in self._open:  # a retry after a dead worker is the same trial
            self._open.add(number)
            self._ledger.start(number, config["searched"], config["seed"])
            self._on_change(self._ledger, "start", number)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        number = trial.config["number"]
        if result.get("epoch") is not None:
            self._ledger.epoch(number, result)
            self._on_change(self._ledger, "epoch", number)
        if result.get("traceback"):
            self._logs.mkdir(parents=True, exist_ok=True)
            (self._logs / f"trial-{number}.txt").write_text(result["traceback"], encoding="utf-8")

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **_: Any
    ) -> None:
        self._ledger.checkpoint(trial.config["number"], checkpoint.path)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        self._end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._end(trial, failed=True)

    def _end(self, trial: Trial, failed: bool) -> None:
        number = trial.config["number"]
        if number not in self._open:
            return
        self._open.discard(number)
        state = self._state_of(trial, failed)
        error = (trial.last_result or {}).get("failure", "")
        if state is TrialState.FAILED and not error:
            error = _last_line(trial)
        self._ledger.end(number, state, error)
        past = self._ledger.trials[number]
        needed = state is TrialState.INTERRUPTED or trial.config["keep_model"]
        if past.checkpoint and not needed:
            shutil.rmtree(past.checkpoint, ignore_errors=True)
        self._on_change(self._ledger, "end", number)


def _last_line(trial: Trial) -> str:
    """Return what killed a worker; `Result.error` is unreadable on 3.11, error.txt is not."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~\t")]
    return lines[-1] if lines else "the worker died without a message"
