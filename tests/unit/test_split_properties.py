"""Properties that every split has, searched for counterexamples by Hypothesis."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search.data.splits import MIN_TRAIN_IMAGES, PARTS, make_split
from search.errors import DatasetError
from search.records import DatasetIndex, ImageRow

CLASSES = ("-a b", 'c"\n', "été", "train")

seeds = st.integers(0, 2**64)
fractions = st.floats(0.05, 0.3)
group_sizes = st.lists(st.integers(1, 4), min_size=12, max_size=40)
classes_of_groups = st.lists(group_sizes, min_size=2, max_size=4)
single_counts = st.lists(st.integers(20, 90), min_size=2, max_size=4)

properties = settings(deadline=None, max_examples=60)


@dataclass(frozen=True)
class Photo:
    """One image: its content, its class number, its duplicate group and the split given to it."""

    content: str
    label: int
    group: int = -1
    split: str | None = None


def photos_of(sizes: Sequence[Sequence[int]]) -> list[Photo]:
    """Make photos whose class k has one duplicate group for every number in sizes[k]."""
    photos: list[Photo] = []
    group = 0
    for label, groups in enumerate(sizes):
        for size in groups:
            photos += [Photo(f"{label} {group} {i}", label, group) for i in range(size)]
            group += 1
    return photos


def singles(counts: Sequence[int]) -> list[Photo]:
    return [Photo(f"{k} {i}", k) for k, count in enumerate(counts) for i in range(count)]


def index_of(photos: Sequence[Photo], classes: Sequence[str] = CLASSES) -> DatasetIndex:
    """Make an index with the photos in the order given, alternately in two roots."""
    rows = tuple(
        ImageRow(
            f"{classes[photo.label]}/{i}.jpg",
            i % 2,
            classes[photo.label],
            photo.split,
            sha256=hashlib.sha256(photo.content.encode()).hexdigest(),
            group=photo.group,
        )
        for i, photo in enumerate(photos)
    )
    used = tuple(sorted({row.label for row in rows}))
    return DatasetIndex((Path("/data"), Path("/more data")), used, rows)


def parts_of(
    photos: Sequence[Photo],
    *,
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
) -> dict[str, str]:
    """Return the part of every photo, by content, after checking that the ids are as promised."""
    index = index_of(photos, classes)
    split = make_split(index, val_fraction=val, test_fraction=test, seed=seed)
    ids = {part: getattr(split, part) for part in PARTS}
    for part_ids in ids.values():
        assert part_ids.dtype == np.int64
        assert (np.diff(part_ids) > 0).all()  # sorted, none twice
    every = np.concatenate(list(ids.values()))
    assert sorted(every.tolist()) == list(range(len(photos)))  # disjoint and covering
    return {photos[i].content: part for part in PARTS for i in ids[part].tolist()}


def count(photos: Sequence[Photo], parts: dict[str, str]) -> Counter[tuple[int, str]]:
    return Counter((photo.label, parts[photo.content]) for photo in photos)


@properties
@given(classes_of_groups, fractions, fractions, seeds)
def test_groups_are_whole_and_classes_keep_their_shares(
    sizes: list[list[int]], val: float, test: float, seed: int
) -> None:
    photos = photos_of(sizes)
    parts = parts_of(photos, val=val, test=test, seed=seed)
    parts_of_group = defaultdict(set)
    for photo in photos:
        parts_of_group[photo.group].add(parts[photo.content])
    assert all(len(found) == 1 for found in parts_of_group.values())
    counts = count(photos, parts)
    for label, groups in enumerate(sizes):
        for part, fraction in (("val", val), ("test", test)):
            assert abs(counts[label, part] - fraction * sum(groups)) <= max(groups) + 0.5


@properties
@given(single_counts, fractions, fractions, seeds)
def test_without_duplicates_the_shares_are_exact(
    sizes: list[int], val: float, test: float, seed: int
) -> None:
    counts = count(singles(sizes), parts_of(singles(sizes), val=val, test=test, seed=seed))
    for label, size in enumerate(sizes):
        assert counts[label, "val"] == max(1, round(val * size))
        assert counts[label, "test"] == max(1, round(test * size))


@properties
@given(classes_of_groups, seeds, st.data())
def test_a_group_of_several_classes_is_whole(
    sizes: list[list[int]], seed: int, data: st.DataObject
) -> None:
    photos = photos_of(sizes)
    group = data.draw(st.integers(0, photos[-1].group))
    mixed = [
        replace(photo, label=i % len(sizes)) if photo.group == group else photo
        for i, photo in enumerate(photos)
    ]
    parts = parts_of(mixed, seed=seed)
    assert len({parts[photo.content] for photo in mixed if photo.group == group}) == 1


@properties
@given(classes_of_groups, seeds, st.data(), st.permutations(CLASSES))
def test_order_paths_roots_and_names_of_classes_decide_nothing(
    sizes: list[list[int]], seed: int, data: st.DataObject, classes: list[str]
) -> None:
    photos = photos_of(sizes)
    shuffled = data.draw(st.permutations(photos))
    # Group numbers are only names too.
    shuffled = [replace(photo, group=1000 - photo.group) for photo in shuffled]
    expected = parts_of(photos, seed=seed)
    assert parts_of(shuffled, seed=seed, classes=classes) == expected


@properties
@given(st.lists(seeds, min_size=2, max_size=2, unique=True))
def test_another_seed_draws_other_images(two: list[int]) -> None:
    photos = singles([60, 60])
    assert parts_of(photos, seed=two[0]) != parts_of(photos, seed=two[1])


@properties
@given(single_counts, st.integers(1, 10), fractions, fractions, seeds)
def test_photos_added_to_a_class_move_few_others(
    sizes: list[int], num_added: int, val: float, test: float, seed: int
) -> None:
    before = singles(sizes)
    after = [*before, *(Photo(f"new {i}", 0) for i in range(num_added))]
    old = parts_of(before, val=val, test=test, seed=seed)
    new = parts_of(after, val=val, test=test, seed=seed)
    moved = [photo for photo in before if old[photo.content] != new[photo.content]]
    assert all(photo.label == 0 for photo in moved)  # no other class is touched
    assert len(moved) <= 2 * num_added  # at most as many as are new, at each of two borders
    if (1 - val - test) * sizes[0] > num_added + 2:  # what lies between test and val is no thinner
        assert all("train" in (old[p.content], new[p.content]) for p in moved)


@properties
@given(single_counts, fractions, fractions, seeds, st.data())
def test_one_photo_dropped_moves_at_most_one_at_each_border(
    sizes: list[int], val: float, test: float, seed: int, data: st.DataObject
) -> None:
    before = singles(sizes)
    gone = data.draw(st.integers(0, len(before) - 1))
    old = parts_of(before, val=val, test=test, seed=seed)
    new = parts_of(before[:gone] + before[gone + 1 :], val=val, test=test, seed=seed)
    assert sum(old[content] != part for content, part in new.items()) <= 2


@properties
@given(
    single_counts,
    seeds,
    st.sampled_from([("val",), ("test",), ("val", "test")]),
    st.booleans(),
    st.data(),
)
def test_given_splits_are_kept_and_missing_ones_cut_from_train(
    sizes: list[int], seed: int, others: tuple[str, ...], second_root: bool, data: st.DataObject
) -> None:
    # Photos without a split of their own, from another root, count as training images.
    choices = st.sampled_from(("train", "train", "train", *others, *[None] * second_root))
    photos = [replace(photo, split=data.draw(choices)) for photo in singles(sizes)]
    given_counts = Counter((photo.label, photo.split) for photo in photos)
    trained = {k: given_counts[k, "train"] + given_counts[k, None] for k in range(len(sizes))}
    assume(min(trained.values()) >= MIN_TRAIN_IMAGES + 2)
    assume(all(given_counts[k, part] for k in range(len(sizes)) for part in others))
    parts = parts_of(photos, seed=seed)
    for photo in photos:
        if photo.split in others:
            assert parts[photo.content] == photo.split
        else:
            assert parts[photo.content] not in others
    counts = count(photos, parts)
    for part in {"val", "test"} - set(others):
        for label, number in trained.items():
            assert counts[label, part] == max(1, round(0.15 * number))


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.3, 0.49])
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_five_images_are_enough(size: int, fraction: float) -> None:
    photos = singles([size, 40])
    counts = count(photos, parts_of(photos, val=fraction, test=fraction))
    assert counts[0, "train"] >= MIN_TRAIN_IMAGES
    assert counts[0, "val"] >= 1
    assert counts[0, "test"] >= 1


@pytest.mark.parametrize(
    ("groups", "fewest_train"),
    [
        ([20, 1, 1, 1], 20),  # val and test get the single images, the copies train
        ([20, 1, 1], 20),
        ([5, 5, 5], 5),
        ([3, 1, 1], 3),
        ([2, 2, 1, 1], 3),
    ],
)
def test_few_groups_are_shared_out(groups: list[int], fewest_train: int) -> None:
    photos = photos_of([groups, [1] * 20])
    counts = count(photos, parts_of(photos))
    assert counts[0, "train"] >= fewest_train
    assert counts[0, "val"] >= 1
    assert counts[0, "test"] >= 1


def test_every_class_that_is_too_small_is_named() -> None:
    photos = [
        *photos_of([[1] * 30, [25]]),  # all images of the second class are one duplicate
        *(Photo(f"few {i}", 2, 100 + i) for i in range(4)),
        *(Photo(f"pair {i}", 3, 200 + i // 2) for i in range(4)),  # two groups for three parts
    ]
    with pytest.raises(DatasetError, match=r"^The split has 3 problems:") as error:
        parts_of(photos)
    text = str(error.value)
    for label in (1, 2, 3):
        assert f"class {CLASSES[label]}: needs at least 3 train, 1 val and 1 test" in text
    assert f"class {CLASSES[0]}:" not in text
    assert "got 25 train, 0 val, 0 test" in text


def test_a_class_without_images_in_a_given_split_is_named() -> None:
    photos = singles([30, 30])
    photos = [
        replace(photo, split="val" if photo.label == 0 and i % 3 == 0 else "train")
        for i, photo in enumerate(photos)
    ]
    with pytest.raises(DatasetError, match="got 26 train, 0 val, 4 test") as error:
        parts_of(photos)
    assert f"class {CLASSES[1]}:" in str(error.value)


@properties
@given(single_counts, seeds)
def test_an_index_not_yet_checked_can_be_split_too(sizes: list[int], seed: int) -> None:
    index = index_of(singles(sizes))
    bare = replace(index, rows=tuple(replace(row, sha256="", group=-1) for row in index.rows))
    split = make_split(bare, val_fraction=0.15, test_fraction=0.15, seed=seed)
    again = make_split(bare, val_fraction=0.15, test_fraction=0.15, seed=seed)
    assert split.test.tolist() == again.test.tolist()
    assert len(split.train) + len(split.val) + len(split.test) == len(bare.rows)
