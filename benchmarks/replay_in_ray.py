"""The proof that a simulated search decides as the same search does in Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.curves import CurveTable
from benchmarks.engine import noop_images
from benchmarks.replay import Event, Method, SimulatedTrial, Simulation, make_runner
from benchmarks.replayed import ReplayedSet
from search.tune.ledger import Ledger
from search.tune.session import RaySession
from search.tune.study import open_ledger, search_trials


def differences(
    method: Method, table: CurveTable, num_trials: int, seed: int, folder: Path
) -> list[str]:
    """Search in Ray, then simulate the same in the order that Ray's events had; compare the trials.

    Workers report when they like, so the order differs from run to run; it is all that may.
    """
    ours = Simulation(method, table, num_trials, seed, folder / "simulated")
    theirs, events = through_ray(method, table.path, num_trials, seed, folder / "ray")
    follow(ours, events)
    numbers = sorted(ours.ledger.trials.keys() | theirs.trials.keys())
    pairs = [(n, _told(ours.ledger, n), _told(theirs, n)) for n in numbers]
    return [f"trial {n}: {mine}, in Ray {other}" for n, mine, other in pairs if mine != other]


def _told(ledger: Ledger, number: int) -> Any:
    trial = ledger.trials.get(number)
    return trial and (trial.params, trial.seed, trial.state, trial.values(ledger.metric))


def through_ray(
    method: Method, curves: Path, num_trials: int, seed: int, folder: Path
) -> tuple[Ledger, list[Event]]:
    """Run a study in a Ray of its own; return its trials and what was done, in its order."""
    config = method.config(num_trials, seed)
    images = noop_images(folder)
    unseen = ReplayedSet(images.cache, images.train, images.val, images.feature_store)
    runner = make_runner(config, curves, folder, unseen)
    session = RaySession()
    session.start()
    try:
        session.wait()
        search_trials(runner)
    finally:
        session.stop()
    return open_ledger(config, runner.results), runner.events


def follow(study: Simulation, events: Sequence[Event]) -> None:
    """Drive a simulation in a given order."""
    trials: dict[int, SimulatedTrial] = {}
    results: dict[int, Iterator[dict[str, Any]]] = {}
    for event, number in events:
        if event == "suggest":
            trial = study.suggest()
            trials[trial.number], results[trial.number] = trial, trial.results()
        elif event == "epoch":
            study.report(trials[number], next(results[number]))
        else:
            study.end(trials[number])
