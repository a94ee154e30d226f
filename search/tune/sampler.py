"""What proposes configurations, and Optuna's form of a space."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Container, Sequence
from itertools import chain

import numpy as np
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

from search.pareto import Floats, as_points, preference
from search.space import Choice, Float, Int, Space

NUM_LATEST, NUM_BEST = 350, 50
"""Ended trials that a sampler learns from; TPE's good ones are never more than 25."""


class SamplerMemory(InMemoryStorage):
    """Trials in memory, of which a sampler is shown the best and the latest.

    A sampler's time grows with what it learns from: of ten thousand trials a quarter of a second
    for each new one, to tell the poor ones from the others ever more exactly.

    A Gaussian process learns from complete trials only. One that was never trained, since it breaks
    a constraint, is shown to it as bad as the worst of them: so it learns where the limit lies.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open: set[int] = set()
        self._num_ended = 0
        self._latest: list[int] = []  # of the ended ones, in number order
        self._older: list[int] = []  # before those: what is complete, of one objective the best

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial; see Optuna. All are of one study."""
        trial_id = super().create_new_trial(study_id, template_trial)
        trial = self.get_trial(trial_id)
        if trial.state.is_finished():
            self._count_ended(study_id, trial.number)
        else:
            self._open.add(trial.number)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state; see Optuna."""
        is_set = super().set_trial_state_values(trial_id, state, values)
        if is_set and state.is_finished():
            study_id, number = self._trial_id_to_study_id_and_number[trial_id]
            self._open.discard(number)
            self._count_ended(study_id, number)
        return is_set

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return a study's trials in number order; if finished ones are asked for, a choice."""
        if states is None or TrialState.COMPLETE not in states:
            return super().get_all_trials(study_id, deepcopy, states)
        chosen = self._choice(study_id)
        trials = [trial for trial in chosen if trial.state in states]
        if TrialState.PRUNED not in states:
            trials = self._with_untrained(study_id, trials, chosen)
        return copy.deepcopy(trials) if deepcopy else trials

    def _count_ended(self, study_id: int, number: int) -> None:
        """Move the oldest of the latest to the older ones, which are few: no search is slow."""
        self._num_ended += 1
        insort(self._latest, number)
        if len(self._latest) <= NUM_LATEST:
            return
        oldest = self._studies[study_id].trials[self._latest.pop(0)]
        if oldest.state is TrialState.COMPLETE and not is_infeasible(oldest):
            self._older.append(oldest.number)
        if len(self.get_study_directions(study_id)) == 1:
            self._older = self._best(study_id)  # with several, who is best depends on all

    def _choice(self, study_id: int) -> list[FrozenTrial]:
        trials = self._studies[study_id].trials
        if self._num_ended <= NUM_LATEST + NUM_BEST:
            return list(trials)
        numbers = sorted([*self._best(study_id), *self._latest, *self._open])
        return [trials[number] for number in numbers]

    def _best(self, study_id: int) -> list[int]:
        """Return the numbers of the best of the older trials: those nearest to the front."""
        if len(self._older) <= NUM_BEST:
            return self._older
        numbers = sorted(self._older)
        older = [self._studies[study_id].trials[number] for number in numbers]
        wanted = preference(self._worths(study_id, older), NUM_BEST)
        order = sorted(range(len(older)), key=lambda k: wanted[k])
        return [numbers[k] for k in order[:NUM_BEST]]

    def _worths(self, study_id: int, trials: Sequence[FrozenTrial]) -> Floats:
        """Return the values of complete trials (N, K) so that more is better."""
        directions = self.get_study_directions(study_id)
        signs = [1.0 if d is StudyDirection.MAXIMIZE else -1.0 for d in directions]
        return np.asarray(as_points([t.values for t in trials]) * np.array(signs))

    def _with_untrained(
        self, study_id: int, trials: list[FrozenTrial], chosen: Sequence[FrozenTrial]
    ) -> list[FrozenTrial]:
        """Add those that break a constraint and have no value, as bad as the worst one."""
        complete = [t for t in trials if t.state is TrialState.COMPLETE]
        pruned = [trial for trial in chosen if trial.state is TrialState.PRUNED]
        untrained = [trial for trial in pruned if is_infeasible(trial)]
        if not complete or not untrained:
            return trials
        directions = self.get_study_directions(study_id)
        columns = zip(directions, zip(*(t.values for t in complete), strict=True), strict=True)
        worst = [min(c) if d is StudyDirection.MAXIMIZE else max(c) for d, c in columns]
        limits = [trial.constraints for trial in complete]
        most = {name: max(limit.get(name, 0.0) for limit in limits) for name in limits[0]}
        shown = [_as_if_complete(trial, worst, most) for trial in untrained]
        return sorted(chain(trials, shown), key=lambda trial: trial.number)


def _as_if_complete(
    trial: FrozenTrial, values: list[float], constraints: dict[str, float]
) -> FrozenTrial:
    """Return a trial with values; of the constraints, those that it was not told."""
    shown = copy.copy(trial)
    shown.state, shown.values = TrialState.COMPLETE, values
    shown.system_attrs = dict(trial.system_attrs)
    for name, excess in constraints.items():
        if name not in trial.constraints:
            shown.set_constraint(name, excess)
    return shown


def is_infeasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial was told to break a constraint."""
    return any(excess > 0 for excess in trial.constraints.values())


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
        import torch  # seconds, which the first trial need not wait for

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
