"""The order of an epoch: every image once, or every class equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainables.sampling import epoch_order, turns_of


def order(labels: NDArray[np.int64], seed: int = 0, *, balanced: bool = True) -> list[int]:
    return epoch_order(labels, np.random.default_rng(seed), balanced=balanced).tolist()


@given(st.lists(st.integers(0, 5), max_size=80), st.integers(0, 9))
def test_every_class_and_every_image_of_it_come_equally_often(drawn: list[int], seed: int) -> None:
    labels = np.array(drawn, dtype=np.int64)
    rows = order(labels, seed)
    assert len(rows) == len(labels)
    times = np.bincount(rows, minlength=len(labels))
    of_class = [times[labels == label] for label in set(drawn)]
    shares = [int(counts.sum()) for counts in of_class]
    assert all(counts.max() - counts.min() <= 1 for counts in of_class)
    assert not shares or max(shares) - min(shares) <= 1


@given(st.integers(0, 60), st.integers(0, 9))
def test_without_balance_every_image_comes_once(number: int, seed: int) -> None:
    labels = np.zeros(number, np.int64)
    assert sorted(order(labels, seed, balanced=False)) == list(range(number))


def test_same_seed_same_order_and_other_images_in_other_epochs() -> None:
    labels = np.repeat([0, 1], [90, 10])
    assert order(labels, 1) == order(labels, 1) != order(labels, 2)
    common = [{row for row in order(labels, seed) if row < 90} for seed in range(8)]
    assert all(len(rows) == 50 for rows in common)
    assert len(set.union(*common)) > 85


def test_the_share_that_does_not_divide_goes_to_every_class_alike() -> None:
    labels = np.repeat([0, 1, 2], [5, 5, 1])
    extra = Counter(
        label
        for seed in range(300)
        for label, number in Counter(labels[order(labels, seed)].tolist()).items()
        if number == 4
    )
    assert [extra[label] / 300 for label in range(3)] == pytest.approx([2 / 3] * 3, abs=0.1)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_turns_count_how_often_the_same_came_before(entries: list[int]) -> None:
    expected = [entries[:k].count(entry) for k, entry in enumerate(entries)]
    assert turns_of(np.array(entries, dtype=np.int64)).tolist() == expected
