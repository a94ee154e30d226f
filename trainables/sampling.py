"""Which training images an epoch shows, and in what order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def epoch_order(labels: Ints, rng: np.random.Generator, *, balanced: bool) -> Ints:
    """Return the rows (N,) of `labels` (N,) that one epoch shows, in a random order.

    Every row once; or, if `balanced`, equally many of every class that has any (± 1, chance decides
    where), as many in all. Of a class with too many rows, each epoch draws some; of one with too
    few, all come equally often (± 1).

    References:
        Shen, Lin & Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional
        Neural Networks", ECCV 2016, for class-aware sampling.
    """
    if not balanced or not len(labels):
        return rng.permutation(len(labels))
    members = [np.flatnonzero(labels == label) for label in rng.permutation(np.unique(labels))]
    quotas = len(labels) // len(members) + (np.arange(len(members)) < len(labels) % len(members))
    drawn = [_in_turns(rows, quota, rng) for rows, quota in zip(members, quotas, strict=True)]
    return rng.permutation(np.concatenate(drawn))


def _in_turns(rows: Ints, number: int, rng: np.random.Generator) -> Ints:
    """Draw rows: all of them as often as `number` allows, then some once more."""
    whole, rest = divmod(int(number), len(rows))
    return np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])


def turns_of(order: Ints) -> Ints:
    """Return for each entry how often the same one stands before it: 0 where it comes first."""
    sorting = np.argsort(order, kind="stable")
    places = np.arange(len(order))
    ordered = order[sorting]
    begins = np.r_[True, ordered[1:] != ordered[:-1]] if len(order) else np.zeros(0, bool)
    turns = np.empty(len(order), np.int64)
    turns[sorting] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return turns
