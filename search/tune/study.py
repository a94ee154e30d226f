"""The search stage: Optuna proposes, ASHA stops early, Ray runs, the ledger remembers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from search.config import StudyConfig
from search.errors import TrialError
from search.goals import architecture_of
from search.records import (
    EpochRecord,
    SearchOutcome,
    TrialState,
    write_csv,
)
from search.results import ResultsFolder
from search.trial_table import trial_columns, trial_row
from search.tune.engine import state_of
from search.tune.importance import write_importance
from search.tune.ledger import Ledger
from search.tune.limits import Limits, all_failed, why_no_more
from search.tune.optuna_file import OptunaFile
from search.tune.optuna_search import StudySearch
from search.tune.runner import Runner
from search.tune.sampler import make_sampler, num_startup_trials
from search.tune.scheduler import StudyScheduler
from search.tune.warm_start import WarmStart


def search_trials(runner: Runner, warm_start: WarmStart | None = None) -> SearchOutcome:
    """Search until the budget, the space, the time limit or the user's patience run out.

    Args:
        warm_start: What another study offers to begin with.

    Returns:
        All trials so far, those of earlier processes included.

    Raises:
        TrialError: Every trial failed; the message has the most common reason.
    """
    begin = time.monotonic()
    config, results = runner.config, runner.results
    ledger = open_ledger(config, results)
    num_trials = config.num_trials - len(ledger.finished())
    scheduler = _make_scheduler(config, ledger)
    searcher = _make_searcher(runner, ledger, scheduler, warm_start)
    notes = {"metric": ledger.metric}
    if warm_start:
        notes["warm start"] = warm_start.text(config)
    shown = OptunaFile(results.journal, config.name, ledger, config.search_space, notes)
    limits = Limits(runner, ledger)

    def on_change(ledger: Ledger, event: str, number: int) -> None:
        shown.on_change(ledger, event, number)
        limits.on_change(event)
        runner.on_change(ledger, event, number)

    try:
        replace(runner, on_change=on_change).run(
            "search",
            ledger,
            searcher,
            scheduler,
            num_trials,
            should_stop=limits.are_reached,
        )
    finally:
        shown.close()
        write_study_tables(results, ledger)
    write_importance(results, ledger, config.search_space, config.seed)
    runner.clock.check()
    _raise_if_nothing_to_rank(ledger, results)
    reason = limits.reason or _how_it_ended(config, ledger, searcher)
    seconds = time.monotonic() - begin
    return SearchOutcome(ledger.trial_records(), ledger.epoch_records(), reason, seconds)


def open_ledger(config: StudyConfig, results: ResultsFolder) -> Ledger:
    """Read what the study's trials have done so far."""
    objective = config.objective
    return Ledger(results.events, objective.metric, objective.direction, goals=config.goals)


def load_outcome(
    config: StudyConfig, results: ResultsFolder, reason: str, seconds: float
) -> SearchOutcome:
    """Return the outcome of a search that is done."""
    ledger = open_ledger(config, results)
    return SearchOutcome(ledger.trial_records(), ledger.epoch_records(), reason, seconds)


def write_study_tables(results: ResultsFolder, ledger: Ledger) -> None:
    """Write trials.csv and epochs.csv."""
    trials, epochs = ledger.trial_records(), ledger.epoch_records()
    write_csv(results.study / "trials.csv", trial_columns(trials), map(trial_row, trials))
    columns = list(EpochRecord.__dataclass_fields__)
    write_csv(results.study / "epochs.csv", columns, (vars(e) for e in epochs))


def _make_scheduler(config: StudyConfig, ledger: Ledger) -> StudyScheduler:
    budget = config.budget
    return StudyScheduler(
        ledger,
        max_epochs=budget.max_epochs,
        min_epochs=budget.min_epochs,
        reduction_factor=budget.reduction_factor,
        brackets=budget.brackets,
        scheduler=budget.scheduler,
    )


def _how_it_ended(config: StudyConfig, ledger: Ledger, searcher: StudySearch) -> str:
    enough = why_no_more(config.budget, ledger)
    if enough and len(ledger.finished()) < config.budget.num_trials:
        return enough
    count = config.search_space.num_configurations
    if searcher.is_exhausted and config.constraints:
        return "every configuration that may satisfy the constraints was tried"
    if searcher.is_exhausted or count == config.num_trials:
        return f"all {count} configurations of the space were tried"
    return "all trials done"


def _make_searcher(
    runner: Runner,
    ledger: Ledger,
    scheduler: StudyScheduler,
    warm_start: WarmStart | None = None,
) -> StudySearch:
    config = runner.config

    def make_config(number: int, searched: dict[str, Any]) -> dict[str, Any]:
        network = _network(config, searched)
        footprint = ledger.footprints.get(network) or runner.footprints.get(network) or {}
        seed = config.seed + number
        return runner.request(number, searched, seed, footprint=footprint).to_config()

    def ended(trial_id: str, number: int, result: dict[str, Any] | None, error: bool) -> TrialState:
        return state_of(
            ledger,
            scheduler,
            trial_id=trial_id,
            number=number,
            stop_epoch=config.budget.max_epochs,
            result=result,
            failed=error,
        )

    space, num_startup = config.search_space, num_startup_trials(config.budget.num_trials)
    return StudySearch(
        space,
        make_config,
        ended,
        ledger,
        make_sampler(config.search.sampler, config.seed, num_startup),
        config.start_points + (warm_start.start_points(config) if warm_start else []),
        warm_start.frozen_trials(space, config.goals) if warm_start else (),
        config.seed,
        lambda: bool(why_no_more(config.budget, ledger)),
        lambda point: bool(config.constraints) and ledger.excludes(_network(config, point)),
    )


def _network(config: StudyConfig, searched: dict[str, Any]) -> str:
    """Name the network that searched params lead to."""
    return architecture_of(config.recipe_of(searched) | searched)


def _raise_if_nothing_to_rank(ledger: Ledger, results: ResultsFolder) -> None:
    """Raise if every trial failed, or broke a constraint, with the most common reason."""
    ended = ledger.finished()
    infeasible = [trial for trial in ended if trial.state is TrialState.INFEASIBLE]
    reasons = Counter(trial.error for trial in infeasible or ended)
    if all_failed(ledger) and not infeasible:
        reason, count = reasons.most_common(1)[0]
        raise TrialError(
            f"all {len(ended)} trials failed, {count} of them with: {reason}. "
            f"Logs: {results.logs}. Mend the cause, then start again with --fresh."
        )
    states = {trial.state for trial in ledger.trials.values() if trial.epochs}
    if infeasible and states <= {TrialState.INFEASIBLE, TrialState.FAILED}:
        reason, count = reasons.most_common(1)[0]
        raise TrialError(
            f"none of {len(ended)} trials satisfies the constraints, such as: {reason}. "
            "Loosen them, or widen the space; a changed study starts with --fresh."
        )
