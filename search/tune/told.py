"""What Optuna hears of a trial that ended: its samplers, and whoever reads its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.goals import Figures, Goals, best_epoch, figures_of
from search.records import TrialState

OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.INTERRUPTED: OptunaState.FAIL,
}


@dataclass(frozen=True)
class Told:
    """A trial in Optuna's terms.

    Attributes:
        values: Of the objectives, at the best epoch; None unless it is complete.
        constraints: Constraint -> by how much it is broken, 0 or less where it is kept.
        by_epoch: Epoch -> value of the objective; a trade-off has none in Optuna.
    """

    state: OptunaState
    values: list[float] | None
    constraints: dict[str, float]
    by_epoch: dict[int, float]

    def frozen(
        self, params: Mapping[str, Any], known: Mapping[str, BaseDistribution], **more: Any
    ) -> FrozenTrial:
        """Return it as a study takes it.

        Args:
            params: Searched ones.
            known: Distributions of all searched parameters.
            more: User attributes.
        """
        return create_trial(
            state=self.state,
            values=self.values,
            params=dict(params),
            distributions={name: known[name] for name in params},
            intermediate_values=self.by_epoch,
            constraints=self.constraints,
            user_attrs=more,
        )


def told_of(
    goals: Goals,
    state: TrialState,
    epochs: Mapping[int, Mapping[str, Any]],
    footprint: Figures,
    is_gaussian: bool = False,
) -> Told:
    """Return what is told of a trial.

    One that breaks a constraint and was never trained is PRUNED, with its constraints: Optuna has
    no state of its own for it, and a sampler learns nothing from a FAIL.

    A Gaussian process learns from complete trials only. For it, one that was stopped counts with
    its best epoch so far: a low bound of what it would have reached, far from the top.

    Args:
        epochs: Epoch -> its metrics.
        is_gaussian: It is a Gaussian process that is told.
    """
    best = best_epoch(epochs, goals.metric, goals.direction)
    figures = figures_of(epochs[best[0]] if best else {}, footprint)
    values, told = goals.values(figures), OPTUNA_STATE.get(state, OptunaState.PRUNED)
    if state is TrialState.INFEASIBLE and values is not None:
        told = OptunaState.COMPLETE  # it trained to its end, and is known to break a constraint
    if told is OptunaState.PRUNED and is_gaussian and (values or state is TrialState.PRUNED):
        told = OptunaState.COMPLETE
    if told is OptunaState.COMPLETE and values is None:
        told = OptunaState.FAIL
    by_epoch = {} if goals.are_several else _by_epoch(epochs, goals.metric)
    shown = values if told is OptunaState.COMPLETE else None
    return Told(told, shown, goals.excesses(figures), by_epoch)


def _by_epoch(epochs: Mapping[int, Mapping[str, Any]], metric: str) -> dict[int, float]:
    return {e: row[metric] for e, row in epochs.items() if row.get(metric) is not None}
