"""The classifier's training, that also writes down how long its training steps took.

Workers import trainables by name, so importing this module puts it among them as `timed`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.tune.worker import TrainingSet
from trainables import classifier
from trainables.contract import Augmentation, Report, TrialData, TrialInputs

if TYPE_CHECKING:
    from trainables.contract import Batch

sys.modules["trainables.timed"] = sys.modules[__name__]


@dataclass(frozen=True)
class TimedSet(TrainingSet):
    """A study's images; a worker that receives them imports this module."""


@dataclass
class TimedData:
    """A `TrialData` that knows how long its training batches were in use."""

    data: TrialData
    step_seconds: float = field(default=0.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def train_batches(
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[Batch]:
        batches = self.data.train_batches(
            batch_size=batch_size,
            epoch=epoch,
            seed=seed,
            augmentation=augmentation,
            balanced=balanced,
        )
        for batch in batches:
            begin = time.perf_counter()
            yield batch
            self.step_seconds += time.perf_counter() - begin


def train(inputs: TrialInputs, report: Report) -> Any:
    """Train as the classifier does; a trial that is stopped counts too."""
    timed: Any = TimedData(inputs.data)
    try:
        return classifier.train(replace(inputs, data=timed), report)
    finally:
        assert inputs.feature_store is not None
        file = steps_file(inputs.feature_store)
        with file.with_name(f"{file.name}-{os.getpid()}").open("a", encoding="utf-8") as lines:
            lines.write(f"{timed.step_seconds}\n")


def steps_file(feature_store: Path) -> Path:
    """Return what the files that workers write begin with."""
    return feature_store.parent / "step-seconds"


def read_step_seconds(feature_store: Path) -> float:
    """Return the training-step seconds of all trials so far."""
    files = feature_store.parent.glob(f"{steps_file(feature_store).name}-*")
    return sum(float(line) for file in files for line in file.read_text().split())
