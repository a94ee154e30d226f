"""What proposes configurations, and Optuna's form of a space."""

from __future__ import annotations

from collections.abc import Container
from itertools import chain

import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.space import Choice, Float, Int, Space

NUM_LATEST, NUM_BEST = 350, 50
"""Ended trials that a sampler learns from; TPE's good ones are never more than 25."""


class SamplerMemory(InMemoryStorage):
    """Trials in memory, of which a sampler is shown the best and the latest.

    A sampler's time grows with what it learns from: of ten thousand trials a quarter of a second
    for each new one, to tell the poor ones from the others ever more exactly.
    """

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return a study's trials in number order; if finished ones are asked for, a choice."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        if states is None or TrialState.COMPLETE not in states:
            return trials
        ended = [trial for trial in trials if trial.state.is_finished()]
        if len(ended) <= NUM_LATEST + NUM_BEST:
            return trials
        (direction,) = self.get_study_directions(study_id)
        sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        older = [trial for trial in ended[:-NUM_LATEST] if trial.state is TrialState.COMPLETE]
        best = sorted(older, key=lambda trial: sign * (trial.value or 0.0))[:NUM_BEST]
        kept = {trial.number for trial in chain(best, ended[-NUM_LATEST:])}
        return [t for t in trials if t.number in kept or not t.state.is_finished()]


def make_sampler(
    name: str,
    seed: int,
    num_startup: int,
    *,
    multivariate: bool = True,
    group: bool = False,
    constant_liar: bool = True,
) -> BaseSampler:
    """Make the sampler that a space file names.

    Args:
        name: "tpe" (Bergstra et al. 2011; multivariate as in Falkner et al. 2018), "gp" (a Gaussian
            process over what all trials share, TPE for conditional parameters) or "random".
        num_startup: Trials drawn at random before a model is asked.
        multivariate: TPE: model parameters jointly.
        group: TPE: a joint model for each set of parameters that occur together.
        constant_liar: TPE: keep away from what is training now.

    Raises:
        ValueError: The name is unknown.
    """
    tpe = TPESampler(
        seed=seed,
        n_startup_trials=num_startup,
        multivariate=multivariate,
        group=group,
        constant_liar=constant_liar,
    )
    if name == "tpe":
        return tpe
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "gp":
        # Its matrices are small: beside trainings more threads wait for each other, a proposal
        # took 1.6 s of CPU instead of 0.4. Who predicts later sets its own number.
        torch.set_num_threads(1)
        return GPSampler(
            seed=seed,
            n_startup_trials=num_startup,
            independent_sampler=tpe,
            warn_independent_sampling=False,
        )
    raise ValueError(f"sampler: must be tpe, gp or random, got {name}.")


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Make the next draw depend on the seed and the study's trials, not on earlier draws.

    So a study that was killed and goes on proposes what it would have proposed. Optuna's own
    `reseed_rng` takes another seed each time.
    """
    for part in vars(sampler).values():
        if isinstance(part, LazyRandomState):
            part.rng.seed(seed)
        elif isinstance(part, BaseSampler):
            reseed(part, seed)


def num_startup_trials(num_trials: int) -> int:
    """Return how many trials start a search before its model is asked.

    Ten random trials, the default, are half of a laptop study; the start points and their outcomes
    inform the model from the fifth trial on.
    """
    return min(10, max(4, num_trials // 4))


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
