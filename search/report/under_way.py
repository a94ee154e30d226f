"""What a driver at work is doing: the banner and the first table of a running study's page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd

from search.errors import ResultsError
from search.progress import Progress, progress_of, rough
from search.report.format import count_text, metric_title
from search.report.load import NothingToShowError, StudyFiles
from search.report.table import Table
from search.tune.ledger import Ledger

_LEDGERS = {"search": "study", "confirm": "confirm", "retrain": "best"}
_DOING = {"search": "Searching", "confirm": "Confirming the best", "retrain": "Training the winner"}


@dataclass(frozen=True)
class UnderWay:
    """The stage whose trainings run.

    Attributes:
        labels: What they are called; trials of the search have none.
        metric: That of the stage's ledger, which `num_trials` trainings fill.
    """

    stage: str
    labels: tuple[str, ...]
    metric: str
    progress: Progress
    ledger: Ledger

    @property
    def text(self) -> str:
        """Say in one sentence how far it is."""
        what = "trial" if self.stage == "search" else "training"
        done = f"{self.progress.num_done} of {count_text(self.progress.num_trials, what)} done"
        parts = [f"{_DOING[self.stage]}: {done}", f"{len(self.progress.running)} under way"]
        if self.progress.seconds_left is not None:
            parts.append(f"{rough(self.progress.seconds_left)} left of this stage")
        return ", ".join(parts) + "."


def read_under_way(files: StudyFiles) -> UnderWay | None:
    """Read which stage trains and how far it is; None between stages."""
    note, folder = files.note, files.folder
    stage = note.get("stage")
    if not files.at_work or stage not in _LEDGERS:
        return None
    logs = (folder.root / _LEDGERS[stage]).glob("events*.jsonl")
    newest = max(logs, key=lambda path: path.stat().st_mtime, default=folder.events)
    objective = (files.metric, "maximize" if files.maximize else "minimize")
    if stage == "retrain":
        objective = ("train_loss", "minimize")
    try:
        ledger = Ledger(newest, *objective, read_since=float(note["since"]))
    except (OSError, ResultsError):
        return None
    is_search, num_trials = stage == "search", int(note["num_trials"])
    progress = progress_of(ledger, num_trials, files.max_epochs, pruning=is_search)
    return UnderWay(stage, tuple(note["labels"]), objective[0], progress, ledger)


def running_table(files: StudyFiles, under_way: UnderWay | None) -> Table:
    """Return the trainings that run now: how far each is, and what it trains."""
    if under_way is None or not under_way.progress.running:
        raise NothingToShowError("No training is under way at this moment.")
    ledger, metric, rows = under_way.ledger, under_way.metric, []
    for trial in under_way.progress.running:
        epoch, best = max(trial.epochs, default=0), ledger.best(trial)
        labels = under_way.labels
        row: dict[str, Any] = {
            "trial" if under_way.stage == "search" else "training": labels[trial.number]
            if trial.number < len(labels)
            else trial.number,
            "epoch": f"{epoch} of {files.max_epochs}",
            f"{metric_title(metric)} now": trial.epochs[epoch].get(metric) if epoch else None,
            "best": best[1] if best else None,
            "seconds": trial.seconds + time.time() - trial.last_start,
        }
        shown = files.varied() if under_way.stage == "search" else ()
        rows.append(row | {f"params.{name}": trial.params.get(name) for name in shown})
    kinds = {f"{metric_title(metric)} now": metric, "best": metric, "seconds": "seconds"}
    frame = pd.DataFrame(rows, dtype=object)
    return Table("running", "Under way", frame, kinds)
