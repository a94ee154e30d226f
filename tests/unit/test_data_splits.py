"""Splits: disjoint, covering, stratified, duplicates together, whatever the order of the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data.splits import PARTS, make_split, read_split, write_split
from search.errors import DatasetError
from search.records import DatasetIndex, ImageRow, Split


def make_index(sizes: list[list[int]], given_split: str | None = None) -> DatasetIndex:
    """Make an index whose class k has one duplicate group for every number in sizes[k]."""
    rows, group = [], 0
    for k, groups in enumerate(sizes):
        for size in groups:
            for _ in range(size):
                path = f"c{k}/{len(rows)}.png"
                sha = hashlib.sha256(path.encode()).hexdigest()
                rows.append(ImageRow(path, 0, f"c{k}", given_split, sha256=sha, group=group))
            group += 1
    classes = tuple(f"c{k}" for k in range(len(sizes)))
    return DatasetIndex((Path("/data"),), classes, tuple(rows))


def parts_by_content(index: DatasetIndex, split: Split) -> dict[str, str]:
    return {index.rows[i].sha256: part for part in PARTS for i in getattr(split, part).tolist()}


class_groups = st.lists(st.integers(1, 3), min_size=12, max_size=40)
many_classes = st.lists(class_groups, min_size=2, max_size=4)


@settings(deadline=None, max_examples=60)
@given(many_classes, st.floats(0.05, 0.3), st.floats(0.05, 0.3), st.integers(0, 2**32), st.data())
def test_properties(
    sizes: list[list[int]],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    data: st.DataObject,
) -> None:
    index = make_index(sizes)
    split = make_split(index, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    every = np.concatenate([split.train, split.val, split.test])
    assert sorted(every.tolist()) == list(range(len(index.rows)))  # disjoint and covering
    part_of = parts_by_content(index, split)
    group_parts = {(row.group, part_of[row.sha256]) for row in index.rows}
    assert len(group_parts) == len({row.group for row in index.rows})  # groups whole
    counts = Counter((row.label, part_of[row.sha256]) for row in index.rows)
    for k, groups in enumerate(sizes):  # stratified, up to one group
        for part, fraction in (("val", val_fraction), ("test", test_fraction)):
            assert abs(counts[f"c{k}", part] - fraction * sum(groups)) <= max(groups) + 0.5
    order = data.draw(st.permutations(range(len(index.rows))))
    renamed = [replace(index.rows[i], path=f"other/{i}.png") for i in order]
    again = replace(index, rows=tuple(renamed))
    other = make_split(again, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    assert parts_by_content(again, other) == part_of  # independent of names and order


def test_seed_decides(tmp_path: Path) -> None:
    index = make_index([[1] * 40, [1] * 40])
    one, two, three = (
        make_split(index, val_fraction=0.2, test_fraction=0.2, seed=seed) for seed in (0, 0, 1)
    )
    assert one.val.tolist() == two.val.tolist()
    assert one.val.tolist() != three.val.tolist()
    assert one.given == ()


@pytest.mark.parametrize("given_parts", [("val",), ("test",), ("val", "test")])
def test_given_splits_are_respected(given_parts: tuple[str, ...]) -> None:
    index = make_index([[1] * 30, [1] * 30])
    rows = [
        replace(row, split=given_parts[i % 5] if i % 5 < len(given_parts) else "train")
        for i, row in enumerate(index.rows)
    ]
    index = replace(index, rows=tuple(rows))
    split = make_split(index, val_fraction=0.2, test_fraction=0.2, seed=3)
    assert split.given == ("train", *given_parts)
    for part in given_parts:
        assert {i for i, row in enumerate(rows) if row.split == part} == set(
            getattr(split, part).tolist()
        )
    assert all(len(getattr(split, part)) for part in PARTS)


def test_too_small_classes_are_all_named() -> None:
    index = make_index([[1] * 20, [1] * 4, [1, 1]])
    with pytest.raises(DatasetError) as error:
        make_split(index, val_fraction=0.2, test_fraction=0.2, seed=0)
    text = str(error.value)
    assert "class c1: " in text
    assert "class c2: " in text
    assert "c0" not in text
    assert "Add images" in text


def test_smallest_class_that_can_be_split() -> None:
    index = make_index([[1] * 5, [1] * 5])
    split = make_split(index, val_fraction=0.1, test_fraction=0.1, seed=0)
    assert [len(getattr(split, part)) for part in PARTS] == [6, 2, 2]


def test_round_trip(tmp_path: Path) -> None:
    index = make_index([[1] * 10, [2] * 6], given_split="train")
    split = make_split(index, val_fraction=0.2, test_fraction=0.2, seed=11)
    write_split(tmp_path / "splits.csv", index, split)
    again = read_split(tmp_path / "splits.csv")
    for part in PARTS:
        assert getattr(again, part).dtype == np.int64
        assert getattr(again, part).tolist() == getattr(split, part).tolist()
    assert (again.seed, again.given) == (11, ("train",))
    header, first = (tmp_path / "splits.csv").read_text().splitlines()[:2]
    assert header.startswith("id,root,path,label,split")
    assert first.startswith("0,0,c0/0.png,c0,")
