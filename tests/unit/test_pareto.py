"""Trade-offs: which points no other beats, which of them are wanted most, and who is stopped."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.goals import Objective
from search.pareto import (
    as_points,
    crowding_distances,
    front_of,
    is_on_front,
    non_dominated_ranks,
    preference,
)
from search.rungs import falls_behind, falls_behind_front

# Few different values: equal points and equal figures are part of it.
POINTS = st.integers(1, 3).flatmap(
    lambda k: st.lists(st.tuples(*[st.integers(0, 5)] * k), min_size=1, max_size=40)
)


def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """By the definition: as good in all figures, better in one."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


@given(POINTS)
def test_the_front_is_what_no_point_beats(points: list[tuple[int, ...]]) -> None:
    expected = [not any(beats(other, point) for other in points) for point in points]
    assert is_on_front(as_points(points)).tolist() == expected


@given(POINTS)
def test_ranks_peel_one_front_after_the_other(points: list[tuple[int, ...]]) -> None:
    left, expected, rank = dict(enumerate(points)), dict[int, int](), 0
    while left:
        front = [k for k, p in left.items() if not any(beats(o, p) for o in left.values())]
        expected |= dict.fromkeys(front, rank)
        left = {k: p for k, p in left.items() if k not in front}
        rank += 1
    ranks = non_dominated_ranks(as_points(points))
    assert ranks.tolist() == [expected[k] for k in range(len(points))]
    some = non_dominated_ranks(as_points(points), enough=3)
    assert sorted(some)[:3] == sorted(ranks)[:3], "the best are told apart all the same"


def test_crowding_is_infinite_at_the_ends_and_small_in_a_crowd() -> None:
    front = as_points([(0, 10), (4, 6), (5, 5), (6, 4), (10, 0), (5, 5)])
    distances = crowding_distances(front)
    assert distances[[0, 4]].tolist() == [math.inf, math.inf]
    assert distances[1] == pytest.approx(5 / 10 + 5 / 10), "from (0, 10) to (5, 5), both ways"
    assert distances[2] == distances[5] == pytest.approx(2 / 10 + 2 / 10)
    assert crowding_distances(as_points([(1, 2)])).tolist() == [0.0], "alone there is no distance"


def test_of_equal_rank_the_emptier_place_is_wanted_more() -> None:
    wanted = preference(as_points([(0, 10), (4, 6), (5, 5), (6, 4), (10, 0), (4, 5)]))
    order = sorted(range(6), key=lambda k: wanted[k])
    assert order[:2] == [0, 4]
    assert order[-2:] == [2, 5], "the crowded one, and behind all the one that is beaten"


def test_the_front_of_rows_leaves_out_what_is_not_known() -> None:
    objectives = [Objective("val_accuracy", "maximize"), Objective("latency_ms", "minimize")]
    rows = [
        {"val_accuracy": 0.9, "latency_ms": 5.0},
        {"val_accuracy": 0.8, "latency_ms": 6.0},
        {"val_accuracy": 0.7, "latency_ms": 1.0},
        {"val_accuracy": 0.99},
        {"val_accuracy": math.nan, "latency_ms": 0.1},
        {"val_accuracy": 0.95, "latency_ms": 9.0},
    ]
    assert front_of(rows, objectives) == [5, 0, 2], "the best by the first objective first"
    assert front_of([], objectives) == front_of(rows[3:4], objectives) == []


def test_a_large_front_takes_no_time() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 3))
    assert 20 < is_on_front(points).sum() < 500
    wanted = preference(points, enough=50)
    assert len(set(wanted)) > 50


# --- who is stopped at a rung


@given(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=30), st.integers(2, 4))
def test_one_objective_is_judged_as_ever(value: int, others: list[int], factor: int) -> None:
    alone = falls_behind(value, others, factor)
    assert falls_behind_front((value,), [(other,) for other in others], factor) == alone


def test_several_objectives_stop_who_is_beaten_and_spare_the_front() -> None:
    others = [(0.9, -10.0), (0.8, -5.0), (0.5, -1.0), (0.4, -6.0), (0.3, -7.0)]
    assert not falls_behind_front((0.45, -0.5), others, 3), "poor, but faster than all"
    assert not falls_behind_front((0.95, -20.0), others, 3), "slow, but better than all"
    assert falls_behind_front((0.35, -6.5), others, 3), "two of six go on, and five are nearer"
    assert not falls_behind_front((0.1, -99.0), others[:1], 3), "too few to say who is the worst"


def test_equal_trade_offs_are_not_cut() -> None:
    assert not falls_behind_front((0.5, -3.0), [(0.5, -3.0)] * 20, 3)


@given(POINTS, st.integers(2, 4))
def test_no_more_than_the_best_share_goes_on(points: list[tuple[int, ...]], factor: int) -> None:
    """Each as the last to come: spared are the most wanted ones, and equals of the last of them."""
    random.Random(0).shuffle(points)
    spared = [
        k
        for k, point in enumerate(points)
        if not falls_behind_front(point, points[:k] + points[k + 1 :], factor)
    ]
    if len(points) < factor:
        assert len(spared) == len(points)
        return
    wanted = preference(as_points(points))
    places = -(-len(points) // factor)
    last = sorted(wanted)[places - 1]
    assert {wanted[k] for k in spared} == {key for key in wanted if key <= last}
