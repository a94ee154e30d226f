"""What to try next: Optuna behind Ray Tune, told the truth about every trial.

Plain OptunaSearch tells Optuna COMPLETE for trials that ASHA stopped, leaves diverged ones RUNNING
for ever, which the sampler then avoids, and trains the same point of a small space many times.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, cast

import optuna
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.searcher import Searcher

from search.goals import footprint_of
from search.records import TrialState
from search.space import Space
from search.tune.ledger import Ledger
from search.tune.points import PointKey, point_key, points, random_point
from search.tune.sampler import SamplerMemory, distributions, reseed
from search.tune.told import told_of
from search.tune.unsaved import Unsaved

NUM_REDRAWS = 10  # of the sampler, before an untried point is drawn at random; 2 of a slow one
NUM_UNTRIED = 10_000  # of them, to draw from
NUM_SCANNED = 100_000  # points of a large space, in search of untried ones
NUM_BY_LUCK = 1000  # more of them, where what was scanned breaks constraints


class StudySearch(Unsaved, OptunaSearch):
    """Ask a sampler for params; tell it how each trial really ended.

    The sampler's study is in memory, made anew by every process from the ledger, and knows more
    than trials: repeats that were drawn, and trials of other studies. Numbers are the ledger's.
    First come trials that were interrupted, numbers that were lost before they were logged, and
    start points not yet tried.

    Args:
        space: What may be asked for.
        make_config: (number, params) -> the config a worker gets.
        state_of: (trial id, number, result, error) -> how a trial ended (`rungs.decide_state`).
        ledger: The trials so far.
        sampler: Made by `make_sampler`.
        start_points: Searched params of the first trials.
        past: Finished trials of another study over the same space, for the sampler to learn from.
        seed: Of the draws among untried points.
        is_enough: Asked before a trial starts that is not in the ledger yet.
        is_excluded: (params) -> whether they are known to break a constraint, whatever they train
            to: a drawn point of that kind costs no trial.
    """

    def __init__(
        self,
        space: Space,
        make_config: Callable[[int, dict[str, Any]], dict[str, Any]],
        state_of: Callable[[str, int, dict[str, Any] | None, bool], TrialState],
        ledger: Ledger,
        sampler: BaseSampler,
        start_points: Sequence[dict[str, Any]] = (),
        past: Sequence[FrozenTrial] = (),
        seed: int = 0,
        is_enough: Callable[[], bool] = lambda: False,
        is_excluded: Callable[[dict[str, Any]], bool] = lambda params: False,
    ) -> None:
        objectives = ledger.goals.objectives
        modes = ["max" if o.direction == "maximize" else "min" for o in objectives]
        super().__init__(
            space=space.suggest,
            metric=[o.metric for o in objectives] if len(objectives) > 1 else ledger.metric,
            mode=modes if len(objectives) > 1 else modes[0],
            storage=SamplerMemory(),
            sampler=sampler,
        )
        self._study = cast(optuna.Study, self._ot_study)
        self._num_redraws = 2 if isinstance(sampler, GPSampler) else NUM_REDRAWS
        self._points = space
        self._make_config = make_config
        self._state_of = state_of
        self._ledger = ledger
        self._is_enough = is_enough
        self._is_excluded = is_excluded
        self._draw_seed = seed
        self._random = random.Random(seed)
        self._configs: dict[str, dict[str, Any]] = {}
        self._tried: set[PointKey] = set()
        self._waiting: deque[tuple[int, dict[str, Any] | None]] = deque()
        self._next = max(max(ledger.trials, default=-1) + 1, len(start_points))
        self.is_exhausted = False
        for trial in past:
            self._study.add_trial(trial)
        self._remember(start_points)

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial, FINISHED when every point was tried."""
        number, point = self._waiting[0] if self._waiting else (self._next, None)
        if number not in self._ledger.trials and self._is_enough():
            # What is running may yet change that: a new best one ends a plateau.
            return None if self._ot_trials else Searcher.FINISHED
        if point is not None:
            self._study.enqueue_trial(point)
            trial = self._study.ask()
            params = self._points.suggest(trial)
        else:
            # Mixed, not added: studies with seeds 0 and 1 would draw the same points, one apart.
            self._random = random.Random(f"{self._draw_seed} {number}")
            reseed(self._study.sampler, self._random.getrandbits(32))
            drawn = self._draw()
            if drawn is None:
                self.is_exhausted = True
                return Searcher.FINISHED
            trial, params = drawn
        if self._waiting:
            self._waiting.popleft()
        else:
            self._next += 1
        self._tried.add(point_key(self._points, params))
        self._ot_trials[trial_id] = trial
        self._configs[trial_id] = self._make_config(number, params) | {"number": number}
        return self._configs[trial_id]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the ledger has every epoch, and samplers learn from trials that ended."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the sampler the state; the values of a complete trial are of its best epoch."""
        trial, config = self._ot_trials.pop(trial_id, None), self._configs.pop(trial_id, {})
        if trial is None:
            return
        number = config["number"]
        state = self._state_of(trial_id, number, result, error)
        known, last = self._ledger.trials.get(number), result or {}
        epochs = dict(known.epochs) if known else {}
        if last.get(self._ledger.metric) is not None and last.get("epoch"):
            epochs[last["epoch"]] = last  # Tune may tell the log of an epoch after it tells us
        footprint = (known.footprint if known else {}) or footprint_of(last)
        told = told_of(self._ledger.goals, state, epochs, footprint, self._is_gaussian)
        for epoch, value in sorted(told.by_epoch.items()):
            trial.report(value, epoch)
        for name, excess in told.constraints.items():
            trial.set_constraint(name, excess)
        self._study.tell(trial, told.values, state=told.state)

    def _remember(self, start_points: Sequence[dict[str, Any]]) -> None:
        """Tell the sampler of the ledger's trials, and queue what is to be asked first."""
        known = distributions(self._points)
        for number in range(self._next):
            trial = self._ledger.trials.get(number)
            if trial is None:  # a start point, or lost between asking and logging
                params = start_points[number] if number < len(start_points) else None
            else:
                params = {name: v for name, v in trial.params.items() if name in known}
            if params is not None:
                self._tried.add(point_key(self._points, params))
            if trial is None or trial.state in (None, TrialState.INTERRUPTED):
                self._waiting.append((number, params))
            elif params is not None and trial.state is not None:
                goals = self._ledger.goals
                told = told_of(goals, trial.state, trial.epochs, trial.footprint, self._is_gaussian)
                self._study.add_trial(told.frozen(params, known))
        # They go on even if it is enough; what was only asked for does not.
        self._waiting = deque(sorted(self._waiting, key=lambda w: w[0] not in self._ledger.trials))

    def _by_luck(self) -> list[dict[str, Any]]:
        """Return a point worth a trial of a space too large to be scanned, if one is soon found."""
        drawn = (random_point(self._points, self._random) for _ in range(NUM_BY_LUCK))
        return list(islice((point for point in drawn if not self._is_known(point)), 1))

    @property
    def _is_gaussian(self) -> bool:
        return isinstance(self._study.sampler, GPSampler)

    def _is_known(self, params: dict[str, Any]) -> bool:
        """Tell whether a trial of these params would teach nothing."""
        return point_key(self._points, params) in self._tried or self._is_excluded(params)

    def _draw(self) -> tuple[optuna.Trial, dict[str, Any]] | None:
        """Ask the sampler for a point worth a trial, None when there is none left.

        A repeat, or a point known to break a constraint, stays open while the sampler is asked
        again, so that it looks elsewhere, and is then told as failed: samplers do not learn from
        those.
        """
        repeats: list[optuna.Trial] = []
        try:
            for _ in range(self._num_redraws):
                trial = self._study.ask()
                params = self._points.suggest(trial)
                if not self._is_known(params):
                    return trial, params
                repeats.append(trial)
        finally:
            for repeat in repeats:
                self._study.tell(repeat, state=OptunaState.FAIL)
        scanned = islice(points(self._points, self._random), NUM_SCANNED)
        fresh = (point for point in scanned if not self._is_known(point))
        untried = list(islice(fresh, NUM_UNTRIED)) or self._by_luck()
        if not untried:
            return None
        known = distributions(self._points)
        point = self._random.choice(untried)
        self._study.enqueue_trial({n: v for n, v in point.items() if n in known})
        trial = self._study.ask()
        return trial, self._points.suggest(trial)
