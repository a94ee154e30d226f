"""Which points are good trade-offs between several figures, and which the better of them. Pure.

Points are rows of an array (N, K); every figure is higher-is-better, so losses come negated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.goals import Figures, Goals, Objective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def is_on_front(points: Floats) -> Flags:
    """Tell (N,) which points no other beats: none is as good in all figures and better in one.

    Equal points are on the front together, or not at all.
    """
    unique, where = np.unique(points, axis=0, return_inverse=True)
    front = np.zeros(len(unique), dtype=bool)
    left = np.arange(len(unique))[::-1]  # sorted by the first figure, then the next: best first
    while left.size:
        best, rest = left[0], left[1:]
        front[best] = True
        left = rest[(unique[rest] > unique[best]).any(axis=1)]
    return np.asarray(front[where.reshape(-1)])


def non_dominated_ranks(points: Floats, enough: int | None = None) -> Ints:
    """Return the rank (N,) of every point: 0 on the front, 1 on the front without those, and so on.

    Args:
        enough: Of several figures: stop once as many points have a rank; the others share the next.

    References:
        Deb et al. 2002, NSGA-II, section III.A.
    """
    if points.shape[1] == 1:
        return np.unique(-points[:, 0], return_inverse=True)[1].reshape(-1)
    ranks = np.full(len(points), -1, dtype=np.int64)
    wanted = len(points) if enough is None else min(enough, len(points))
    rank = 0
    while (ranks >= 0).sum() < wanted:
        left = np.flatnonzero(ranks < 0)
        ranks[left[is_on_front(points[left])]] = rank
        rank += 1
    ranks[ranks < 0] = rank
    return ranks


def crowding_distances(points: Floats) -> Floats:
    """Return how far (N,) each point of one front is from its neighbours: infinite at the ends.

    Figures are scaled to the front's own range; equal points share their distance.

    References:
        Deb et al. 2002, NSGA-II, section III.B.
    """
    unique, where = np.unique(points, axis=0, return_inverse=True)
    distances = np.zeros(len(unique))
    for figures in unique.T:
        order = np.argsort(figures, kind="stable")
        span = figures[order[-1]] - figures[order[0]]
        if span > 0:
            distances[order[1:-1]] += (figures[order[2:]] - figures[order[:-2]]) / span
            ends = (figures == figures[order[0]]) | (figures == figures[order[-1]])
            distances[ends] = np.inf
    return np.asarray(distances[where.reshape(-1)])


def preference(points: Floats, enough: int | None = None) -> list[tuple[int, float]]:
    """Return what to sort points by, the most wanted first: rank, then the emptier surroundings.

    Args:
        enough: Only so many, the best ones, have to be told apart.
    """
    ranks = non_dominated_ranks(points, enough)
    distances = np.zeros(len(points))
    for rank in range(int(ranks.max(initial=-1)) + 1 if points.shape[1] > 1 else 0):
        at = ranks == rank
        distances[at] = crowding_distances(points[at])
    return [(int(rank), -float(far)) for rank, far in zip(ranks, distances, strict=True)]


def front_of(figures: Sequence[Figures], objectives: Sequence[Objective]) -> list[int]:
    """Return which rows no other beats, the best by the first objective first.

    Args:
        figures: Metric -> value; a row that lacks one of the objectives is left out.
    """
    goals = Goals(tuple(objectives))
    worths = {k: found for k, row in enumerate(figures) if (found := goals.worths(row))}
    if not worths:
        return []
    on_front = is_on_front(as_points(list(worths.values())))
    chosen = [k for k, is_on in zip(worths, on_front, strict=True) if is_on]
    return sorted(chosen, key=lambda k: worths[k], reverse=True)


def as_points(rows: Sequence[Sequence[float]]) -> Floats:
    """Return rows of figures as an array (N, K)."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)
