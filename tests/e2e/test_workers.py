"""Workers that are there before the first trial; on the way, the benchmark of the overhead runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine import Outcome, run_noop_study
from benchmarks.plain_ray import run_plain_study
from benchmarks.processes import in_process
from search.results import ResultsFolder

NUM_TRIALS = 8


@dataclass(frozen=True)
class Searched:
    """A search over trials that do nothing."""

    folder: Path
    outcome: Outcome
    events: tuple[dict[str, Any], ...]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("noop study")
    outcome: Outcome = in_process(run_noop_study, folder, NUM_TRIALS, float("inf"))
    lines = ResultsFolder(folder).events.read_text(encoding="utf-8").splitlines()
    return Searched(folder, outcome, tuple(json.loads(line) for line in lines))


def test_every_trial_is_watched(searched: Searched) -> None:
    outcome, events = searched.outcome, searched.events
    assert [tick.num_trials for tick in outcome.ticks] == list(range(1, NUM_TRIALS + 1))
    assert sum(event["event"] == "end" for event in events) == NUM_TRIALS
    assert outcome.cpu_seconds > outcome.ticks[-1].cpu_seconds - outcome.ticks[0].cpu_seconds > 0


def test_trials_run_in_workers_that_were_there(searched: Searched) -> None:
    """Ray's own start cold: seconds of imports before the first trial, and at every stage."""
    workers = {int(e["worker"]) for e in searched.events if e["event"] == "epoch"}
    assert workers
    assert workers <= set(searched.outcome.idle_workers)


def test_snapshots_hold_no_trials(searched: Searched) -> None:
    """Tune would write all of them whenever one saves, and at the end of every stage."""
    (snapshot,) = searched.folder.glob("study/ray/*/experiment_state*.json")
    saved = json.loads(snapshot.read_text(encoding="utf-8"))["trial_data"]
    assert len(saved) == NUM_TRIALS
    assert sum(len(str(trial)) for trial in saved) < 100 * NUM_TRIALS


def test_plain_ray_runs_the_same_trials(tmp_path: Path) -> None:
    outcome: Outcome = in_process(run_plain_study, tmp_path, 2)
    assert outcome.ticks[-1].num_trials == 2
    assert list(tmp_path.glob("*/*/result.json")), "its own loggers are on"
