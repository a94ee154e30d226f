"""A training that takes no CPU, for whatever is to be measured around trainings.

Workers import trainables by name, so importing this module puts it among them as `noop`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.made_up import made_up_accuracy
from search.tune.worker import TrainingSet
from trainables.contract import EpochReport, Report, TrialInputs

sys.modules["trainables.noop"] = sys.modules[__name__]


@dataclass(frozen=True)
class NoopSet(TrainingSet):
    """Images that nobody looks at; a worker that receives them imports this module."""


def train(inputs: TrialInputs, report: Report) -> None:
    """Report the epochs of a made-up learning curve, at once or so many seconds apart."""
    for epoch in range(1, inputs.max_epochs + 1):
        time.sleep(inputs.params.get("epoch_seconds", 0.0))
        value = made_up_accuracy(inputs.params, inputs.seed, epoch)
        loss, lr = 1 - value, inputs.params["lr"]
        report(EpochReport(epoch, loss, loss, value, value, value, lr, 0.0, 0.0), _save_nothing)


def _save_nothing(path: Path) -> None:
    path.touch()
