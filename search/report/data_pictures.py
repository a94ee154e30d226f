"""Which pictures the data report shows, and reading them: samples, copies, problems, changes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from search.data.augment import augment, image_rng
from search.data.cache import stored_side
from search.data.decode import Pixels, read_square
from search.errors import DatasetError
from search.report.data_files import DataFiles
from search.report.data_rules import kind_counts
from search.report.load import NothingToShowError
from trainables.contract import Augmentation

STRENGTHS = (0.0, 0.5, 1.0)
PAIR_KINDS = ("leak", "conflicting_label", "near_duplicate", "exact_duplicate")
MAX_CLASSES = 40
MAX_PAIRS = 12
_MAX_SAMPLES, _FEWEST, _MOST = 240, 6, 15  # in all; of a class: threes, as they stand in rows
_MAX_SHOTS = 6  # of a kind of problem
_CHANGED_IMAGES, _DRAWS = 5, 2
_NO_IMAGES = "No image can be used, so there is none to show."


@dataclass(frozen=True)
class Shot:
    """One image file: where it lies, and what the tables say of it."""

    file: Path
    path: str
    label: str
    part: str = ""


@dataclass(frozen=True)
class Samples:
    """A few images of some classes, and how many classes are not shown."""

    shots: dict[str, list[Shot]]
    num_more: int


@dataclass(frozen=True)
class Pair:
    """Two images with something between them; `mine` is the one the problem is noted for."""

    kind: str
    detail: str
    action: str
    mine: Shot
    other: Shot


@dataclass(frozen=True)
class Kind:
    """One kind of problem: how often, what was done, some images, some lines of the table."""

    name: str
    num_images: int
    actions: tuple[str, ...]
    shots: list[Shot]
    examples: list[tuple[str, str]]  # path, detail


def samples_data(data: DataFiles, max_classes: int = MAX_CLASSES) -> Samples:
    """Choose images evenly over each class; of many classes, the largest and the smallest."""
    images = data.images
    if images.empty:
        raise NothingToShowError(_NO_IMAGES)
    counts = images["label"].value_counts()
    names = [str(name) for name in counts.index]
    if len(names) > max_classes:
        half = max_classes // 2
        names = names[:half] + names[-(max_classes - half) :]
    each = int(np.clip(_MAX_SAMPLES // len(names) // 3 * 3, _FEWEST, _MOST))
    shown = images[images["label"].isin(names)]
    chosen = {}
    for label, rows in shown.groupby("label", sort=True):
        places = np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int)
        chosen[str(label)] = list(_shots(data, rows.iloc[places]))
    return Samples(chosen, len(counts) - len(names))


def changed_data(data: DataFiles) -> list[tuple[int, Shot]]:
    """Choose training images of different classes, with their ids, to show augmentation on."""
    trained = data.images[data.images["part"].isin(("train", ""))]
    if trained.empty:
        raise NothingToShowError(_NO_IMAGES)
    rows = trained.sort_values("label", kind="stable")
    number = min(len(rows), _CHANGED_IMAGES)
    rows = rows.iloc[((np.arange(number) + 0.5) / number * len(rows)).astype(int)]
    return [(int(i), shot) for i, shot in zip(rows.index, _shots(data, rows), strict=True)]


def pairs_data(data: DataFiles) -> dict[str, tuple[list[Pair], int]]:
    """List pairs by kind: each once, up to 12 a kind, those of two classes first, and how many."""
    problems = data.problems
    named = problems[problems["kind"].isin(PAIR_KINDS) & (problems["other"] != "")]
    if named.empty:
        raise NothingToShowError("No image was found twice.")
    known = _known(data)
    pairs: dict[str, dict[frozenset[tuple[int, str]], Pair]] = {}
    for row in named.to_dict("records"):
        mine, other = (row["root"], row["path"]), (row["other_root"], row["other"])
        shots = (known.get(key) or Shot(data.file(*key), key[1], "") for key in (mine, other))
        pair = Pair(row["kind"], row["detail"], row["action"], *shots)
        pairs.setdefault(pair.kind, {}).setdefault(frozenset((mine, other)), pair)
    found = {}
    for kind in PAIR_KINDS:
        ranked = sorted(pairs.get(kind, {}).values(), key=lambda p: p.mine.label == p.other.label)
        if ranked:
            found[kind] = (ranked[:MAX_PAIRS], len(ranked))
    return found


def kinds_data(data: DataFiles) -> list[Kind]:
    """List every kind of problem, the most frequent first, with images to look at."""
    if data.problems.empty:
        raise NothingToShowError("No problem was found in the images.")
    found = []
    for kind, number in kind_counts(data.problems).items():
        rows = data.problems[data.problems["kind"] == kind]
        some = rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_SHOTS)).astype(int)]
        actions = tuple(str(action) for action in rows["action"].drop_duplicates())
        # Copies and leaks are shown in pairs, and a bomb is not to be opened.
        shots = [] if kind in (*PAIR_KINDS, "too_large") else list(_shots(data, some))
        examples = [(str(p), str(d)) for p, d in zip(some["path"], some["detail"], strict=True)]
        found.append(Kind(kind, number, actions, shots, examples))
    return found


def read_shots(shots: Iterable[Shot], side_px: int, fit: str) -> dict[Path, Pixels]:
    """Read images as squares (S, S, 3) uint8, in parallel; those that cannot be are left out."""

    def read(file: Path) -> Pixels | None:
        try:
            return read_square(file, side_px, fit)
        except DatasetError:
            return None

    files = list(dict.fromkeys(shot.file for shot in shots))
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of what the check already named
        found = zip(files, pool.map(read, files), strict=True)
        return {file: pixels for file, pixels in found if pixels is not None}


def read_changed(
    chosen: list[tuple[int, Shot]], size_px: int, fit: str
) -> dict[float, list[tuple[Shot, Pixels]]]:
    """Draw each image at every strength, as training would see it in different epochs."""
    stored = read_shots((shot for _, shot in chosen), stored_side(size_px), fit)
    changed: dict[float, list[tuple[Shot, Pixels]]] = {}
    for strength in STRENGTHS:
        for image_id, shot in chosen:
            for epoch in range(_DRAWS):
                if shot.file in stored:
                    out = np.empty((size_px, size_px, 3), np.uint8)
                    rng = image_rng(0, epoch, image_id)
                    augment(stored[shot.file], out, Augmentation(strength=strength), rng)
                    changed.setdefault(strength, []).append((shot, out))
    return changed


def _known(data: DataFiles) -> dict[tuple[int, str], Shot]:
    """Look up what the tables say of an image: dropped ones have a label, kept ones a part too."""
    shots: dict[tuple[int, str], Shot] = {}
    gone = data.problems[data.problems["action"] == "dropped"].assign(part="left out")
    for frame in (data.problems, gone, data.images):
        keys = zip(frame["root"], frame["path"], strict=True)
        shots |= dict(zip(keys, _shots(data, frame), strict=True))
    return shots


def _shots(data: DataFiles, rows: pd.DataFrame) -> Iterator[Shot]:
    parts = rows["part"] if "part" in rows else [""] * len(rows)
    for root, path, label, part in zip(
        rows["root"], rows["path"], rows["label"], parts, strict=True
    ):
        yield Shot(data.file(root, path), path, label, part)
