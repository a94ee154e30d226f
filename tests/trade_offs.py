"""A study of two objectives and a limit, driven by hand as Ray drives it; trainings are made up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from search.config import StudyConfig
from search.goals import architecture_of
from search.records import TrialState
from search.tune.engine import state_of
from search.tune.ledger import Ledger
from search.tune.optuna_search import StudySearch
from search.tune.recorder import OnChange
from search.tune.sampler import make_sampler
from search.tune.scheduler import StudyScheduler
from tests.study_files import MINIMAL, load

MAX_EPOCHS = 9
GOALS = """
objective: [{metric: val_accuracy}, {metric: latency_ms}]
constraints: {num_parameters: <= 30e3}
budget: {num_trials: 60, max_epochs: 9, min_epochs: 1, reduction_factor: 3}
"""
SPACE = """  depth: {int: [2, 4]}
  width: {choice: [8, 16, 24, 32, 48], default: 8}
"""


def trade_off_study(*overrides: str, goals: str = GOALS) -> StudyConfig:
    return load(MINIMAL + SPACE + goals, *overrides)


def footprint(params: dict[str, Any]) -> dict[str, float]:
    """What such a network would cost: the wider and deeper, the more."""
    count = 10.0 * params["width"] ** 2 * params["depth"]
    return {"latency_ms": count / 1e4, "num_parameters": count, "model_mb": 4 * count / 1e6}


def accuracy(params: dict[str, Any], epoch: int) -> float:
    """What it would learn: the larger the better, at the right learning rate."""
    size = params["width"] * params["depth"] / 200
    return (0.5 + size - 10 * abs(params["lr"] - 3e-3)) * epoch / (epoch + 1)


def open_ledger(config: StudyConfig, path: Path) -> Ledger:
    objective = config.objective
    return Ledger(path, objective.metric, objective.direction, goals=config.goals)


def scheduler_over(config: StudyConfig, ledger: Ledger) -> StudyScheduler:
    return StudyScheduler(
        ledger, max_epochs=MAX_EPOCHS, min_epochs=1, reduction_factor=3, brackets=1
    )


def searcher_over(
    config: StudyConfig, ledger: Ledger, scheduler: StudyScheduler, sampler: str
) -> StudySearch:
    def network(params: dict[str, Any]) -> str:
        return architecture_of(config.recipe_of(params) | params)

    def make_config(number: int, params: dict[str, Any]) -> dict[str, Any]:
        known = ledger.footprints.get(network(params), {})
        told = {"architecture": network(params), "footprint": known}
        return {"number": number, "searched": params, "stop_epoch": MAX_EPOCHS} | told

    def ended(trial_id: str, number: int, result: Any, error: bool) -> TrialState:
        return state_of(
            ledger, scheduler, trial_id=trial_id, number=number, stop_epoch=MAX_EPOCHS,
            result=result, failed=error,
        )  # fmt: skip

    return StudySearch(
        config.search_space,
        make_config,
        ended,
        ledger,
        make_sampler(sampler, config.seed, 6),
        config.start_points,
        is_excluded=lambda params: ledger.excludes(network(params)),
    )


class Trial:
    """What the scheduler sees of a trial of Ray's."""

    def __init__(self, trial_id: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config = trial_id, config


@dataclass
class Run:
    """One process at work on a study."""

    config: StudyConfig
    ledger: Ledger
    scheduler: StudyScheduler
    searcher: StudySearch
    on_change: OnChange

    def trial(self, name: str) -> bool:
        """Run one trial as worker, controller and recorder do together; False if none is left."""
        asked = self.searcher.suggest(name)
        if not isinstance(asked, dict):
            return False
        number, params = asked["number"], asked["searched"]
        self.ledger.start(number, params, seed=number)
        self.on_change(self.ledger, "start", number)
        cost = asked["footprint"] or footprint(self.config.recipe_of(params) | params)
        result: dict[str, Any] = dict(cost)
        if reason := self.config.goals.faults(cost):
            result["infeasible"] = reason
            self.ledger.footprint(number, asked["architecture"], cost)
        else:
            result = self._train(name, asked, cost)
        state = self.searcher._state_of(name, number, result, False)
        self.searcher.on_trial_complete(name, result)
        self.ledger.end(number, state, reason)
        self.on_change(self.ledger, "end", number)
        return True

    def _train(self, name: str, asked: dict[str, Any], cost: dict[str, float]) -> dict[str, Any]:
        """Report epochs until the scheduler has had enough; return the last one."""
        number, params = asked["number"], asked["searched"]
        trial: Any = SimpleNamespace(trial_id=name, config=asked)
        for epoch in range(1, MAX_EPOCHS + 1):
            result = {"epoch": epoch, "val_accuracy": accuracy(params, epoch), "val_loss": 1.0}
            result |= cost if epoch == 1 else {}
            decision = self.scheduler.on_trial_result(None, trial, result)
            if epoch == 1:
                self.ledger.footprint(number, asked["architecture"], cost)
            self.ledger.epoch(number, result)
            self.on_change(self.ledger, "epoch", number)
            if decision == "STOP":
                break
        return result


def run_study(
    config: StudyConfig,
    ledger: Ledger,
    count: int,
    sampler: str = "tpe",
    on_change: OnChange = lambda ledger, event, number: None,
) -> StudySearch:
    """Run trials one after the other, as one process does."""
    scheduler = scheduler_over(config, ledger)
    searcher = searcher_over(config, ledger, scheduler, sampler)
    run = Run(config, ledger, scheduler, searcher, on_change)
    for k in range(count):
        if not run.trial(f"t{k}"):
            break
    return searcher
