"""What ends a search: the user, time, disk, failures; and what lets no further trial start."""

from __future__ import annotations

import time
from collections import Counter

from search.budget import why_enough
from search.budget_section import BudgetConfig
from search.records import TrialState
from search.select import confirmations, forecast_seconds, seconds_to_keep
from search.tune.ledger import Ledger
from search.tune.runner import Runner

NUM_FAILURES_TO_GIVE_UP = 5
NUM_INFEASIBLE_TO_GIVE_UP = 20  # each of another network, and none costs more than its measurement
SECONDS_BETWEEN_FORECASTS = 2.0  # each looks at every epoch of the study


class Limits:
    """Asked again and again whether the trials that run must end now.

    Attributes:
        reason: Why they had to, "" if they did not.
    """

    def __init__(self, runner: Runner, ledger: Ledger) -> None:
        self.reason = ""
        self._runner = runner
        self._ledger = ledger
        self._forecast()

    def are_reached(self) -> bool:
        """Tell whether the search has to end now; the first reason is kept."""
        if not self.reason:
            self.reason = self._look()
        return bool(self.reason)

    def on_change(self, event: str) -> None:
        """Learn from an epoch how long the stages after the search will take."""
        is_due = time.monotonic() - self._forecast_at > SECONDS_BETWEEN_FORECASTS
        if event == "epoch" and (is_due or not self._seconds_to_keep):
            self._forecast()

    def _look(self) -> str:
        clock = self._runner.clock
        if clock.stop_requested:
            return "stopped by the user"
        if clock.seconds_left < self._seconds_to_keep:
            return "time limit: the rest goes to confirm, retrain, test and report"
        return why_hopeless(self._ledger) or self._runner.disk_reason()

    def _forecast(self) -> None:
        """Forecast what confirm, retrain, test and report will take.

        Without any epoch it is 0: there would be nothing to retrain, and no report.
        """
        runner, ledger = self._runner, self._ledger
        self._forecast_at, self._seconds_to_keep = time.monotonic(), 0.0
        config, limit = runner.config, runner.config.budget.time_limit
        if limit is None or not any(trial.epochs for trial in ledger.trials.values()):
            return
        trials, epochs = ledger.trial_records(), ledger.epoch_records()

        def forecast(num_finalists: int, num_seeds: int) -> float:
            return forecast_seconds(
                trials,
                epochs,
                max_epochs=config.budget.max_epochs,
                num_candidates=num_finalists + 1,
                num_seeds=num_seeds,
                num_slots=runner.slots.count if runner.slots else 1,
                direction=config.objective.direction,
                seconds_to_start=runner.clock.seconds_to_start,
            )

        wanted = confirmations(config.confirm.top_k, config.confirm.num_seeds)
        self._seconds_to_keep = seconds_to_keep(limit, wanted, forecast)


def why_no_more(budget: BudgetConfig, ledger: Ledger) -> str:
    """Say why no further trial starts, "" if one may; see `why_enough`."""
    if budget.total_epochs is None and budget.plateau_trials is None:
        return ""
    ended = sorted(ledger.finished(), key=lambda trial: trial.last_event)
    return why_enough(
        [
            (trial.state, best[1] if (best := ledger.best(trial)) else None)
            for trial in ended
            if trial.state is not None
        ],
        sum(max(trial.epochs, default=0) for trial in ledger.trials.values()),
        direction=ledger.direction,
        total_epochs=budget.total_epochs,
        plateau_trials=budget.plateau_trials,
    )


def why_hopeless(ledger: Ledger) -> str:
    """Say why it makes no sense to go on, "" where it does."""
    trials = list(ledger.trials.values())
    if any(trial.epochs and trial.state is not TrialState.FAILED for trial in trials):
        return ""  # nearly always, and soon known
    states = Counter(trial.state for trial in trials)
    if states[TrialState.FAILED] >= NUM_FAILURES_TO_GIVE_UP:
        return "every trial failed"
    if states[TrialState.INFEASIBLE] >= NUM_INFEASIBLE_TO_GIVE_UP:
        return "every trial breaks a constraint"
    return ""


def all_failed(ledger: Ledger) -> bool:
    """Tell whether trials failed and none has anything to show, finished or not."""
    trials = ledger.trials.values()
    if any(t.state is not TrialState.FAILED and t.epochs for t in trials):  # nearly always soon
        return False
    return any(t.state is TrialState.FAILED for t in trials)
