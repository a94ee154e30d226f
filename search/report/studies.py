"""Several studies beside each other: read, named apart, and what each of them lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from search.errors import ResultsError
from search.folder_lock import run_at_work
from search.report.format import count_text
from search.report.load import StudyFiles, read_study, section
from search.results import ResultsFolder

MOST = 10  # studies on one page


@dataclass(frozen=True)
class Compared:
    """One of the studies compared: its short name, its files, and what there is not."""

    name: str
    files: StudyFiles
    missing: tuple[str, ...]

    @property
    def is_tested(self) -> bool:
        return not self.files.predictions.empty


def read_studies(folders: Sequence[Path]) -> tuple[Compared, ...]:
    """Read results folders, finished or not.

    Raises:
        ResultsError: There are too few or too many, one is named twice or holds no study: with
            every problem.
    """
    problems = []
    if not 2 <= len(folders) <= MOST:
        problems.append(
            f"DIR: must be 2 to {MOST} results folders to compare, got {len(folders)}. "
            "For example: python -m search.compare results/a results/b"
        )
    roots = [folder.expanduser().resolve() for folder in folders]
    problems += [
        f"{folder}: must be named once, got the same folder again. Leave one out."
        for k, folder in enumerate(folders)
        if roots[k] in roots[:k]
    ]
    found = []
    for root in dict.fromkeys(roots):
        try:
            found.append(read_study(ResultsFolder(root), at_work=run_at_work(root)))
        except ResultsError as error:
            problems.append(str(error))
        except OSError as error:
            reason = error.strerror or error
            problems.append(f"{root}: must be readable, got {reason}. Change its permissions.")
    if problems:
        raise ResultsError("\n".join(problems))
    names = short_names([files.folder.root for files in found])
    return tuple(Compared(n, f, lacks(f)) for n, f in zip(names, found, strict=True))


def short_names(roots: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell all of them apart. Pure."""
    for length in range(1, max(len(root.parts) for root in roots) + 1):
        names = ["/".join(root.parts[-length:]) for root in roots]
        if len(set(names)) == len(names):
            break
    return names


def lacks(files: StudyFiles) -> tuple[str, ...]:
    """Say what a comparison has to do without. Pure."""
    found = []
    if files.at_work:
        found.append("it is still running")
    elif not files.summary:
        found.append("it has not finished")
    if not files.space:
        found.append("its settings are not known (study.yaml)")
    if not files.environment and not files.summary.get("command"):
        found.append("its command and versions are not known (environment.json)")
    if not files.trials["best_value"].notna().any():
        found.append("no trial finished an epoch")
    if files.predictions.empty:
        found.append("it was not tested")
    if files.index.empty:
        found.append("its images are known by path only (data/index.csv)")
    return (*found, *(f"could not be read: {text}" for text in files.unreadable))


def answers(study: Compared) -> pd.DataFrame:
    """Return what a study said of each test image: key, label, predicted, right.

    An image is known by its content where the index tells it, by its path otherwise. Copies of one
    image are counted apart.
    """
    table = study.files.predictions
    keys = table["path"].astype(str).tolist()
    index = study.files.index
    if "sha256" in index.columns and "id" in table.columns:
        known = dict(enumerate(zip(index["path"], index["sha256"], strict=True)))
        for place, (number, path) in enumerate(zip(table["id"], keys, strict=True)):
            there, content = known.get(-1 if pd.isna(number) else int(number), ("", ""))
            keys[place] = content if there == path and content else path
    frame = pd.DataFrame({"key": keys, "path": table["path"].astype(str).tolist()})
    frame["label"] = table["label"].astype(str).to_numpy()
    frame["predicted"] = table["predicted"].astype(str).to_numpy()
    frame["right"] = frame["label"] == frame["predicted"]
    frame["key"] += "#" + frame.groupby("key").cumcount().astype(str)
    return frame


def class_set(study: Compared) -> frozenset[str]:
    """Return the classes a study tells apart."""
    named = study.files.classes or section(study.files.summary, "dataset").get("classes") or ()
    return frozenset(map(str, named))


def missing_text(study: Compared) -> str:
    """Say in one sentence what a study lacks, "" for nothing."""
    listed = "; ".join(study.missing)
    return f"{study.name}: {listed}." if listed else ""


def trials_text(study: Compared) -> str:
    """Count a study's trials."""
    states = study.files.trials["state"].tolist()
    return f"{count_text(len(states), 'trial')}, {states.count('complete')} complete"
