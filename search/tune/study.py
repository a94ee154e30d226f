"""The search stage: Optuna proposes, ASHA stops early, Ray runs, the ledger remembers."""

from __future__ import annotations

import time
from collections import Counter
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
from search.select import forecast_seconds
from search.tune.engine import state_of
from search.tune.importance import write_importance
from search.tune.ledger import Ledger
from search.tune.optuna_search import StudySearch, build_optuna_study
from search.tune.runner import Runner
from search.tune.scheduler import StudyScheduler

NUM_FAILURES_TO_GIVE_UP = 5


def search_trials(runner: Runner) -> SearchOutcome:
    """Search until the trials, the time limit or the user's patience run out.

    Returns:
        All trials so far, those of earlier processes included.

    Raises:
        TrialError: Every trial failed; the message has the most common reason.
    """
    begin = time.monotonic()
    config, results = runner.config, runner.results
    ledger = open_ledger(config, results)
    num_trials = config.budget.num_trials - len(ledger.finished())
    reasons: list[str] = []
    scheduler = _make_scheduler(config, ledger)
    searcher = _make_searcher(runner, ledger, scheduler)
    try:
        runner.run(
            "search",
            ledger,
            searcher,
            scheduler,
            num_trials,
            should_stop=lambda: _should_stop(runner, ledger, reasons),
        )
    finally:
        searcher.close()
        write_study_tables(results, ledger)
    write_importance(results, ledger, config.search_space, config.seed)
    runner.clock.check()
    _raise_if_all_failed(ledger, results)
    reason = reasons[0] if reasons else "all trials done"
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
    )


def _make_searcher(runner: Runner, ledger: Ledger, scheduler: StudyScheduler) -> StudySearch:
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

    study = build_optuna_study(
        ledger,
        config.search_space,
        runner.results.journal,
        config.name,
        config.start_points,
        config.seed,
        config.budget.num_trials,
    )
    return StudySearch(study, config.search_space, make_config, ended, ledger)


def _should_stop(runner: Runner, ledger: Ledger, reasons: list[str]) -> bool:
    """Ask whether the search has to end now; the first reason is kept."""
    if runner.clock.stop_requested:
        reasons.append("stopped by the user")
    elif runner.clock.seconds_left < _seconds_after_search(runner, ledger):
        reasons.append("time limit: the rest goes to confirm, retrain, test and report")
    elif _all_failed(ledger) and len(ledger.finished()) >= NUM_FAILURES_TO_GIVE_UP:
        reasons.append("every trial failed")
    return bool(reasons)


def _seconds_after_search(runner: Runner, ledger: Ledger) -> float:
    """Forecast what confirm, retrain, test and report will take, at most 60 % of the limit."""
    config = runner.config
    limit = config.budget.time_limit
    if limit is None:
        return 0.0
    seconds = forecast_seconds(
        ledger.trial_records(),
        ledger.epoch_records(),
        max_epochs=config.budget.max_epochs,
        num_candidates=config.confirm.top_k + 1,
        num_seeds=config.confirm.num_seeds,
        num_slots=runner.slots.count if runner.slots else 1,
        direction=config.objective.direction,
    )
    return min(seconds, 0.6 * limit)


def _all_failed(ledger: Ledger) -> bool:
    """Tell whether trials failed and none has anything to show, finished or not."""
    failed = [t for t in ledger.finished() if t.state is TrialState.FAILED]
    others = [t for t in ledger.trials.values() if t.state is not TrialState.FAILED and t.epochs]
    return bool(failed) and not others


def _raise_if_all_failed(ledger: Ledger, results: ResultsFolder) -> None:
    if not _all_failed(ledger):
        return
    reasons = Counter(t.error for t in ledger.finished())
    reason, count = reasons.most_common(1)[0]
    raise TrialError(
        f"all {len(ledger.finished())} trials failed, {count} of them with: {reason}. "
        f"Logs: {results.study / 'logs'}. Mend the cause, then start again with --fresh."
    )
