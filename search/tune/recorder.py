"""Ray Tune's events, written to the ledger and passed on to whoever shows progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.errors import TrialError
from search.goals import footprint_of
from search.records import TrialState
from search.tune.checkpoints import Checkpoints
from search.tune.failures import read_failure
from search.tune.ledger import Ledger
from search.tune.unsaved import Unsaved, leave_unsaved

OnChange = Callable[[Ledger, str, int], None]
"""Called with the ledger, the event ("start", "epoch", "retry", "end") and the trial's number."""

NUM_TROUBLES_TO_GIVE_UP = 3
MAX_NODES_LOST = 20
"""By one trial: spot machines come and go, but a training may also be what ends them."""


class Recorder(Unsaved, Callback):
    """Keep the ledger true to what Tune does.

    Args:
        state_of: (trial, worker died for good) -> how a trial ended.
        checkpoints: Of this stage; those of trials that have ended are removed.
        logs: Folder for the tracebacks of failed trials.
        say: Told in a sentence what the user should know at once.
        refuse: (node id, reason) of a training that could not begin there -> whether trainings can
            go on elsewhere.

    Attributes:
        trouble: Why nothing can be trained on this machine, "" while something can.
        fault: What kept an event from being written, raised once Tune has stopped: before that, it
            would take it for the fault of a trial.
    """

    def __init__(
        self,
        ledger: Ledger,
        state_of: Callable[[Trial, bool], TrialState],
        checkpoints: Checkpoints,
        logs: Path,
        on_change: OnChange,
        say: Callable[[str], None],
        refuse: Callable[[str, str], bool] = lambda node_id, reason: False,
    ) -> None:
        self._ledger = ledger
        self._state_of = state_of
        self._checkpoints = checkpoints
        self._logs = logs
        self._on_change = on_change
        self._say = say
        self._refuse = refuse
        self._open: set[int] = set()
        self._num_nodes_lost: Counter[int] = Counter()
        self._num_troubles = 0
        self.trouble = ""
        self.fault: Exception | None = None

    @property
    def must_stop(self) -> bool:
        return self.fault is not None or bool(self.trouble)

    def close(self) -> None:
        """End what still runs as interrupted, and say what kept Tune from its work.

        Raises:
            TrialError: Nothing could be trained.
        """
        if self.fault is not None:
            raise self.fault
        self._ledger.close_open_trials()
        if self.trouble:
            raise TrialError(
                f"{NUM_TROUBLES_TO_GIVE_UP} trainings in a row could not be done here, the last "
                f"because of {self.trouble}. Logs: {self._logs}. Mend the cause: the same command "
                "goes on."
            )

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        leave_unsaved(trial)
        config = trial.config
        number = config["number"]
        if number not in self._open:  # a retry after a dead worker is the same trial
            self._open.add(number)
            self._note("start", number, config["searched"], config["seed"])
            self._note_footprint(number, config, config["footprint"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        number = trial.config["number"]
        if result.get("warning"):
            self._say(result["warning"])
        if measured := footprint_of(result):
            # Of two measurements of a network the first one stands, but what ended a trial is its.
            first = self._ledger.footprints.get(trial.config["architecture"])
            own = "infeasible" in result or first is None
            self._note_footprint(number, trial.config, measured if own else first)
        if result.get("epoch") is not None:
            self._num_troubles = 0
            self._note("epoch", number, result)
        if result.get("traceback"):
            self._write_log(number, result["traceback"])

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Note a retry; after a second death the batches are forwarded in smaller pieces.

        That its node was lost is held against no trial, unless one loses them again and again; nor
        is a node that cannot take the images.
        """
        failure, number = read_failure(trial.error_file), trial.config["number"]
        memory = trial.config["memory_bytes"]
        if failure.worker_died and trial.num_failures > 1 and memory:
            trial.config["memory_bytes"] = memory // 2
        self._num_nodes_lost[number] += failure.node_lost
        is_elsewhere = bool(failure.refused_by) and self._refuse(failure.refused_by, failure.reason)
        is_lost = failure.node_lost and self._num_nodes_lost[number] <= MAX_NODES_LOST
        if is_lost or is_elsewhere:
            trial.run_metadata.num_failures -= 1
        if number in self._open:  # else its worker was lost as it was handed over
            self._note("retry", number, failure.reason)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        number, last = trial.config["number"], trial.last_result or {}
        state = self._state_of(trial, False)
        reason = last.get("failure", "")
        if state is TrialState.INFEASIBLE:
            known = self._ledger.trials[number]
            reason = last.get("infeasible") or self._ledger.why_infeasible(
                known, bool(known.epochs)
            )
        self._end(trial, number, state, reason)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """End a trial that Ray gave up: failed if its workers died, else it can go on one day."""
        number, failure = trial.config["number"], read_failure(trial.error_file)
        if trial.error_file:
            self._write_log(number, Path(trial.error_file).read_text(encoding="utf-8"))
        if failure.worker_died:
            reason = f"{failure.reason}, {trial.num_failures} times"
            self._end(trial, number, self._state_of(trial, True), reason)
            return
        self._num_troubles += 1
        if self._num_troubles >= NUM_TROUBLES_TO_GIVE_UP:
            self.trouble = failure.reason
        self._end(trial, number, TrialState.INTERRUPTED, failure.reason)

    def _end(self, trial: Trial, number: int, state: TrialState, error: str) -> None:
        if number not in self._open:
            return
        self._open.discard(number)
        self._note("end", number, state, error)
        needed = state is TrialState.INTERRUPTED or trial.config["keep_model"]
        if self.fault is None and not needed:
            self._checkpoints.remove(number)

    def _note_footprint(
        self, number: int, config: Mapping[str, Any], values: Mapping[str, float] | None
    ) -> None:
        """Note what a trial's model costs, once."""
        trial = self._ledger.trials.get(number)
        if values and config["architecture"] and trial is not None and not trial.footprint:
            self._note("footprint", number, config["architecture"], dict(values))

    def _note(self, event: str, number: int, *values: Any) -> None:
        if self.fault is not None:  # later events without this one would tell another story
            return
        try:
            getattr(self._ledger, event)(number, *values)
            if event != "footprint":
                self._on_change(self._ledger, event, number)
        except Exception as error:
            self.fault = error

    def _write_log(self, number: int, text: str) -> None:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            (self._logs / f"trial-{number}.txt").write_text(text, encoding="utf-8")
        except OSError as error:
            self._say(f"the logs of failed trials cannot be written: {error.strerror}")
