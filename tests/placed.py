"""A training that does nothing but note where it is.

Workers import trainables by name, so importing this module puts it among them as `placed`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.tune.worker import TrainingSet
from trainables.contract import EpochReport, Report, TrialInputs

sys.modules["trainables.placed"] = sys.modules[__name__]


@dataclass(frozen=True)
class PlacedSet(TrainingSet):
    """Images that nobody looks at; a worker that receives them imports this module."""


def train(inputs: TrialInputs, report: Report) -> None:
    """Note node, GPUs, process and time in a file of the trial, and report made-up epochs.

    The param `gate` names a file: until it is there, no training goes beyond its first epoch, or
    none without a GPU (`gates_gpus`).
    """
    import ray

    context = ray.get_runtime_context()
    note = {
        "backbone": inputs.params["backbone"],
        "node": context.get_node_id(),
        "gpus": len(context.get_accelerator_ids().get("GPU", [])),
        "process": os.getpid(),
        "mode": inputs.mode,
        "begin": time.time(),
    }
    is_gated = inputs.params["gates_gpus"] or not note["gpus"]
    folder = Path(inputs.params["notes"])
    name = f"{inputs.seed}-{time.time_ns()}"
    _write(folder / f"{name}.begun", note)
    for epoch in range(1, inputs.max_epochs + 1):
        time.sleep(inputs.params["epoch_seconds"])
        value = inputs.seed % 10 / 20 + epoch / 100
        report(EpochReport(epoch, 1 - value, 1 - value, value, value, value, 0.1, 0.0, 0.0), _save)
        while is_gated and not Path(inputs.params["gate"]).exists():
            time.sleep(0.05)
    _write(folder / f"{name}.json", note | {"end": time.time()})


def notes_in(folder: Path, kind: str = "json") -> list[dict[str, Any]]:
    """Return what trainings noted, one for each that came to its end; "begun": that has begun."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob(f"*.{kind}"))]


def _write(path: Path, note: dict[str, Any]) -> None:
    """Write a note at once: the search's process reads them as they come."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(note))
    unfinished.rename(path)


def _save(path: Path) -> None:
    path.touch()
