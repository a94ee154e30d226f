"""Write the ledger of a study that is still searching, as its driver would have by now."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from search.records import write_json, write_text
from search.results import ResultsFolder
from tests.fake_search import MAX_EPOCHS, MIN_EPOCHS, REDUCTION_FACTOR, fake_search


def write_running_study(
    root: Path, *, num_trials: int = 24, num_ended: int = 12, num_running: int = 2, seed: int = 0
) -> ResultsFolder:
    """Write what a driver leaves while it searches: no table, no summary."""
    folder = ResultsFolder(root)
    began = time.time() - 300
    trials, epochs = fake_search(np.random.default_rng(seed), num_trials)
    space = {
        "name": root.name,
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "budget": {"num_trials": num_trials, "max_epochs": MAX_EPOCHS, "min_epochs": MIN_EPOCHS,
                   "reduction_factor": REDUCTION_FACTOR},
    }  # fmt: skip
    write_text(folder.study_file, yaml.safe_dump(space))
    events = []
    for trial in trials[: num_ended + num_running]:
        is_running, when = trial.number >= num_ended, began + trial.started_s
        shared = {"number": trial.number}
        first = shared | {"event": "start", "params": trial.params, "seed": trial.seed}
        events.append(first | {"time": when})
        rows = [asdict(row) for row in epochs if row.trial_number == trial.number]
        for row in rows[:2] if is_running else rows:
            when += row["seconds"]
            place = {"event": "epoch", "node": "laptop", "worker": "1", "time": when}
            events.append({k: v for k, v in row.items() if k != "trial_number"} | shared | place)
        if not is_running:
            end = {"event": "end", "state": str(trial.state), "error": trial.error, "time": when}
            events.append(shared | end)
    events.sort(key=lambda event: float(event["time"]))
    folder.study.mkdir(parents=True, exist_ok=True)
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    note = {"since": began - 10, "stage": "search", "num_trials": num_trials, "labels": []}
    write_json(
        folder.marker("live"), note | {"is_sample": False, "warnings": ["no <b>network</b>"]}
    )
    return folder
