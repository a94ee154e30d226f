"""Read a results folder into one frozen value; whatever is absent comes out empty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from search.errors import ResultsError
from search.goals import FOOTPRINT_METRICS, Goals
from search.objective_section import read_goals
from search.records import TrialState
from search.report.ledger_tables import RUNNING, is_newer, tables_of_ledger
from search.results import ResultsFolder

_WHOLE = (
    "number", "epochs_run", "best_epoch", "seed", "trial_number", "epoch", "support", "width_px",
    "height_px", "num_bytes", "root", "group", "id", "other_root", "num_parameters",
)  # fmt: skip
_REAL = (
    "best_value", "best_loss", "last_value", "seconds", "started_s", "train_loss", "val_loss", "lr",
    "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "images_per_second", "latency_ms",
    "importance", "value", "confidence", "precision", "recall", "f1", "recall_low", "recall_high",
    "model_mb", "val_temperature", "temperature",
)  # fmt: skip
_EXPECTED = {
    "trials": ("number", "state", "epochs_run", "best_value", "best_epoch", "best_loss", "seconds",
               "started_s", "seed", "node", "worker", "error", *FOOTPRINT_METRICS),
    "epochs": ("trial_number", "epoch", "seconds"),
    "importance": ("evaluator", "parameter", "importance"),
    "index": ("path", "root", "label", "width_px", "height_px", "group"),
    "splits": ("id", "path", "label", "split", "given"),
    "problems": ("path", "root", "label", "kind", "detail", "action", "other", "other_root"),
    "confirm": ("candidate", "trial_number", "seed", "value", "best_epoch", "epochs_run",
                "seconds", "error"),
    "best_epochs": ("epoch", "train_loss", "lr"),
    "predictions": ("path", "label", "predicted", "confidence"),
}  # fmt: skip


class NothingToShowError(Exception):
    """A table or plot has no data; the message says what is missing and is shown in its place."""


@dataclass(frozen=True)
class StudyFiles:
    """Everything a results folder holds, as read.

    Frames are empty when their file is absent. Text columns hold "" where a cell is blank, number
    columns NaN or NA. `params.*` columns stay text, as written. `unreadable` says which files were
    there but could not be read. `note` is the driver's, of the stage it trains in; `at_work` says
    that it still does.
    """

    folder: ResultsFolder
    summary: dict[str, Any]
    environment: dict[str, Any]
    space: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    importance: pd.DataFrame
    index: pd.DataFrame
    splits: pd.DataFrame
    problems: pd.DataFrame
    confirm: pd.DataFrame
    best_params: dict[str, Any]
    best_epochs: pd.DataFrame
    model: dict[str, Any]
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    cam: tuple[dict[str, Any], ...]
    faithfulness: tuple[dict[str, Any], ...]
    attention: tuple[dict[str, Any], ...]
    unreadable: tuple[str, ...]
    note: dict[str, Any]
    at_work: bool = False

    @property
    def study(self) -> dict[str, Any]:
        """The summary's study part, filled up from the space file."""
        # A driver at work goes by the space file; the summary is of an earlier run.
        return {**self.space, **({} if self.at_work else section(self.summary, "study"))}

    @property
    def goals(self) -> Goals:
        """Objectives and constraints, as the study was given them."""
        return read_goals(self.study.get("objective"), self.study.get("constraints"))

    @property
    def metric(self) -> str:
        """Name of the (first) objective, such as `val_accuracy`."""
        return self.goals.metric

    @property
    def maximize(self) -> bool:
        return self.goals.direction == "maximize"

    @property
    def budget(self) -> dict[str, Any]:
        return section(self.study, "budget")

    @property
    def max_epochs(self) -> int:
        """The full budget of a trial in epochs, as configured or as seen."""
        given = self.budget.get("max_epochs")
        if isinstance(given, int):
            return given
        return int(self.trials["epochs_run"].max()) if len(self.trials) else 0

    @property
    def params(self) -> tuple[str, ...]:
        """Names of the parameters any trial used, in column order."""
        prefix = "params."
        return tuple(c.removeprefix(prefix) for c in self.trials.columns if c.startswith(prefix))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the predictions, the model or the summary."""
        found = [c.removeprefix("p.") for c in self.predictions.columns if c.startswith("p.")]
        given = self.model.get("classes") or section(self.summary, "dataset").get("classes")
        return tuple(found or [str(name) for name in given or ()])

    @property
    def is_sample(self) -> bool:
        """Whether the images were drawn, not photographed."""
        return bool({**self.note, **section(self.summary, "dataset")}.get("is_sample"))

    def ranked(self) -> pd.DataFrame:
        """Trials, best first: complete ones by value, equals by loss, then by time."""
        order = {state.value: k for k, state in enumerate(TrialState)}
        order[TrialState.INTERRUPTED.value], order[TrialState.FAILED.value] = 2, 3
        order[TrialState.INFEASIBLE.value] = 4
        order[RUNNING] = order[TrialState.PRUNED.value]
        keyed = self.trials.assign(
            _state=self.trials["state"].map(order).fillna(9),
            _value=self.trials["best_value"] * (-1 if self.maximize else 1),
        )
        by = ["_state", "_value", "best_loss", "seconds", "number"]
        keyed = keyed.sort_values(by, na_position="last")
        return keyed.drop(columns=["_state", "_value"]).reset_index(drop=True)

    def search_values(self) -> dict[int, float]:
        """Return trial number -> its best value in the search, where it has one."""
        known = self.trials.dropna(subset=["number", "best_value"])
        pairs = zip(known["number"], known["best_value"], strict=True)
        return {int(number): float(value) for number, value in pairs}

    def varied(self) -> tuple[str, ...]:
        """Parameters that took more than one value (not being used counts as one)."""
        return tuple(p for p in self.params if self.trials[f"params.{p}"].nunique() > 1)

    def important(self) -> tuple[str, ...]:
        """Varied parameters, the most important first (f-ANOVA, else PED-ANOVA, else as listed)."""
        for evaluator in ("fanova", "ped_anova"):
            rows = self.importance[self.importance["evaluator"] == evaluator]
            rows = rows.sort_values("importance", ascending=False)
            names = [str(p) for p in rows["parameter"] if str(p) in self.params]
            if names:
                return (*names, *(p for p in self.varied() if p not in names))
        return self.varied()

    def is_log(self, name: str) -> bool:
        """Whether a parameter is searched on a log scale; guessed from its range if not told."""
        told = section(self.space, "space").get(name)
        if isinstance(told, dict):
            return bool(told.get("log"))
        values = numbers(self.trials[f"params.{name}"])
        if values is None or (values.dropna() <= 0).any():
            return False
        return bool(min(values.max() / values.min() / 300, values.max() / values.median() / 5) >= 1)


def section(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a nested object, {} if it is absent or null."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def numbers(cells: pd.Series[str]) -> pd.Series[float] | None:
    """Read text cells as numbers, NaN where blank; None if any is something else."""
    filled = cells[cells != ""]
    values = pd.to_numeric(filled, errors="coerce")
    if filled.empty or values.isna().any():
        return None
    return values.astype(float).reindex(cells.index)


def read_study(folder: ResultsFolder, *, at_work: bool = False) -> StudyFiles:
    """Read every file the report shows.

    Args:
        at_work: A driver is working in the folder.

    Raises:
        ResultsError: The folder holds nothing that a study writes.
    """
    if not any(
        path.is_file() for path in (folder.summary, folder.study_file, folder.study / "trials.csv")
    ):
        got = "a folder without them" if folder.root.is_dir() else "no such folder"
        raise ResultsError(
            f"{folder.root}: must be a results folder (summary.json, study.yaml or "
            f"study/trials.csv in it), got {got}. Name a folder that search.run wrote, "
            "such as results/cars."
        )
    read = Reader(folder.root)
    space, note = read.mapping(folder.study_file), folder.read_marker("live")
    trials, epochs = _study_frames(read, folder, space, note, at_work)
    cam, faithfulness, attention = (
        tuple(row for row in read.json(folder.test / "cam" / name) or () if isinstance(row, dict))
        for name in ("cam.json", "faithfulness.json", "attention.json")
    )
    return StudyFiles(
        folder=folder,
        summary=read.mapping(folder.summary),
        environment=read.mapping(folder.environment),
        space=space,
        trials=trials,
        epochs=epochs,
        importance=read.frame("importance", folder.study / "importance.csv"),
        index=read.frame("index", folder.data / "index.csv"),
        splits=read.frame("splits", folder.data / "splits.csv"),
        problems=read.frame("problems", folder.data / "problems.csv"),
        confirm=read.frame("confirm", folder.confirm / "confirm.csv"),
        best_params=read.mapping(folder.best / "params.json"),
        best_epochs=read.frame("best_epochs", folder.best / "epochs.csv"),
        model=read.mapping(folder.best / "model.json"),
        predictions=read.frame("predictions", folder.test / "predictions.csv"),
        metrics=read.mapping(folder.test / "metrics.json"),
        cam=cam,
        faithfulness=faithfulness,
        attention=attention,
        unreadable=tuple(read.unreadable),
        note=note,
        at_work=at_work,
    )


def _study_frames(
    read: Reader, folder: ResultsFolder, space: dict[str, Any], note: dict[str, Any], at_work: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return trials and epochs, from the ledger where the tables do not tell all of it yet."""
    table = folder.study / "trials.csv"
    if at_work or is_newer(folder.events, table):
        goals = read_goals(space.get("objective"), None)
        since = float(note.get("since") or "inf") if at_work else float("inf")
        try:
            found = tables_of_ledger(folder.events, goals.metric, goals.direction, since)
            return read.typed("trials", found["trials"]), read.typed("epochs", found["epochs"])
        except (OSError, ResultsError) as error:
            read.note(folder.events, error)
    return read.frame("trials", table), read.frame("epochs", folder.study / "epochs.csv")


class Reader:
    """Read single files, keeping a note of each that is there but broken."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unreadable: list[str] = []

    def json(self, path: Path) -> Any:
        """Read JSON (or YAML, by suffix); None when absent or broken."""
        try:
            text = path.read_text(encoding="utf-8")
            return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, yaml.YAMLError) as error:
            return self.note(path, error)

    def mapping(self, path: Path) -> dict[str, Any]:
        value = self.json(path)
        return value if isinstance(value, dict) else {}

    def frame(self, name: str, path: Path) -> pd.DataFrame:
        """Read a CSV file with every expected column, typed."""
        try:
            found = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")
        except FileNotFoundError:
            found = pd.DataFrame()
        except (OSError, ValueError) as error:  # pandas parser errors are ValueErrors
            self.note(path, error)
            found = pd.DataFrame()
        return self.typed(name, found)

    def typed(self, name: str, found: pd.DataFrame) -> pd.DataFrame:
        """Give cells of text their types, and add the columns that are missing."""
        absent = [column for column in _EXPECTED[name] if column not in found.columns]
        found = found.reindex(columns=[*found.columns, *absent], fill_value="")
        for column in found.columns:
            if column in _WHOLE:
                real = pd.to_numeric(found[column], errors="coerce")
                found[column] = real.round().astype("Int64")
            elif column in _REAL or column.startswith("p."):
                found[column] = pd.to_numeric(found[column], errors="coerce").astype(float)
        # Of an image whose row was cut off, nothing is known that can be counted.
        return found.dropna(subset=[c for c in found.columns if c.startswith("p.")])

    def note(self, path: Path, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        self.unreadable.append(f"{path.relative_to(self.root).as_posix()}: {reason}")
