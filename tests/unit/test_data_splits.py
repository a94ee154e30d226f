"""Splits by example: seed, given splits, small classes, the file; see test_split_properties."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.data.splits import PARTS, make_split, read_split, write_split
from search.errors import DatasetError
from search.records import DatasetIndex, ImageRow


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


def test_a_class_of_look_alikes_says_so() -> None:
    with pytest.raises(DatasetError) as error:
        make_split(
            make_index([[1] * 20, [30], [3, 4]]), val_fraction=0.2, test_fraction=0.2, seed=0
        )
    text = str(error.value)
    assert "class c1: " in text
    assert "got 30 train, 0 val, 0 test: its 30 images are 1 different picture, and" in text
    assert "its 7 images are 2 different pictures, and look-alikes are never parted. Add" in text


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
