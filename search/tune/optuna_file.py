"""The study as Optuna's own tools read it: a journal that follows the ledger.

`optuna.load_study`, `optuna.visualization` and optuna-dashboard see every trial under its number,
with its state, its epochs and, when complete, the value of its best one. Nothing is read back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalStorage
from optuna.study import StudyDirection
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.records import TrialState, write_text
from search.space import Space
from search.tune.ledger import Ledger, LedgerTrial
from search.tune.sampler import distributions
from search.tune.told import Told, told_of

_CONSTRAINT = f"{_CONSTRAINTS_KEY}:"  # and its text: where `Trial.set_constraint` puts it


class OptunaFile:
    """Write study/optuna.journal, anew from the ledger and then event by event.

    Args:
        path: The journal; an older one is replaced.
        name: Of the study.
        notes: User attributes of the study.
    """

    def __init__(
        self, path: Path, name: str, ledger: Ledger, space: Space, notes: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._name = name
        self._ledger = ledger
        self._distributions = distributions(space)
        self._notes = notes
        self._num_known = 0
        self._storage = self._write_all(OptunaState.WAITING)
        self._study_id = self._storage.get_study_id_from_name(name)

    def on_change(self, ledger: Ledger, event: str, number: int) -> None:
        """Follow one event of the ledger; see `recorder.OnChange`."""
        trial = ledger.trials[number]
        if event == "start":
            self._start(trial)
            return
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        if event == "epoch":
            epoch = max(trial.epochs)
            value = trial.epochs[epoch].get(ledger.metric)
            if value is not None:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        elif event == "end" and trial.state is not None:
            told = _told(ledger, trial, trial.state)
            for name, excess in told.constraints.items():
                self._storage.set_trial_system_attr(trial_id, f"{_CONSTRAINT}{name}", excess)
            for name, value in _notes(trial).items():
                self._storage.set_trial_user_attr(trial_id, name, value)
            self._storage.set_trial_state_values(trial_id, told.state, told.values)

    def close(self) -> None:
        """Leave no trial open, and every one as the ledger has it.

        A retry from a checkpoint may have ended before epochs that the first attempt had: Optuna
        cannot take back a value, so the journal is written anew.
        """
        for trial in self._trials():
            if not trial.state.is_finished():
                self._storage.set_trial_state_values(trial._trial_id, OptunaState.FAIL)
        expected = [self._frozen(number, OptunaState.FAIL) for number in self._numbers()]
        if [_content(trial) for trial in self._trials()] != [_content(trial) for trial in expected]:
            self._storage = self._write_all(OptunaState.FAIL)

    def _start(self, trial: LedgerTrial) -> None:
        known = self._num_known
        self._num_known = max(known, trial.number + 1)
        for number in range(known, trial.number + 1):
            state = OptunaState.RUNNING if number == trial.number else OptunaState.WAITING
            template = self._frozen(number, state)
            self._storage.create_new_trial(self._study_id, template_trial=template)
        if trial.number < known:
            number_id = self._storage.get_trial_id_from_study_id_trial_number
            trial_id = number_id(self._study_id, trial.number)
            there = self._storage.get_trial_params(trial_id)
            for name, value in self._params(trial).items():
                if name not in there:
                    domain = self._distributions[name]
                    internal = domain.to_internal_repr(value)
                    self._storage.set_trial_param(trial_id, name, internal, domain)
            self._storage.set_trial_state_values(trial_id, OptunaState.RUNNING)

    def _write_all(self, unfinished: OptunaState) -> JournalStorage:
        journal = _Journal()
        storage = JournalStorage(journal)
        objectives = self._ledger.goals.objectives
        directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
        study_id = storage.create_new_study(directions, self._name)
        if len(objectives) > 1:
            names = [objective.metric for objective in objectives]
            storage.set_study_system_attr(study_id, _SYSTEM_ATTR_METRIC_NAMES, names)
        for key, value in self._notes.items():
            storage.set_study_user_attr(study_id, key, value)
        for number in self._numbers():
            storage.create_new_trial(study_id, self._frozen(number, unfinished))
        self._num_known = len(self._numbers())
        journal.write(self._path)
        self._path.with_name(self._path.name + ".lock").unlink(missing_ok=True)
        return storage

    def _numbers(self) -> range:
        return range(max(self._ledger.trials, default=-1) + 1)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _params(self, trial: LedgerTrial) -> dict[str, Any]:
        return {name: v for name, v in trial.params.items() if name in self._distributions}

    def _frozen(self, number: int, unfinished: OptunaState) -> FrozenTrial:
        """Return one trial as Optuna has it.

        Args:
            unfinished: State of one that runs, was interrupted, or was never logged.
        """
        trial = self._ledger.trials.get(number)
        if trial is None:  # asked for, but its process died before the log had it
            return create_trial(state=unfinished)
        told = _told(self._ledger, trial, trial.state or TrialState.INTERRUPTED)
        if trial.state in (None, TrialState.INTERRUPTED):
            told = replace(told, state=unfinished, values=None)
        frozen = told.frozen(self._params(trial), self._distributions, **_notes(trial))
        frozen.datetime_start = datetime.fromtimestamp(trial.first_start)
        if frozen.state.is_finished():
            frozen.datetime_complete = datetime.fromtimestamp(trial.last_event)
        return frozen


class _Journal(BaseJournalBackend):
    """A journal with one writer: in memory at first, then a file that grows by a line an event.

    Optuna's own takes a lock and waits for the disk at each of them, which takes longer than a
    short epoch. Here the ledger has it all.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._unwritten: list[str] = []
        self._unread: list[dict[str, Any]] = []
        self._num_read = 0

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._unread += logs
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        if self._path is None:
            self._unwritten += lines
            return
        with self._path.open("ab", buffering=0) as file:
            file.write("".join(lines).encode())

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return what was not read yet; nobody reads twice."""
        del self._unread[: log_number_from - self._num_read]
        self._num_read = log_number_from
        return list(self._unread)

    def write(self, path: Path) -> None:
        """Write the file; from here on it is appended to."""
        write_text(path, "".join(self._unwritten))
        self._path, self._unwritten = path, []


def _told(ledger: Ledger, trial: LedgerTrial, state: TrialState) -> Told:
    """Return a trial in Optuna's terms; of a trade-off too, every epoch's value of the first."""
    told = told_of(ledger.goals, state, trial.epochs, trial.footprint)
    return replace(told, by_epoch=trial.values(ledger.metric))


def _notes(trial: LedgerTrial) -> dict[str, Any]:
    """Return the user attributes of a trial: what Optuna has no place for."""
    return ({"error": trial.error} if trial.error else {}) | trial.footprint


def _content(trial: FrozenTrial) -> tuple[Any, ...]:
    told = trial.state, trial.values, trial.params, trial.intermediate_values
    return *told, trial.constraints, trial.user_attrs
