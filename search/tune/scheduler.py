"""ASHA that remembers the rungs of an earlier process and never cuts the default recipe."""

from __future__ import annotations

import copy
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.rungs import rung_epochs
from search.tune.ledger import Ledger, LedgerTrial
from search.tune.unsaved import Unsaved


class StudyScheduler(Unsaved, AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over the study's ledger.

    Trial 0, the default recipe, always trains to the end: every comparison needs it. Where
    `trainable` is searched each has a ladder of its own: an epoch of one is not worth an epoch of
    another, and probes, good from their first epoch on, would cut off every fine-tuning.

    Args:
        ledger: Past trials; their epochs fill the rungs, so that a study that goes on prunes as if
            it had never stopped.
        max_epochs, min_epochs, reduction_factor, brackets: As in the space file's budget.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        max_epochs: int,
        min_epochs: int,
        reduction_factor: int,
        brackets: int,
    ) -> None:
        super().__init__(
            time_attr="epoch",
            metric=ledger.metric,
            mode="max" if ledger.direction == "maximize" else "min",
            max_t=max_epochs,
            grace_period=min_epochs,
            reduction_factor=reduction_factor,
            brackets=brackets,
            stop_last_trials=False,
        )
        self._ledger = ledger
        self.pruned: set[str] = set()
        for number, bracket in enumerate(self._brackets):
            levels = rung_epochs(min_epochs, max_epochs, reduction_factor, number)
            bracket._rungs = [(level, {}) for level in reversed(levels)]
        self._ladders: dict[str | None, list[Any]] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Put a trial on its trainable's ladder; a resumed one with the rungs it had passed."""
        super().on_trial_add(tune_controller, trial)
        drawn = self._brackets.index(self._trial_info[trial.trial_id])
        ladder = self._ladder(trial.config["searched"].get("trainable"))
        self._trial_info[trial.trial_id] = ladder[drawn]
        past = self._ledger.trials.get(trial.config["number"])
        if past is not None:
            self._fill(self._trial_info[trial.trial_id], trial.trial_id, past)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if trial.config["number"] == 0:
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            self.pruned.add(trial.trial_id)
        return decision

    def _ladder(self, trainable: str | None) -> list[Any]:
        """Return the brackets of one trainable; None is that of a study that has only one."""
        if trainable not in self._ladders:
            self._ladders[trainable] = copy.deepcopy(self._brackets)
            for past in self._ledger.finished():
                if past.params.get("trainable") == trainable:
                    for bracket in self._ladders[trainable]:
                        self._fill(bracket, f"past-{past.number}", past)
        return self._ladders[trainable]

    def _fill(self, bracket: Any, key: str, trial: LedgerTrial) -> None:
        values = trial.values(self._ledger.metric)
        sign = 1.0 if self._ledger.direction == "maximize" else -1.0
        for level, recorded in bracket._rungs:
            reached = [epoch for epoch in values if epoch >= level]
            if reached:
                recorded[key] = sign * values[min(reached)]
