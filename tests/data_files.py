"""Write the files of a checked data set with drawn images, for tests of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from search.data.check import write_problems
from search.data.index import write_index
from search.data.splits import write_split
from search.records import DatasetIndex, ImageRow, Problem, Split
from search.report.data_files import DataFacts
from tests.images import draw_image

PAIRS = ("leak", "exact_duplicate", "near_duplicate", "conflicting_label")


@dataclass(frozen=True)
class Written:
    """Where the images and the tables are."""

    root: Path
    folder: Path
    facts: DataFacts


def write_data(
    base: Path, classes: Sequence[str], per_class: int = 6, trouble: str = ""
) -> Written:
    """Draw images of some classes, and write the tables of a check that found one of each pair."""
    root, folder = base / "photos", base / "report"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number, name in enumerate(sorted(classes)):
        place = name.replace("/", "_")
        (root / place).mkdir(parents=True)
        for k in range(per_class):
            path = f"{place}/{k}.png"
            Image.fromarray(draw_image(number, (48, 40), rng)).save(root / path)
            rows.append(ImageRow(path, 0, name, None, 48, 40))
    names = tuple(sorted(classes))
    index = DatasetIndex((root,), names, tuple(rows))
    last = rows[-1]
    problems = [
        Problem(
            rows[k].path, rows[k].label, kind, f"looks like {last.path}", "kept", 0, last.path, 0
        )
        for k, kind in enumerate(PAIRS)
    ]
    problems.append(Problem("gone.png", names[0], "unreadable", "<b>cut</b> short", "dropped"))
    ids = np.arange(len(rows))
    split = Split(ids[::3], ids[1::3], ids[2::3], 0, ("train", "test"))
    write_index(folder / "index.csv", index)
    write_problems(folder / "problems.csv", problems)
    write_split(folder / "splits.csv", index, split)
    facts = DataFacts(base.name, (root,), names, trouble=trouble, command="python -m search.run")
    return Written(root, folder, facts)
