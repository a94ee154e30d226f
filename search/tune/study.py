"""The search stage: Optuna proposes, ASHA stops early, Ray runs, the ledger remembers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from search.config import StudyConfig
from search.errors import TrialError
from search.records import (
    EpochRecord,
    SearchOutcome,
    TrialState,
    trial_columns,
    trial_row,
    write_csv,
)
from search.results import ResultsFolder
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
    _raise_if_all_failed(ledger, results)
    reason = limits.reason or _how_it_ended(config, ledger, searcher)
    seconds = time.monotonic() - begin
    return SearchOutcome(ledger.trial_records(), ledger.epoch_records(), reason, seconds)


def open_ledger(config: StudyConfig, results: ResultsFolder) -> Ledger:
    """Read what the study's trials have done so far."""
    return Ledger(results.events, config.objective.metric, config.objective.direction)


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
        past = ledger.trials.get(number)
        resume_from = past.checkpoint if past else ""
        seed = config.seed + number
        return runner.request(number, searched, seed, resume_from=resume_from).to_config()

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

    space = config.search_space
    return StudySearch(
        space,
        make_config,
        ended,
        ledger,
        make_sampler(
            config.search.sampler,
            config.seed,
            num_startup_trials(config.budget.num_trials),
        ),
        config.start_points + (warm_start.start_points(config) if warm_start else []),
        warm_start.frozen_trials(space) if warm_start else (),
        config.seed,
        lambda: bool(why_no_more(config.budget, ledger)),
    )


def _raise_if_all_failed(ledger: Ledger, results: ResultsFolder) -> None:
    if not all_failed(ledger):
        return
    reasons = Counter(t.error for t in ledger.finished())
    reason, count = reasons.most_common(1)[0]
    raise TrialError(
        f"all {len(ledger.finished())} trials failed, {count} of them with: {reason}. "
        f"Logs: {results.study / 'logs'}. Mend the cause, then start again with --fresh."
    )
