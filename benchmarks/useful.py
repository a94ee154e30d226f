"""How much of a search's time is training steps, and how soon its first trial starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.processes import TreeCpu
from benchmarks.timed import TimedSet, read_step_seconds
from search.clock import Clock
from search.config import load_study
from search.data.sources import Fetched
from search.environment import describe_environment
from search.records import write_json, write_text
from search.results import ResultsFolder
from search.terminal import Terminal
from search.tune.session import RaySession
from search.tune.worker import Request

_SPACE = """
name: useful
dataset: {root: photos, size_px: 64, fit: crop, val_fraction: 0.15, test_fraction: 0.15}
budget: {num_trials: 24, max_epochs: 9, min_epochs: 1, reduction_factor: 3}
space:
  backbone: small_cnn
  width: {choice: [16, 24, 32]}
  depth: {int: [3, 4]}
  lr: {float: [3.0e-4, 3.0e-2], log: true}
  weight_decay: {float: [1.0e-4, 0.1], log: true}
  dropout: {float: [0.0, 0.5]}
  batch_size: {choice: [16, 32, 64]}
  augment_strength: {float: [0.0, 1.0]}
"""


@dataclass(frozen=True)
class Useful:
    """A search stage, and the training steps within.

    Attributes:
        step_seconds: Forward, backward and optimizer steps of all trials.
    """

    num_trials: int
    num_cores: int
    wall_seconds: float
    step_seconds: float

    @property
    def fraction(self) -> float:
        return self.step_seconds / (self.num_cores * self.wall_seconds)


def measure_useful(folder: Path, photos: Path, num_trials: int, max_epochs: int) -> Useful:
    """Search over real trainings, in a process of its own; everything before is not counted."""
    from search.stages.data import prepare_data
    from search.stages.preflight import plan, probe
    from search.stages.study import Study

    file = folder / "useful.yaml"
    write_text(file, _SPACE)
    keys = (f"num_trials={num_trials}", f"max_epochs={max_epochs}")
    config = load_study(
        file, [f"dataset.root={json.dumps(str(photos))}", *(f"budget.{key}" for key in keys)]
    )
    results = ResultsFolder(folder / "results")
    write_json(results.environment, describe_environment(config.seed, 0))
    session, clock, terminal = RaySession(), Clock(None), Terminal(verbosity=-1)
    study = Study(config, results, terminal, clock, session, Fetched((photos,)))
    session.start()
    try:
        data = prepare_data(study)
        session.wait_for_imports()
        backbones = probe(study, data)
        slots = plan(study, data, backbones)
        wall_seconds = _search(study, data, backbones, slots)
    finally:
        study.live.stop()
        session.stop()
    steps = read_step_seconds(results.features)
    return Useful(num_trials, os.cpu_count() or 1, wall_seconds, steps)


def _search(study: Any, data: Any, backbones: Any, slots: Any) -> float:
    from search.tune.runner import Runner
    from search.tune.study import search_trials

    class TimedRunner(Runner):
        """A study's runner whose trainings write down what their steps took."""

        def request(self, *args: Any, **kwargs: Any) -> Request:
            return replace(super().request(*args, **kwargs), trainable="timed")

    results = study.results
    images = TimedSet(data.cache, data.split.train, data.split.val, results.features)
    by_name = {backbone.name: backbone for backbone in backbones}
    with study.board("search", study.config.num_trials) as on_change:
        runner = TimedRunner(
            study.config, results, images, by_name, slots, study.clock, on_change, study.warn
        )
        begin = time.perf_counter()
        search_trials(runner)
        return time.perf_counter() - begin


@dataclass(frozen=True)
class Start:
    """The start of a study from the command line.

    Attributes:
        wall_seconds: From the command until the first trial started.
        cpu_seconds: Of all its processes until then.
    """

    wall_seconds: float
    cpu_seconds: float


def measure_start(folder: Path, space: Path) -> Start:
    """Run a study until its first trial starts, then stop it."""
    events = folder / "study" / "events.jsonl"
    command = [sys.executable, "-m", "search.run", "--space", str(space), "--results", str(folder)]
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with TreeCpu(process.pid) as cpu:
            while not (events.exists() and events.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
                time.sleep(0.05)
            seconds = time.perf_counter() - begin
        return Start(seconds, cpu.seconds)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
