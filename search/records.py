"""The values that flow between stages: frozen dataclasses in memory, CSV and JSON on disk."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class TrialState(StrEnum):
    """How a trial ended; `search/rungs.py` decides it in one place."""

    COMPLETE = "complete"  # trained to max_epochs, the top rung
    PRUNED = "pruned"  # stopped by the scheduler at a rung
    FAILED = "failed"  # raised, diverged, or its worker died for good
    INTERRUPTED = "interrupted"  # cut off by a time limit, Ctrl-C or a crash: can go on
    INFEASIBLE = "infeasible"  # breaks a constraint; of its footprint: never trained


@dataclass(frozen=True)
class ImageRow:
    """One image file.

    `path` is relative to `roots[root]` of its index, with forward slashes; absolute where a CSV
    list names a file outside its folder. `split` is the split its folder or list gives ("train",
    "val", "test") or None. `group` ties duplicates: rows of one group must not straddle splits. The
    fields after `split` are filled in by the check.
    """

    path: str
    root: int
    label: str
    split: str | None = None
    width_px: int = 0
    height_px: int = 0
    mode: str = ""
    num_bytes: int = 0
    sha256: str = ""
    phash: str = ""
    group: int = -1


@dataclass(frozen=True)
class DatasetIndex:
    """Which images exist, sorted by (label, path, root); an image's id is its place in `rows`.

    `roots` are folders: a CSV list counts as the folder it is in. `warnings` are sentences on what
    was left out on the way; they are not stored.
    """

    roots: tuple[Path, ...]
    classes: tuple[str, ...]
    rows: tuple[ImageRow, ...]
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> Ids:
        """Class number of every row, (N,) int64."""
        number = {name: k for k, name in enumerate(self.classes)}
        return np.array([number[row.label] for row in self.rows], dtype=np.int64)

    def file(self, image_id: int) -> Path:
        """Return the absolute path of one image."""
        row = self.rows[image_id]
        return self.roots[row.root] / row.path


@dataclass(frozen=True)
class Problem:
    """Something found in one image; `action` is "kept", "converted" or "dropped".

    `path` is relative to the data root number `root`. A problem between two images (a duplicate, a
    leak) names the partner too: `other`, relative to root number `other_root` (-1 without one).
    """

    path: str
    label: str
    kind: str
    detail: str
    action: str
    root: int = 0
    other: str = ""
    other_root: int = -1


@dataclass(frozen=True)
class CheckedDataset:
    """The index without dropped images, every field of its rows filled, and what was found."""

    index: DatasetIndex
    problems: tuple[Problem, ...]
    fingerprint: str


@dataclass(frozen=True)
class Split:
    """Sorted, disjoint int64 ids into the checked index; `given` names splits the folders gave."""

    train: Ids
    val: Ids
    test: Ids
    seed: int
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageCache:
    """Decoded images on disk, shared by every worker of a node through the page cache.

    `folder` holds N squares of `side_px` and labels.npy (N,) int64; row i is image id i of the
    checked index. `format` is "pixels" (images.npy, (N, R, R, 3) uint8 RGB) or "jpeg".
    """

    folder: Path
    classes: tuple[str, ...]
    side_px: int
    size_px: int
    fit: str
    fingerprint: str
    format: str = "pixels"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one trial: the trial's number and the trainable's EpochReport."""

    trial_number: int
    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    val_balanced_accuracy: float | None
    val_macro_f1: float | None
    lr: float
    seconds: float
    images_per_second: float
    train_accuracy: float | None = None
    val_top5_accuracy: float | None = None
    peak_memory_mb: float | None = None
    micro_batch: int | None = None
    val_temperature: float | None = None


@dataclass(frozen=True)
class TrialRecord:
    """One trial as every table shows it. Values are of the study's objective.

    Attributes:
        params: Searched and fixed parameters that were active; inactive ones are absent.
        best_value, best_epoch: Best epoch so far, None without one; best_loss: its val_loss.
        started_s: Seconds from the start of the search to the trial's first start.
        peak_memory_mb: Most memory it took, see EpochReport.
        micro_batch: Images forwarded at once where memory did not hold a whole batch, else None.
        latency_ms, num_parameters, model_mb: Its footprint, see trainables/contract.py; None where
            it was not measured.
        num_retries: Times that the machine ended it and it was tried again (a worker was killed).
        error: Last line of the exception, or which constraint is broken by how much, else "".
    """

    number: int
    state: TrialState
    params: dict[str, Any] = field(default_factory=dict)
    epochs_run: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    last_value: float | None = None
    seconds: float = 0.0
    started_s: float = 0.0
    seed: int = 0
    node: str = ""
    worker: str = ""
    peak_memory_mb: float | None = None
    micro_batch: int | None = None
    best_loss: float | None = None
    latency_ms: float | None = None
    num_parameters: int | None = None
    model_mb: float | None = None
    num_retries: int = 0
    error: str = ""


@dataclass(frozen=True)
class SearchOutcome:
    """All trials of the search, in number order, and why it ended ("all trials done", …)."""

    trials: tuple[TrialRecord, ...]
    epochs: tuple[EpochRecord, ...]
    reason: str
    seconds: float


@dataclass(frozen=True)
class ConfirmRun:
    """One candidate trained once more, to the full budget, with a fresh seed."""

    candidate: str  # "trial 17", "default recipe"
    trial_number: int
    params: dict[str, Any]
    seed: int
    value: float | None
    best_epoch: int | None
    epochs_run: int
    seconds: float
    error: str = ""
    temperature: float | None = None  # that val asks for, where a retraining would stop


@dataclass(frozen=True)
class Confirmation:
    """Fresh-seed scores of the finalists; the winner has the best mean, the runner-up the next."""

    runs: tuple[ConfirmRun, ...]
    winner: TrialRecord
    mean: float | None
    std: float | None
    note: str = ""
    num_seeds: int = 0  # that all candidates share, which the mean is over
    means: Mapping[int, float] = field(default_factory=dict)  # by trial number, best first
    runner_up: TrialRecord | None = None


@dataclass(frozen=True)
class FinalModel:
    """The retrained winner: `folder` holds weights.safetensors, model.json and params.json."""

    folder: Path
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What the model says of the test images `ids` (N,), once; `probabilities` (N, C) float64."""

    classes: tuple[str, ...]
    ids: Ids
    y_true: Ids
    probabilities: NDArray[np.float64]
    metrics: dict[str, Metric]


def fingerprint(*parts: Any) -> str:
    """Return a sha256 (16 hex digits) of JSON-able values: the identity of a stage's inputs."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write beside and rename, so a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; dataclasses become objects, paths become text."""
    write_text(path, json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows atomically; None is an empty cell, missing keys too."""
    lines = _Lines()
    # A cell is quoted when it holds a character of the line's end, and must be for either.
    writer = csv.DictWriter(lines, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v is None else v for k, v in row.items() if k in columns})
    write_text(path, "".join(line.removesuffix("\r\n") + "\n" for line in lines))


class _Lines(list[str]):
    write = list.append  # what a csv writer calls once a row


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read rows as text; a file that is not there has none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
