"""Trains on images in memory, as small as it gets, and keeps what was reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.memory_data import MemoryData
from trainables.backbones import Classifier
from trainables.contract import EpochReport, TrialInputs
from trainables.parameters import default_params

SMALL = {
    "classifier": {"depth": 3, "width": 8},
    "linear_probe": {"backbone": "mobilenetv3_small_050", "passes": 4, "lr": 1e-2},
}


def params(trainable: str = "classifier", **changes: Any) -> dict[str, Any]:
    return default_params(trainable) | {"batch_size": 9} | SMALL[trainable] | changes


@dataclasses.dataclass
class Log:
    """Collects reports, and writes the checkpoint of one epoch."""

    path: Path | None = None
    at: int = 0
    reports: list[EpochReport] = dataclasses.field(default_factory=list)

    def __call__(self, report: EpochReport, save: Callable[[Path], None]) -> None:
        self.reports.append(report)
        if self.path and report.epoch == self.at:
            save(self.path)

    @property
    def curve(self) -> list[tuple[Any, ...]]:
        """Everything of every epoch but what depends on the machine."""
        own = {"seconds": 0.0, "images_per_second": 0.0, "peak_memory_mb": None}
        return [dataclasses.astuple(dataclasses.replace(r, **own)) for r in self.reports]


def fit(
    data: MemoryData,
    log: Log | None = None,
    epochs: int = 2,
    *,
    trainable: str = "classifier",
    **changes: Any,
) -> Classifier:
    """Train; `changes` are hyperparameters or fields of TrialInputs."""
    fields = {field.name for field in dataclasses.fields(TrialInputs)}
    inputs = {name: changes.pop(name) for name in fields & changes.keys()}
    chosen = params(trainable, **changes)
    train = import_module(f"trainables.{trainable}").train
    model: Classifier = train(TrialInputs(chosen, data, max_epochs=epochs, **inputs), log or Log())
    return model
