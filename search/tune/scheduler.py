"""Early stopping that remembers an earlier process and never cuts the default recipe."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.goals import figures_of, footprint_of
from search.rungs import below_median, bracket_of, falls_behind_front, ladders
from search.tune.ledger import Ledger
from search.tune.unsaved import Unsaved

_Worths = tuple[float, ...]
_Curve = dict[int, _Worths]
_Group = tuple[str | None, int]
"""Trials that are compared with each other: of one trainable, in one bracket."""


class StudyScheduler(Unsaved, FIFOScheduler):
    """Asynchronous halving, asynchronous Hyperband or the median rule over the study's ledger.

    Ray's own keep what they know to themselves, draw brackets by luck, judge the second trial by
    the first, and pause trials until there are enough: none can go on after a crash as if there
    had been none. Trial 0, the default recipe, always trains to the end: every comparison needs
    it. Where `trainable` is searched, trials are compared with their own kind only: an epoch of one
    is not worth an epoch of another, and probes, good from their first epoch on, would cut off
    every fine-tuning. With several objectives a trial has to be nearer to the front than others.

    Args:
        ledger: Past trials; what they reached counts, and is not judged a second time.
        scheduler: "asha", "hyperband", "median" or "none", as in the space file's budget.
        max_epochs, min_epochs, reduction_factor, brackets: Likewise.

    Attributes:
        pruned: Tune's ids of the trials that were stopped.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        max_epochs: int,
        min_epochs: int,
        reduction_factor: int,
        brackets: int,
        scheduler: str = "asha",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pruned: set[str] = set()
        self._rule = scheduler
        self._max_epochs = max_epochs
        self._min_epochs = min_epochs
        self._factor = reduction_factor
        self._ladders = ladders(scheduler, min_epochs, max_epochs, reduction_factor, brackets)
        self._ledger = ledger
        # Of each group: trial's number -> epoch -> value of each objective, higher is better.
        self._curves: dict[_Group, dict[int, _Curve]] = {}
        for number, trial in ledger.trials.items():
            rows = ((e, figures_of(row, trial.footprint)) for e, row in trial.epochs.items())
            past = {e: worths for e, figures in rows if (worths := ledger.goals.worths(figures))}
            self._peers(number, trial.params)[number] = past

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide after an epoch whether a trial goes on."""
        number, searched = trial.config["number"], trial.config["searched"]
        epoch, worths = result.get("epoch"), self._worths(trial.config, result)
        if epoch is None or worths is None:
            return TrialScheduler.CONTINUE
        peers = self._peers(number, searched)
        curve = peers.setdefault(number, {})
        if epoch <= max(curve, default=0):  # trained again, without a checkpoint to go on from
            return TrialScheduler.CONTINUE
        curve[epoch] = worths
        if number == 0 or epoch >= self._max_epochs or not self._is_worse(number, epoch, peers):
            return TrialScheduler.CONTINUE
        self.pruned.add(trial.trial_id)
        return TrialScheduler.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the waiting trial of the lowest number.

        Tune's own looks through all trials, ended ones too, several times a trial.
        """
        waiting = [t for t in tune_controller.get_live_trials() if t.status == Trial.PENDING]
        return min(waiting, key=lambda trial: int(trial.config["number"]), default=None)

    def _worths(self, config: dict[str, Any], result: dict[str, Any]) -> _Worths | None:
        """Return the objectives' values of one epoch; the ledger may hear of them only later."""
        first = self._ledger.footprints.get(config.get("architecture", ""))
        footprint = first or config.get("footprint") or footprint_of(result)
        return self._ledger.goals.worths(figures_of(result, footprint))

    def _is_worse(self, number: int, epoch: int, peers: dict[int, _Curve]) -> bool:
        if self._rule == "median":
            if epoch < self._min_epochs:
                return False
            others = _others(number, epoch, peers)
            known = [[v for e, v in curve.items() if e <= epoch] for curve in others]
            return _is_below_median(list(peers[number].values()), known)
        if epoch not in self._ladders[bracket_of(number, self._ladders, self._factor)]:
            return False
        others = _others(number, epoch, peers)
        return falls_behind_front(peers[number][epoch], [c[epoch] for c in others], self._factor)

    def _peers(self, number: int, searched: dict[str, Any]) -> dict[int, _Curve]:
        """Return the curves of the trials that one is compared with, its own included."""
        bracket = bracket_of(number, self._ladders, self._factor)
        return self._curves.setdefault((searched.get("trainable"), bracket), {})


def _is_below_median(values: list[_Worths], others: list[list[_Worths]]) -> bool:
    """Tell whether a trial is below the median in every objective."""
    return all(
        below_median(own, [[worths[k] for worths in other] for other in others])
        for k, own in enumerate(zip(*values, strict=True))
    )


def _others(number: int, epoch: int, peers: dict[int, _Curve]) -> list[_Curve]:
    """Return the curves of the other trials that trained this epoch."""
    return [curve for k, curve in peers.items() if k != number and epoch in curve]
