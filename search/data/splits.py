"""Divide the images into train, val and test: stratified, duplicates together, seeded, stored."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from search.data.index import dataset_error
from search.records import DatasetIndex, Ids, ImageRow, Split, read_csv, write_csv

PARTS = ("train", "val", "test")
MIN_TRAIN_IMAGES = 3  # per class
_COLUMNS = ["id", "root", "path", "label", "split", "given", "seed"]


def make_split(
    index: DatasetIndex, *, val_fraction: float, test_fraction: float, seed: int
) -> Split:
    """Divide a checked index.

    Splits that the folders give are kept. A missing val or test is cut from the training images,
    class by class; images of one duplicate group stay together. The result depends on the images'
    content (sha256), the labels and the seed, not on file names or their order.

    Each class is put in an order made of hashes of content and seed: test is its head, val its
    tail. So photos that are added, or dropped, move only the few others that stand at the two
    borders, and never one from test to val.

    Args:
        index: Checked images: groups and sha256 filled in.
        val_fraction, test_fraction: Share of each class's training images to cut, above 0. A class
            of a few images gives less, so that enough are left to train on.
        seed: Which images are drawn.

    Returns:
        Sorted, disjoint ids that cover the index.

    Raises:
        DatasetError: Classes with too few images, all of them named.
    """
    given = tuple(part for part in PARTS if any(row.split == part for row in index.rows))
    fractions = {"test": test_fraction, "val": val_fraction}
    wanted = {part: share for part, share in fractions.items() if part not in given}
    # Images without a split of their own, from a second root, join the training images.
    part_of = [row.split or "train" for row in index.rows]
    for groups in _groups_by_label(index, part_of):
        groups.sort(key=lambda ids: _draw_order(index.rows[ids[0]], seed))
        for part, ids in _draw(groups, wanted).items():
            for image_id in ids:
                part_of[image_id] = part
    _require_enough(index, part_of)
    parts = np.array(part_of)
    train, val, test = (np.flatnonzero(parts == part).astype(np.int64) for part in PARTS)
    return Split(train, val, test, seed, given)


def write_split(path: Path, index: DatasetIndex, split: Split) -> None:
    """Write splits.csv: one line per image, in id order."""
    part_of = {int(i): part for part in PARTS for i in getattr(split, part)}
    given = " ".join(split.given)
    write_csv(
        path,
        _COLUMNS,
        (
            {
                "id": i,
                "root": index.rows[i].root,
                "path": index.rows[i].path,
                "label": index.rows[i].label,
                "split": part_of[i],
                "given": given,
                "seed": split.seed,
            }
            for i in sorted(part_of)
        ),
    )


def read_split(path: Path) -> Split:
    """Read splits.csv back."""
    lines = read_csv(path)
    ids: dict[str, Ids] = {
        part: np.array([int(line["id"]) for line in lines if line["split"] == part], np.int64)
        for part in PARTS
    }
    seed, given = (int(lines[0]["seed"]), lines[0]["given"]) if lines else (0, "")
    return Split(ids["train"], ids["val"], ids["test"], seed, tuple(given.split()))


def _groups_by_label(index: DatasetIndex, part_of: list[str]) -> list[list[list[int]]]:
    """Return the training images' duplicate groups, class by class.

    A group that holds several classes counts for its commonest one. Its first image is the one
    whose content sorts first.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for image_id, row in enumerate(index.rows):
        if part_of[image_id] == "train":
            # -1 is "no group": such an image stands alone.
            members[row.group if row.group >= 0 else -1 - image_id].append(image_id)
    by_label: dict[str, list[list[int]]] = defaultdict(list)
    for ids in members.values():
        ids.sort(key=lambda i: _content_order(index.rows[i]))
        counts = Counter(index.rows[i].label for i in ids)
        by_label[min(counts, key=lambda name: (-counts[name], name))].append(ids)
    return list(by_label.values())


def _content_order(row: ImageRow) -> tuple[str, str, int, str]:
    return (row.sha256, row.label, row.root, row.path)


def _draw_order(row: ImageRow, seed: int) -> tuple[str, str, str, int, str]:
    drawn = hashlib.sha256(f"{seed} {row.sha256}".encode()).hexdigest()
    return (drawn, *_content_order(row))


def _draw(groups: list[list[int]], wanted: dict[str, float]) -> dict[str, list[int]]:
    """Take each part's share of a class's images: the first part's from the head, then the tail.

    What the parts after it and the training cannot do without is left to them.
    """
    total = sum(map(len, groups))
    taken: dict[str, list[int]] = {}
    rest = groups
    for number, (part, fraction) in enumerate(wanted.items(), start=1):
        parts_after = len(wanted) - number
        spare = sum(map(len, rest)) - MIN_TRAIN_IMAGES - parts_after
        target = max(1, min(round(total * fraction), spare))
        taken[part], rest = _take(rest, target, num_left=parts_after + 1)
        rest.reverse()
    return taken


def _take(groups: list[list[int]], target: int, num_left: int) -> tuple[list[int], list[list[int]]]:
    """Take whole groups, in the order given, while they fit into `target` images.

    Returns:
        Ids taken (at least one group when there are more than `num_left`), groups left in order.
    """
    chosen: list[int] = []
    left: list[list[int]] = []
    can_take = len(groups) - num_left
    for group in groups:
        if can_take > 0 and len(chosen) + len(group) <= target:
            chosen += group
            can_take -= 1
        else:
            left.append(group)
    if not chosen and can_take > 0:  # every group is larger than the target
        smallest = min(range(len(left)), key=lambda k: len(left[k]))
        chosen = left.pop(smallest)
    return chosen, left


def _require_enough(index: DatasetIndex, part_of: list[str]) -> None:
    counts = Counter((row.label, part) for row, part in zip(index.rows, part_of, strict=True))
    groups: dict[str, set[int]] = defaultdict(set)
    for image_id, row in enumerate(index.rows):
        groups[row.label].add(row.group if row.group >= 0 else -1 - image_id)
    problems = []
    for label in index.classes:
        have = {part: counts[label, part] for part in PARTS}
        if have["train"] < MIN_TRAIN_IMAGES or not have["val"] or not have["test"]:
            total, different = sum(have.values()), len(groups[label])
            got = ", ".join(f"{number} {part}" for part, number in have.items())
            add = "Add images"
            if total >= MIN_TRAIN_IMAGES + 2 and different < total:
                got += (
                    f": its {total} images are {different} different "
                    f"{'picture' if different == 1 else 'pictures'}, and look-alikes are never "
                    "parted"
                )
                add = "Add other images"
            problems.append(
                f"class {label}: needs at least {MIN_TRAIN_IMAGES} train, 1 val and 1 test images "
                f"after the check, got {got}. {add}, or remove the class."
            )
    if problems:
        raise dataset_error("The split", problems)
