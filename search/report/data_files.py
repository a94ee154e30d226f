"""What the report of a data set reads: its three tables, and the facts they do not hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from search.report.load import Reader, StudyFiles, section

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class DataFacts:
    """What index.csv, problems.csv and splits.csv do not tell.

    Attributes:
        roots: Data folders; `root` in the tables counts them from 0.
        classes: Every class that was found, those without a usable image too.
        size_px: Side of the training images, None where nobody chose one yet.
        trouble: Why no study can run on this data, "" when one can.
        command: How to search on this data.
    """

    name: str
    roots: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    size_px: int | None = None
    fit: str = "crop"
    trouble: str = ""
    command: str = ""
    warnings: tuple[str, ...] = ()
    is_sample: bool = False


@dataclass(frozen=True)
class DataFiles:
    """A data set as its files tell it.

    Attributes:
        images: The usable images in id order: columns of index.csv, and `part`, which is train,
            val, test or "" (not split).
        problems: Columns of problems.csv.
        given: Splits that the folders gave.
        unreadable: Files that were there but could not be read.
        is_checked: The problems are known; without them, none is no good news.
    """

    facts: DataFacts
    images: pd.DataFrame
    problems: pd.DataFrame
    given: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    is_checked: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class known, those without a usable image too."""
        return tuple(dict.fromkeys([*self.facts.classes, *sorted(set(self.images["label"]))]))

    @property
    def num_dropped(self) -> int:
        """Images that were found and cannot be used."""
        dropped = self.problems[self.problems["action"] == "dropped"]
        return len(dropped[["root", "path"]].drop_duplicates())

    def file(self, root: int, path: str) -> Path:
        """Return where an image of the tables lies; a root that is unknown is the first."""
        roots = self.facts.roots
        return roots[root if 0 <= root < len(roots) else 0] / path

    def short_sides(self) -> pd.Series[float]:
        """Return the side that decides the size of the square, in px: the long one for `pad`."""
        sides = self.images[["width_px", "height_px"]].astype(float)
        sides = sides[(sides > 0).all(axis=1)]
        return sides.max(axis=1) if self.facts.fit == "pad" else sides.min(axis=1)


def read_data(folder: Path, facts: DataFacts) -> DataFiles:
    """Read index.csv, problems.csv and splits.csv of a folder; one that is absent is empty."""
    read = Reader(folder)
    index, splits, problems = (
        read.frame(name, folder / f"{name}.csv") for name in ("index", "splits", "problems")
    )
    data = _joined(facts, index, splits, problems)
    lost = any(text.startswith("problems.csv:") for text in read.unreadable)
    is_checked = (folder / "problems.csv").is_file() and not lost
    return replace(data, unreadable=tuple(read.unreadable), is_checked=is_checked)


def data_of_study(files: StudyFiles) -> DataFiles:
    """Return the data set of a study, from what was read of it."""
    dataset = section(files.summary, "dataset") or section(files.space, "dataset")
    roots = dataset.get("roots") or dataset.get("root") or ()
    roots = [roots] if isinstance(roots, str) else roots
    size_px = files.model.get("size_px") or dataset.get("size_px")
    facts = DataFacts(
        str(files.study.get("name") or files.folder.root.name),
        tuple(Path(str(root)) for root in roots) or (files.folder.data,),
        tuple(str(name) for name in dataset.get("classes") or ()),
        size_px if isinstance(size_px, int) else None,
        str(dataset.get("fit") or "crop"),
        command=str(files.summary.get("command") or files.environment.get("command") or ""),
        is_sample=files.is_sample,
    )
    return _joined(facts, files.index, files.splits, files.problems)


def _joined(
    facts: DataFacts,
    index: pd.DataFrame,
    splits: pd.DataFrame,
    problems: pd.DataFrame,
) -> DataFiles:
    numbers = index.reset_index(drop=True)
    part = splits.dropna(subset="id").drop_duplicates("id").set_index("id")["split"]
    images = numbers.assign(
        part=part.reindex(numbers.index).fillna(""), root=_whole(numbers["root"])
    )
    problems = problems.assign(
        root=_whole(problems["root"]), other_root=_whole(problems["other_root"])
    )
    given = str(splits["given"].iloc[0]).split() if len(splits) else []
    return DataFiles(facts, images, problems, tuple(given))


def _whole(roots: pd.Series[int]) -> pd.Series[int]:
    """Return the number of each row's data folder; blank and none are the first."""
    numbers = pd.to_numeric(roots, errors="coerce").fillna(0).clip(lower=0)
    return numbers.astype(int)
