"""A search over recorded learning curves: all of it real but the trainings.

`simulate` drives the study's own searcher, scheduler and ledger as Ray Tune's controller does, in
simulated time; replay_in_ray.py runs the same search in Ray, and shows that it does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler
from ray.tune.schedulers import TrialScheduler

from benchmarks.curves import Curve, CurveTable
from search.clock import Clock
from search.config import StudyConfig, load_study
from search.records import TrialState
from search.results import ResultsFolder
from search.slots import Slots
from search.tune.engine import state_of
from search.tune.ledger import Ledger
from search.tune.preflight import Backbone
from search.tune.runner import Runner
from search.tune.study import _make_scheduler, _make_searcher, open_ledger
from search.tune.worker import Request

SPACE_FILE = Path(__file__).with_name("search_quality.yaml")
NUM_WORKERS = 2


Event = tuple[str, int]
"""("suggest", "epoch" or "end", trial number): what Ray's controller did, in its order."""


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        overrides: Of the space file, as on the command line.
        sampler: (seed, num_trials) -> what proposes; None for what a study would take.
    """

    name: str
    overrides: tuple[str, ...] = ()
    sampler: Callable[[int, int], BaseSampler] | None = None

    def config(self, num_trials: int, seed: int) -> StudyConfig:
        """Return the study to be replayed."""
        size = f"budget.num_trials={num_trials}"
        return load_study(SPACE_FILE, [size, f"seed={seed}", *self.overrides])


@dataclass(frozen=True)
class Found:
    """What a study would hand over from some moment on: its best complete trial.

    Attributes:
        seconds: Simulated ones, since the study's start.
        value: Of the trial's best epoch on val; test_accuracy: after its last epoch.
    """

    seconds: float
    value: float
    test_accuracy: float


@dataclass(frozen=True)
class Replay:
    """One study that was replayed.

    Attributes:
        found: Each one better than the one before.
        seconds: Simulated ones, until the last of as many trials as were wanted.
        num_epochs: Of these trials.
        states: Of all trials, those beyond that number included.
    """

    found: tuple[Found, ...]
    seconds: float
    num_epochs: int
    states: tuple[TrialState, ...]

    def at(self, seconds: float) -> Found:
        """Return what there was at a moment; before the first complete trial, that one."""
        return next((f for f in reversed(self.found) if f.seconds <= seconds), self.found[0])

    def mean_value(self, seconds: float) -> float:
        """Return the mean over the time until a moment of the value there was."""
        changes = [0.0, *(f.seconds for f in self.found[1:] if f.seconds < seconds), seconds]
        spans = pairwise(changes)
        return sum((b - a) * self.at(a).value for a, b in spans) / seconds


@dataclass(frozen=True)
class ReplayRunner(Runner):
    """A study's runner whose trainings are read from a table.

    Attributes:
        curves: The table's file.
        events: What was done, in its order.
    """

    curves: Path = field(kw_only=True)
    events: list[Event] = field(kw_only=True)

    def request(self, number: int, *args: Any, **kwargs: Any) -> Request:
        self.events.append(("suggest", number))
        request = super().request(number, *args, **kwargs)
        params = request.params | {"curves": str(self.curves)}
        return replace(request, trainable="replayed", params=params)


def make_runner(config: StudyConfig, curves: Path, folder: Path, images: Any) -> ReplayRunner:
    """Return a runner of NUM_WORKERS workers.

    Args:
        images: A ReplayedSet; None in a simulation.
    """
    events: list[Event] = []

    def on_change(ledger: Ledger, event: str, number: int) -> None:
        if event != "start":
            events.append((event, number))

    return ReplayRunner(
        config=config,
        results=ResultsFolder(folder),
        images=images,
        backbones={name: Backbone(name, None, 0) for name in config.possible_values("backbone")},
        slots=Slots(1, 0, NUM_WORKERS),
        clock=Clock(None),
        on_change=on_change,
        curves=curves,
        events=events,
    )


@dataclass(eq=False)
class SimulatedTrial:
    """What searcher and scheduler want to know of a trial of Ray's."""

    trial_id: str
    config: dict[str, Any]
    curve: Curve
    last_result: dict[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return int(self.config["number"])

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield what its worker would report."""
        rows = zip(self.curve.val_accuracy, self.curve.seconds, strict=True)
        for epoch, (value, seconds) in enumerate(rows, 1):
            yield {"epoch": epoch, "val_accuracy": value, "seconds": seconds}


class Simulation:
    """One study, driven step by step in the order of Ray's TuneController.

    Args:
        folder: For the ledger; empty, and best in memory.
    """

    def __init__(
        self, method: Method, table: CurveTable, num_trials: int, seed: int, folder: Path
    ) -> None:
        config = method.config(num_trials, seed)
        runner = make_runner(config, table.path, folder, images=None)
        self._table = table
        self.num_started = 0
        self.ledger = open_ledger(config, runner.results)
        self._scheduler: Any = _make_scheduler(config, self.ledger)
        self._searcher: Any = _make_searcher(runner, self.ledger, self._scheduler, None)
        if method.sampler is not None:
            self._searcher._study.sampler = method.sampler(seed, num_trials)

    def suggest(self) -> SimulatedTrial:
        """Start the next trial."""
        trial_id = f"trial-{self.num_started}"
        self.num_started += 1
        config = self._searcher.suggest(trial_id)
        trial = SimulatedTrial(trial_id, config, self._table.curve(config["params"]))
        self._scheduler.on_trial_add(None, trial)
        self.ledger.start(trial.number, config["searched"], config["seed"])
        return trial

    def report(self, trial: SimulatedTrial, result: dict[str, Any]) -> bool:
        """Take one epoch in; tell whether the trial may go on."""
        decision = self._scheduler.on_trial_result(None, trial, result)
        goes_on: bool = decision == TrialScheduler.CONTINUE
        if goes_on:
            self._searcher.on_trial_result(trial.trial_id, result)
        self.ledger.epoch(trial.number, result)
        trial.last_result = result
        return goes_on

    def end(self, trial: SimulatedTrial) -> None:
        """End a trial that was stopped or has no more to report."""
        self._scheduler.on_trial_complete(None, trial, trial.last_result)
        self._searcher.on_trial_complete(trial.trial_id, trial.last_result)
        state = state_of(
            self.ledger,
            self._scheduler,
            trial_id=trial.trial_id,
            number=trial.number,
            stop_epoch=trial.config["stop_epoch"],
            result=trial.last_result,
            failed=False,
        )
        self.ledger.end(trial.number, state)


def simulate(
    method: Method,
    table: CurveTable,
    num_trials: int,
    seed: int,
    folder: Path,
    until: float = 0.0,
) -> Replay:
    """Replay one study: NUM_WORKERS trainings at once, each epoch as long as it was recorded.

    Args:
        until: Seconds for which trials are started at least, those beyond `num_trials` included: a
            method that stops more of them has time for more.
    """
    study = Simulation(method, table, num_trials, seed, folder)
    found: list[Found] = []
    busy: list[tuple[float, int, SimulatedTrial, dict[str, Any], Iterator[dict[str, Any]]]] = []
    now = seconds = 0.0
    while True:
        while len(busy) < NUM_WORKERS and (study.num_started < num_trials or now < until):
            trial = study.suggest()
            results = trial.results()
            first = next(results)
            heapq.heappush(busy, (now + first["seconds"], trial.number, trial, first, results))
        if not busy:
            break
        now, number, trial, result, results = heapq.heappop(busy)
        goes_on = study.report(trial, result)
        following = next(results, None)
        if goes_on and following is not None:
            heapq.heappush(busy, (now + following["seconds"], number, trial, following, results))
            continue
        study.end(trial)
        _note(found, now, study.ledger, number, trial.curve)
        seconds = now if number < num_trials else seconds
    trials = study.ledger.finished()
    num_epochs = sum(len(trial.epochs) for trial in trials[:num_trials])
    return Replay(tuple(found), seconds, num_epochs, tuple(t.state for t in trials if t.state))


def _note(found: list[Found], now: float, ledger: Ledger, number: int, curve: Curve) -> None:
    """Add a complete trial that is better than all before it."""
    trial = ledger.trials[number]
    best = ledger.best(trial)
    is_better = best and (not found or best[1] > found[-1].value)
    if best and is_better and trial.state is TrialState.COMPLETE:
        found.append(Found(now, best[1], curve.test_accuracy))
