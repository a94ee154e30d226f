"""Rank trials and forecast what is left to do. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from search.errors import TrialError
from search.records import EpochRecord, TrialRecord, TrialState

SECONDS_FOR_TEST_AND_REPORT = 30.0  # of tiny images; 8 on an idle machine
EPOCHS_OF_A_TEST = 2  # that judging and explaining the test images takes at most, beside that
SECONDS_TO_START_WORKERS = 5.0  # on a machine that does nothing else
MOST_SECONDS_TO_START = 60.0  # what was measured may hold more: a probe extracts features first
RETRAIN_SHARE = 1.25  # of a trial: it trains on train + val
MOST_KEPT = 0.7  # of a time limit, for what follows the search
_MARGIN = 1.05  # a round of seeds that is kept for must not then be a second too long


def rank_trials(trials: Sequence[TrialRecord], direction: str) -> list[TrialRecord]:
    """Order trials, best first: COMPLETE ones by best epoch, equals by loss, then by time.

    A trial stopped early, failed or cut off never outranks one that reached the top rung, however
    lucky its early value: its figures come from another part of the schedule. One that breaks a
    constraint is left out.
    """
    sign = -1 if direction == "maximize" else 1
    allowed = [t for t in trials if t.state is not TrialState.INFEASIBLE]
    with_value = [t for t in allowed if t.best_value is not None]

    def key(trial: TrialRecord) -> tuple[bool, int, float, float, float, int]:
        complete = trial.state is TrialState.COMPLETE
        value = sign * (trial.best_value or 0.0)
        rung = 0 if complete else -trial.epochs_run
        loss = float("inf") if trial.best_loss is None else trial.best_loss
        return not complete, rung, value, loss, trial.seconds, trial.number

    return sorted(with_value, key=key)


def select_top(trials: Sequence[TrialRecord], *, top_k: int, direction: str) -> list[TrialRecord]:
    """Return the finalists, best first: COMPLETE trials with different params.

    The default recipe (trial 0) is left out, since it is confirmed anyway. If no other trial is
    COMPLETE, because time was short, the ones that got furthest stand in.
    """
    ranked = rank_trials(trials, direction)
    others = [t for t in ranked if t.number != 0 and t.state is not TrialState.FAILED]
    complete = [t for t in others if t.state is TrialState.COMPLETE]
    chosen: list[TrialRecord] = []
    for trial in complete or others:
        if all(trial.params != other.params for other in chosen):
            chosen.append(trial)
    return chosen[:top_k]


def default_trial(trials: Sequence[TrialRecord], direction: str) -> TrialRecord:
    """Return trial 0; the best trial stands in when trial 0 failed or never finished an epoch.

    Raises:
        TrialError: No trial finished one.
    """
    ranked = rank_trials(trials, direction)
    if not ranked:
        raise TrialError(
            "search: must finish at least one epoch of one trial, got none. "
            "Raise --time-limit, or lower dataset.size_px."
        )
    usable = [trial for trial in ranked if trial.state is not TrialState.FAILED] or ranked
    return next((trial for trial in usable if trial.number == 0), usable[0])


def num_retrainings(num_candidates: int, num_seeds: int) -> int:
    """Return how many models are trained on train + val: winner, default recipe and runner-up.

    Args:
        num_candidates: Configurations to confirm, the default recipe included; with two of them
            the default recipe is the winner or the runner-up.
        num_seeds: Of the confirmation; without one nobody is next best.
    """
    return 3 if num_candidates > 2 and num_seeds else 2


def forecast_seconds(
    trials: Sequence[TrialRecord],
    epochs: Sequence[EpochRecord],
    *,
    max_epochs: int,
    num_candidates: int,
    num_seeds: int,
    num_slots: int,
    direction: str,
    seconds_to_start: float = 0.0,
    num_retrained: int | None = None,
) -> float:
    """Forecast the stages after the search from the epochs of the trials that lead now.

    Args:
        num_candidates: Configurations to confirm, the default recipe included.
        num_slots: Trainings at once.
        seconds_to_start: That workers took to begin, where it was seen.
        num_retrained: Models to train on train + val, where it is not as `num_retrainings` says.

    Returns:
        Seconds for confirm (candidates × seeds), retrain, test and report.
    """
    leaders = {t.number for t in rank_trials(trials, direction)[:num_candidates]} | {0}
    spent = [e.seconds for e in epochs if e.trial_number in leaders]
    per_epoch = sum(spent) / len(spent) if spent else 0.0
    confirming = math.ceil(num_candidates * num_seeds / num_slots)
    retrained = num_retrained or num_retrainings(num_candidates, num_seeds)
    rounds = confirming + RETRAIN_SHARE * math.ceil(retrained / num_slots)
    start = min(max(seconds_to_start, SECONDS_TO_START_WORKERS), MOST_SECONDS_TO_START)
    training = (rounds * max_epochs + EPOCHS_OF_A_TEST) * per_epoch
    return training + (1 + bool(num_seeds)) * start + SECONDS_FOR_TEST_AND_REPORT


def confirmations(top_k: int, num_seeds: int) -> list[tuple[int, int]]:
    """Return (finalists, fresh seeds) that a confirmation may have, the most wanted first. Pure.

    Where time is short seeds go first, then finalists: whether tuning helped is asked last of all.
    """
    fewer_seeds = [(top_k, seeds) for seeds in range(num_seeds, 0, -1)]
    fewer_finalists = [(number, 1) for number in range(top_k - 1, 0, -1) if num_seeds]
    return [*fewer_seeds, *fewer_finalists, (top_k, 0)]


def seconds_to_keep(
    limit: float, wanted: Sequence[tuple[int, int]], forecast: Callable[[int, int], float]
) -> float:
    """Return what a search leaves of a time limit for the stages after it.

    Whole rounds of fresh seeds are planned for, as many as fit: to keep a part of one would be to
    wait for nothing.

    Args:
        limit: Seconds.
        wanted: See `confirmations`.
        forecast: Finalists, seeds -> seconds of confirm, retrain, test and report.

    Returns:
        Seconds, at most MOST_KEPT of the limit.
    """
    needed = (_MARGIN * forecast(*choice) for choice in wanted)
    return next((seconds for seconds in needed if seconds <= MOST_KEPT * limit), MOST_KEPT * limit)
