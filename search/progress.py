"""How far a stage's trainings are, from its ledger: counts, the incumbent, the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.goals import Goals
from search.records import TrialState

_NEVER_BEST = (TrialState.FAILED, TrialState.INFEASIBLE)
_NUM_TO_FORECAST = 3
"""Ended trials that a forecast needs: the first ones say little where most are stopped early."""


class LedgerLike(Protocol):
    """What is needed of a ledger (see tune/ledger.py)."""

    trials: dict[int, Any]
    metric: str
    direction: str
    goals: Goals

    def best(self, trial: Any) -> tuple[int, float] | None: ...

    def figures(self, trial: Any) -> dict[str, float]: ...

    def now(self) -> float: ...


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Attributes:
        num_done: Trials that need no more work.
        states: Ended trials by state.
        running: Trials that run, in number order.
        best: Number and value of the incumbent, complete trials first.
        seconds_left: A forecast, None while there is nothing to tell it from.
    """

    num_done: int
    num_trials: int
    states: Mapping[str, int]
    running: tuple[Any, ...]
    best: tuple[int, float] | None
    seconds_left: float | None


def progress_of(ledger: LedgerLike, num_trials: int, max_epochs: int, *, pruning: bool) -> Progress:
    """Count a stage's trials and forecast its end.

    Args:
        num_trials: That the stage trains in all.
        pruning: Trials may be stopped early, so that one is no measure for the next.
    """
    trials = list(ledger.trials.values())  # at once: the driver may be adding one
    trials.sort(key=lambda t: int(t.number))
    ended = [t for t in trials if t.state not in (None, TrialState.INTERRUPTED)]
    running = tuple(t for t in trials if t.state is None)
    usual = _usual_seconds(ended, running, num_trials, max_epochs, pruning)
    left, now = None, ledger.now()
    if usual is not None and running:
        rest = [_rest_of(trial, now, usual, max_epochs) for trial in running]
        num_coming = max(0, num_trials - len(ended) - len(running))
        # As many at once as are now.
        left = max(*rest, (num_coming * usual + sum(rest)) / len(running))
    counts = Counter(t.state for t in trials if t.state is not None)
    states = Counter({str(state): count for state, count in counts.items()})
    return Progress(len(ended), num_trials, states, running, incumbent(ledger), left)


def incumbent(ledger: LedgerLike) -> tuple[int, float] | None:
    """Return number and value of the best trial, complete ones first."""
    sign = 1 if ledger.direction == "maximize" else -1
    rows = [
        (t.state is TrialState.COMPLETE, sign * best[1], -t.number, best[1])
        for t in list(ledger.trials.values())
        if t.state not in _NEVER_BEST and (best := ledger.best(t))
    ]
    if not rows:
        return None
    _, _, number, value = max(rows)
    return -number, value


def duration(seconds: float) -> str:
    """Return a time as flags take it: 32s, 2m10s, 1h05m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def rough(seconds: float) -> str:
    """Return a forecast no finer than it is: "under 1 min", "about 4 min", "about 1 h 20 min"."""
    if seconds < 50:
        return "under 1 min"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"about {minutes} min"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"about {hours} h {rest} min" if rest and hours < 10 else f"about {hours} h"


def _usual_seconds(
    ended: Sequence[Any],
    running: Sequence[Any],
    num_trials: int,
    max_epochs: int,
    pruning: bool,
) -> float | None:
    """Return what a trial takes: as those before it, or as its epochs where none is stopped."""
    spent = [t.seconds for t in ended if t.epochs]
    if len(spent) >= (min(_NUM_TO_FORECAST, num_trials) if pruning else 1):
        return float(sum(spent) / len(spent))
    paces = [_pace(trial) for trial in running if trial.epochs]
    return None if pruning or not paces else max_epochs * max(paces)


def _rest_of(trial: Any, now: float, usual: float, max_epochs: int) -> float:
    """Forecast a running trial: as long as the usual one, or, if it outlived that, to its end."""
    spent = trial.seconds + now - trial.last_start
    if spent < usual or not trial.epochs:
        return max(0.0, float(usual - spent))
    return float(max_epochs - max(trial.epochs)) * _pace(trial)


def _pace(trial: Any) -> float:
    """Return the seconds of a trial's epoch, on average."""
    seconds = [row.get("seconds") or 0.0 for row in trial.epochs.values()]
    return float(sum(seconds) / len(seconds))
