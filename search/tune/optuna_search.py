"""Optuna behind Ray Tune, told the truth about every trial.

Plain OptunaSearch tells Optuna COMPLETE for trials that ASHA stopped and leaves diverged ones
RUNNING for ever, which the sampler then avoids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import StudyDirection
from ray.tune.search.optuna import OptunaSearch

from search.records import TrialState
from search.space import Choice, Float, Int, Space
from search.tune.ledger import Ledger, LedgerTrial
from search.tune.unsaved import Unsaved

_OPTUNA_STATE = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
    TrialState.INTERRUPTED: optuna.trial.TrialState.FAIL,
}


class StudySearch(Unsaved, OptunaSearch):
    """Ask Optuna for params; tell it how each trial really ended.

    Args:
        study: The Optuna study, made by `build_optuna_study`.
        space: What may be asked for.
        make_config: (number, params) -> the config a worker gets.
        state_of: (trial id, number, result, error) -> how a trial ended (`rungs.decide_state`).
        ledger: The trials' epochs, for best values.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        make_config: Callable[[int, dict[str, Any]], dict[str, Any]],
        state_of: Callable[[str, int, dict[str, Any] | None, bool], TrialState],
        ledger: Ledger,
    ) -> None:
        mode = "max" if ledger.direction == "maximize" else "min"
        super().__init__(
            space=space.suggest,
            metric=ledger.metric,
            mode=mode,
            storage=study._storage,
            study_name=study.study_name,
            sampler=study.sampler,
        )
        self._study = study
        self._make_config = make_config
        self._state_of = state_of
        self._ledger = ledger
        self._tune_space = space

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the config of the next trial; those put back by `build_optuna_study` first."""
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self._study.ask()
        trial = self._ot_trials[trial_id]
        params = self._tune_space.suggest(trial)
        return self._make_config(trial.number, params)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass one epoch's objective on."""
        trial, value = self._ot_trials.get(trial_id), result.get(self._ledger.metric)
        if trial is not None and value is not None:
            trial.report(value, result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna the state; the value of a complete trial is that of its best epoch."""
        trial = self._ot_trials.pop(trial_id, None)
        if trial is None:
            return
        state = self._state_of(trial_id, trial.number, result, error)
        if result:
            self.on_last_result(trial, result)
        known = self._ledger.trials.get(trial.number)
        best = self._ledger.best(known) if known else None
        value = best[1] if best and state is TrialState.COMPLETE else None
        self._study.tell(trial, value, state=_OPTUNA_STATE[state])

    def on_last_result(self, trial: optuna.Trial, result: dict[str, Any]) -> None:
        """Report the epoch on which the scheduler stopped a trial: Tune keeps it from searchers."""
        value, epoch = result.get(self._ledger.metric), result.get("epoch")
        frozen = self._study._storage.get_trial(trial._trial_id)
        if value is not None and epoch and epoch not in frozen.intermediate_values:
            trial.report(value, epoch)

    def close(self) -> None:
        """Fail what a time limit or an interruption left open, so that nothing stays RUNNING."""
        for trial in self._ot_trials.values():
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._ot_trials.clear()


def build_optuna_study(
    ledger: Ledger,
    space: Space,
    journal: Path,
    name: str,
    start_points: Sequence[dict[str, Any]],
    seed: int,
    num_trials: int,
) -> optuna.Study:
    """Write the study's Optuna journal anew from the ledger, with the same trial numbers.

    Interrupted trials, and numbers lost before they were logged, are put back to be asked for
    again; start points not yet tried are queued.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    for stale in (journal, journal.with_name(journal.name + ".lock")):
        stale.unlink(missing_ok=True)
    # Ten random trials, the default, are half of a laptop study; the start points and their
    # outcomes inform the model from the fifth trial on.
    sampler = optuna.samplers.TPESampler(
        seed=seed + len(ledger.trials), n_startup_trials=min(10, max(4, num_trials // 4))
    )
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=name,
        direction=StudyDirection[ledger.direction.upper()],
        sampler=sampler,
    )
    numbers = range(max(ledger.trials, default=-1) + 1)
    for number in numbers:
        point = start_points[number] if number < len(start_points) else None
        study.add_trial(_frozen_trial(ledger, space, ledger.trials.get(number), point))
    for point in start_points[len(numbers) :]:
        study.enqueue_trial(point)
    return study


def _frozen_trial(
    ledger: Ledger, space: Space, trial: LedgerTrial | None, point: dict[str, Any] | None
) -> optuna.trial.FrozenTrial:
    if trial is None:  # asked for, but the process died before the log had it: ask again
        return _waiting_trial(point or {})
    known = distributions(space)
    params = {name: value for name, value in trial.params.items() if name in known}
    if trial.state is TrialState.INTERRUPTED:
        return _waiting_trial(params)
    assert trial.state is not None
    best = ledger.best(trial)
    return optuna.trial.create_trial(
        state=_OPTUNA_STATE[trial.state],
        value=best[1] if best and trial.state is TrialState.COMPLETE else None,
        params=params,
        distributions={name: known[name] for name in params},
        intermediate_values=trial.values(ledger.metric),
    )


def _waiting_trial(params: dict[str, Any]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.WAITING, system_attrs={"fixed_params": params}
    )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's form of every searched parameter."""
    result: dict[str, BaseDistribution] = {}
    for p in space.parameters:
        if isinstance(p, Float):
            result[p.name] = FloatDistribution(p.low, p.high, log=p.log, step=p.step)
        elif isinstance(p, Int):
            result[p.name] = IntDistribution(p.low, p.high, log=p.log, step=p.step or 1)
        elif isinstance(p, Choice):
            result[p.name] = CategoricalDistribution(p.options)
    return result
