"""When trials are stopped early, and the one place that names how a trial ended. Pure.

Values are higher-is-better here: whoever calls turns losses round.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from search.pareto import as_points, preference
from search.records import TrialState

MIN_COMPARISONS = 4
"""Other trials that the median rule wants to have seen at an epoch before it stops one there."""
_GOLDEN = (math.sqrt(5) - 1) / 2

Ladder = tuple[int, ...]
"""Epochs at which trials of one bracket are compared, ascending."""


def rung_epochs(
    min_epochs: int, max_epochs: int, reduction_factor: int, bracket: int = 0
) -> Ladder:
    """Return the epochs at which trials are compared, ascending, all below `max_epochs`.

    Rung k of bracket s is at min_epochs · reduction_factor^(k+s) (Li et al. 2020, ASHA). Integers
    throughout: computed through logarithms, a ladder such as 1, 3, 9, 27, 81 < 243 loses a rung.
    """
    epoch = min_epochs * reduction_factor**bracket
    rungs = []
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= reduction_factor
    return tuple(rungs)


def ladders(
    scheduler: str, min_epochs: int, max_epochs: int, reduction_factor: int, brackets: int
) -> tuple[Ladder, ...]:
    """Return the ladder of each bracket; an empty one lets its trials train to the end.

    "hyperband" has every bracket there can be, the one without a rung included: a hedge against
    early epochs that mislead. The other schedulers than "asha" have no ladder.
    """
    full = rung_epochs(min_epochs, max_epochs, reduction_factor)
    if scheduler == "hyperband":
        return tuple(full[start:] for start in range(len(full) + 1))
    return tuple(full[start:] for start in range(brackets)) if scheduler == "asha" else ((),)


def bracket_shares(brackets: Sequence[Ladder], reduction_factor: int) -> list[float]:
    """Return the share of the trials that each bracket gets: all cost about as many epochs.

    References:
        Li et al. 2018, Hyperband: a bracket of s halvings starts η^s / (s + 1) times as many.
    """
    weights = [reduction_factor ** len(ladder) / (len(ladder) + 1) for ladder in brackets]
    return [weight / sum(weights) for weight in weights]


def bracket_of(number: int, brackets: Sequence[Ladder], reduction_factor: int) -> int:
    """Return a trial's bracket: by its number alone, so that it keeps it when it is resumed.

    Multiples of the golden ratio fill the shares evenly, however many trials there are.
    """
    place = number * _GOLDEN % 1.0
    for bracket, share in enumerate(bracket_shares(brackets, reduction_factor)):
        place -= share
        if place < 0:
            return bracket
    return len(brackets) - 1


def falls_behind(value: float, others: Sequence[float], reduction_factor: int) -> bool:
    """Tell whether a trial that reaches a rung is not among the best of all that did.

    One in `reduction_factor` goes on, rounded up. Fewer than that many are too few to say who is
    the worst, so the first ones pass; so does whoever is as good as the last one to pass. Sparing
    also those within the noise of few val images costs more epochs than it wins: on recorded curves
    a search of equal epochs ended lower.

    Args:
        others: Values that trials before it had at this rung.

    References:
        Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, in its variant that
        stops trials instead of pausing them.
    """
    num_reached = len(others) + 1
    num_better = sum(other > value for other in others)
    return num_reached >= reduction_factor and num_better >= -(-num_reached // reduction_factor)


def falls_behind_front(
    worths: Sequence[float], others: Sequence[Sequence[float]], reduction_factor: int
) -> bool:
    """Tell the same where several figures count: better is who is nearer to the front.

    Of trials as near as each other the one in emptier surroundings is better, so that the front is
    kept in its whole length. With one figure it is `falls_behind`.

    Args:
        worths: The trial's figures at this rung, higher is better.
        others: Those of the trials before it.

    References:
        Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving; ranks and crowding
        distance of Deb et al. 2002, NSGA-II.
    """
    if len(worths) == 1:
        return falls_behind(worths[0], [other[0] for other in others], reduction_factor)
    num_reached = len(others) + 1
    if num_reached < reduction_factor:
        return False
    num_places = -(-num_reached // reduction_factor)
    own, *keys = preference(as_points([worths, *others]), enough=num_places)
    return sum(key < own for key in keys) >= num_places


def below_median(values: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Tell whether a trial's best epoch is worse than the median of what others had on average.

    Args:
        values: Of its epochs so far.
        others: Of the same epochs of trials that got as far.

    References:
        Golovin et al. 2017, Google Vizier, section 3.2.2.
    """
    if len(others) < MIN_COMPARISONS:
        return False
    return max(values) < statistics.median(statistics.fmean(other) for other in others)


def expected_trials(
    num_trials: int, brackets: Sequence[Ladder], reduction_factor: int, max_epochs: int
) -> dict[int, float]:
    """Return how many trials are to be expected at each rung, and at `max_epochs`.

    As if trials came in no order of quality, and the better of two at one rung were the better at
    the next. Where curves cross, fewer get past the later rungs.
    """
    expected: dict[int, float] = {}
    for share, ladder in zip(bracket_shares(brackets, reduction_factor), brackets, strict=True):
        reached = _expected_to_reach(num_trials * share, ladder, reduction_factor)
        for epoch, count in zip((*ladder, max_epochs), reached, strict=True):
            expected[epoch] = expected.get(epoch, 0.0) + count
    return dict(sorted(expected.items()))


def expected_epochs(
    num_trials: int, brackets: Sequence[Ladder], reduction_factor: int, max_epochs: int
) -> float:
    """Return the epochs of all trials together, see `expected_trials`."""
    total = 0.0
    for share, ladder in zip(bracket_shares(brackets, reduction_factor), brackets, strict=True):
        reached = _expected_to_reach(num_trials * share, ladder, reduction_factor)
        lengths = (end - start for start, end in pairwise((0, *ladder, max_epochs)))
        total += sum(n * length for n, length in zip(reached, lengths, strict=True))
    return total


def _expected_to_reach(num_trials: float, ladder: Ladder, reduction_factor: int) -> list[float]:
    """Return how many trials of a bracket reach each rung, and the top."""
    reached = [0.0] * (len(ladder) + 1)
    for k in range(1, math.ceil(num_trials) + 1):
        chance = min(1.0, num_trials - k + 1)  # a part of a trial may come last
        for rung in range(len(ladder)):
            seen = round(reached[rung]) + 1  # by a trial that gets there
            reached[rung] += chance
            if seen >= reduction_factor:
                # The best of those at a rung are the best of all k that came so far.
                chance = min(chance, -(-seen // reduction_factor) / k)
        reached[-1] += chance
    return reached


def decide_state(
    *, epochs_run: int, max_epochs: int, pruned: bool, error: str, broken: str = ""
) -> TrialState:
    """Name how a trial ended.

    Args:
        epochs_run: Finished epochs.
        max_epochs: Epochs of a complete trial.
        pruned: The scheduler stopped it.
        error: Why it failed, "" if it did not.
        broken: Which constraints it breaks, "" if none.
    """
    if error:
        return TrialState.FAILED
    if broken:
        return TrialState.INFEASIBLE
    if epochs_run >= max_epochs:
        return TrialState.COMPLETE
    return TrialState.PRUNED if pruned else TrialState.INTERRUPTED
