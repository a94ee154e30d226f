"""The results folder: the only place that knows its paths and marks finished stages."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from search.errors import ResultsError
from search.folder_lock import FolderLock
from search.records import write_json

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class ResultsFolder:
    """Paths of one study's results.

    A stage is done when its marker, written last, holds the fingerprint of the stage's inputs.
    """

    root: Path

    @property
    def study_file(self) -> Path:
        return self.root / "study.yaml"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def data(self) -> Path:
        """index.csv, problems.csv, splits.csv, cache/ (decoded images), and a page about them."""
        return self.root / "data"

    @property
    def features(self) -> Path:
        """What frozen backbones say of the images, shared by all trials; may be deleted."""
        return self.data / "features"

    @property
    def study(self) -> Path:
        """trials.csv, epochs.csv, importance.csv, optuna.journal, events.jsonl, logs/."""
        return self.root / "study"

    @property
    def events(self) -> Path:
        return self.study / "events.jsonl"

    @property
    def journal(self) -> Path:
        return self.study / "optuna.journal"

    @property
    def warm_start(self) -> Path:
        """What `--warm-start` took from another study."""
        return self.study / "warm_start.json"

    @property
    def logs(self) -> Path:
        """Tracebacks of failed trainings, by stage."""
        return self.study / "logs"

    @property
    def ray(self) -> Path:
        return self.study / "ray"

    @property
    def checkpoints(self) -> Path:
        """Those of trainings that may go on; gone when the study ends."""
        return self.study / "checkpoints"

    def checkpoints_of(self, stage: str, ledger: Path) -> Path:
        """Those of the trainings that a ledger knows, by number.

        A stage may have several ledgers, one for each set of requests: their numbers are others.
        """
        return self.checkpoints / stage / ledger.stem.removeprefix("events").removeprefix("-")

    @property
    def confirm(self) -> Path:
        """confirm.csv and its ledger."""
        return self.root / "confirm"

    @property
    def best(self) -> Path:
        """params.json, weights.safetensors, model.json, epochs.csv, calibration.json."""
        return self.root / "best"

    @property
    def baseline(self) -> Path:
        """The default recipe, retrained like the winner."""
        return self.root / "baseline"

    @property
    def runner_up(self) -> Path:
        """The next best of the confirmation, retrained like the winner."""
        return self.root / "runner_up"

    @property
    def test(self) -> Path:
        """predictions.csv, metrics.json, cam/*.png, cam/cam.json."""
        return self.root / "test"

    @property
    def report(self) -> Path:
        """index.html, tables/*.csv|md, plots/*.png."""
        return self.root / "report"

    @property
    def tensorboard(self) -> Path:
        """Event files by trial number, where asked for."""
        return self.root / "tensorboard"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def not_kept(self) -> tuple[Path, ...]:
        """What is made anew where it is missing, and is no part of the results elsewhere."""
        return (self.data / "cache", self.features, self.ray)

    def marker(self, stage: str) -> Path:
        return self.root / ".stages" / f"{stage}.json"

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Tell whether a stage finished on these very inputs."""
        return self.read_marker(stage).get("fingerprint") == fingerprint

    def read_marker(self, stage: str) -> dict[str, Any]:
        """Return what a finished stage noted, {} when it did not finish."""
        try:
            value = json.loads(self.marker(stage).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def mark_done(self, stage: str, fingerprint: str, seconds: float, **notes: Any) -> None:
        """Write a stage's marker; call it last."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        value = {"stage": stage, "fingerprint": fingerprint, "seconds": round(seconds, 2)}
        write_json(self.marker(stage), value | {"finished": now} | notes)


def open_results(root: Path, flag: str = "--results") -> ResultsFolder:
    """Create the folder that a flag names, and prove that it can be written.

    Raises:
        ResultsError: It is a file, or cannot be written.
    """
    try:
        if root.exists() and not root.is_dir():
            raise ResultsError(f"{flag} {root}: must be a folder, got a file. Name another folder.")
        root.mkdir(parents=True, exist_ok=True)
        probe = root / ".write-test"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ResultsError(
            f"{flag} {root}: must be writable, got {error.strerror}. "
            "Name a folder you may write to."
        ) from error
    return ResultsFolder(root.resolve())


def set_aside(root: Path) -> Path | None:
    """Rename an existing results folder to a dated name beside it (for --fresh).

    Raises:
        ResultsError: It holds no study, another run is working in it, or it cannot be renamed.
    """
    root = root.resolve()
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    folder = ResultsFolder(root)
    if not folder.read_marker("study"):
        raise ResultsError(
            f"--results {root}: must hold an earlier study for --fresh to set aside, got something "
            "else. Name another folder."
        )
    lock = FolderLock(root)
    lock.acquire()
    dated = root.with_name(f"{root.name}.{time.strftime('%Y-%m-%d-%H%M%S')}")
    try:
        root.rename(dated)
    except OSError as error:
        raise ResultsError(
            f"--results {root}: must be renamed for --fresh, got {error.strerror}. "
            "Name another folder."
        ) from error
    finally:
        lock.release()
    return dated
