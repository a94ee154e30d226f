"""The real search stage over trainings that take no time, watched trial by trial."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.made_up import MAX_EPOCHS
from benchmarks.noop import NoopSet
from benchmarks.photos import draw_photos
from benchmarks.processes import TreeCpu
from search.clock import Clock
from search.config import StudyConfig, load_study
from search.data.cache import build_cache
from search.data.check import check_images
from search.data.index import build_index
from search.data.splits import make_split
from search.records import write_text
from search.results import ResultsFolder
from search.slots import Slots, plan_slots
from search.terminal import OnTrial, Terminal
from search.tune.preflight import Backbone
from search.tune.runner import Runner
from search.tune.session import RaySession
from search.tune.study import search_trials
from search.tune.worker import Request

_SPACE = """
name: noop
dataset: {root: photos, size_px: 32}
budget: {num_trials: 1, max_epochs: 9, min_epochs: 1, reduction_factor: 3}
space:
  backbone: {choice: [small_cnn, separable_cnn]}
  width: {choice: [8, 16, 24]}
  depth: {int: [2, 4], default: 3}
  optimizer: {choice: [adamw, sgd]}
  lr: {float: [3.0e-4, 3.0e-2], log: true}
  momentum: {float: [0.8, 0.98], when: {optimizer: sgd}}
  weight_decay: {float: [1.0e-4, 0.1], log: true}
  batch_size: {choice: [16, 32, 64]}
  dropout: {float: [0.0, 0.5]}
  augment_strength: {float: [0.0, 1.0]}
"""
_NUM_PHOTOS = 40
_SECONDS_FOR_WORKERS = 30.0


@dataclass(frozen=True)
class Tick:
    """The driver at the end of a trial.

    Attributes:
        num_trials: Ended so far, in this process or an earlier one.
        wall_seconds, cpu_seconds: Since some moment; the CPU of all the driver's threads.
        rss_mb: Resident memory.
    """

    num_trials: int
    wall_seconds: float
    cpu_seconds: float
    rss_mb: float


@dataclass
class Watch:
    """Takes a tick at every trial's end, and passes events on to the table on the terminal.

    Attributes:
        most_seconds: Then the search ends.
        show: The table.
        first_start: `time.time()` of the first trial's start in this process.
    """

    most_seconds: float
    show: OnTrial = field(default=lambda *_: None)
    clock: Clock = field(default_factory=lambda: Clock(None))
    ticks: list[Tick] = field(default_factory=list)
    first_start: float | None = None
    num_ended: int = 0

    def on_change(self, ledger: Any, event: str, number: int) -> None:
        self.show(ledger, event, number)
        if event == "start" and self.first_start is None:
            self.first_start = time.time()
            self.num_ended = len(ledger.finished())
        if event == "end":
            self.num_ended += 1
            self.ticks.append(tick(self.num_ended))
        if self.is_over():
            self.clock.stop_requested = True

    def is_over(self) -> bool:
        """Tell whether it has seen enough."""
        return self.clock.elapsed > self.most_seconds


@dataclass(frozen=True)
class NoopRunner(Runner):
    """A study's runner whose trainings do nothing.

    Attributes:
        epoch_seconds: What they wait in each epoch.
        proposed: Trial number -> `time.perf_counter()` of its proposal.
    """

    epoch_seconds: float = 0.0
    proposed: dict[int, float] = field(default_factory=dict)

    def request(self, number: int, *args: Any, **kwargs: Any) -> Request:
        request = super().request(number, *args, **kwargs)
        self.proposed[number] = time.perf_counter()
        params = request.params | {"epoch_seconds": self.epoch_seconds}
        return replace(request, trainable="noop", params=params)


@dataclass(frozen=True)
class Outcome:
    """What one process saw of a search.

    Attributes:
        ready_seconds: From the process's start until Ray and its workers were up.
        first_start_seconds: From then until the first trial started.
        cpu_seconds: Of the driver and of all of Ray's processes, while trials ran.
        idle_workers: Process ids of the workers that were up before the first trial.
    """

    ticks: tuple[Tick, ...]
    ready_seconds: float
    first_start_seconds: float
    cpu_seconds: float
    idle_workers: tuple[int, ...] = ()


def tick(num_trials: int) -> Tick:
    """Look at this process."""
    rss_mb = psutil.Process().memory_info().rss / 1e6
    return Tick(num_trials, time.perf_counter(), time.process_time(), rss_mb)


def _num_cpus() -> int:
    import ray

    return int(ray.cluster_resources()["CPU"])


def _wait_for_workers(count: int) -> tuple[int, ...]:
    """Wait until so many workers are up, though not long, and return their process ids."""
    found: list[int] = []
    until = time.monotonic() + _SECONDS_FOR_WORKERS
    while len(found) < count and time.monotonic() < until:
        time.sleep(0.1)
        found.clear()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.cmdline()[:1] == ["ray::IDLE"]:
                    found.append(process.pid)
    return tuple(found)


def noop_config(folder: Path, num_trials: int) -> StudyConfig:
    """Return a study of ten usual hyperparameters."""
    file = folder / "noop.yaml"
    write_text(file, _SPACE)
    root = json.dumps(str(folder / "photos"))
    return load_study(file, [f"dataset.root={root}", f"budget.num_trials={num_trials}"])


def noop_images(folder: Path) -> NoopSet:
    """Draw a few photos and decode them: each trial opens their store."""
    photos = folder / "photos"
    if not photos.exists():
        draw_photos(photos, _NUM_PHOTOS, 64, 48)
    index = check_images(build_index([photos]), max_dropped=0.0, num_workers=1).index
    split = make_split(index, val_fraction=0.2, test_fraction=0.2, seed=0)
    cache = build_cache(index, folder / "cache", size_px=32, fit="crop", num_workers=1)
    return NoopSet(cache, split.train, split.val, folder / "features")


def run_noop_study(folder: Path, num_trials: int, most_seconds: float) -> Outcome:
    """Search with all that a search has, live table included, in a process of its own.

    Args:
        folder: What it holds of an earlier search is gone on with.
        num_trials: In all.
        most_seconds: Then no more trials are started.
    """
    begin = time.time()
    session = RaySession()
    session.start()
    try:
        config, images = noop_config(folder, num_trials), noop_images(folder)
        session.wait()
        session.wait_for_imports()
        idle = _wait_for_workers(_num_cpus())
        ready = time.time()
        with TreeCpu() as cpu:
            watch = Watch(most_seconds)
            slots = plan_slots(1, 0, "auto", [(_num_cpus(), 0)])
            search_noop(folder, config, images, slots, watch)
    finally:
        session.stop()
    first_start = (watch.first_start or time.time()) - ready
    return Outcome(tuple(watch.ticks), ready - begin, first_start, cpu.seconds, idle)


def search_noop(
    folder: Path, config: StudyConfig, images: NoopSet, slots: Slots, watch: Watch, **runs: Any
) -> NoopRunner:
    """Search until the trials are done or the watch has seen enough.

    Args:
        runs: More fields of the runner, such as `cluster`.
    """
    clock, terminal = watch.clock, Terminal()
    backbones = {name: Backbone(name, None, 0) for name in config.possible_values("backbone")}
    shown, num_trials = config.search_space.searched, config.num_trials
    with Path(os.devnull).open("w") as nowhere:
        terminal.console = Console(file=nowhere, force_terminal=True, width=120)
        with terminal.trials("search", num_trials, MAX_EPOCHS, clock, shown) as show:
            watch.show = show
            results = ResultsFolder(folder)
            runner = NoopRunner(
                config, results, images, backbones, slots, clock, watch.on_change, **runs
            )
            with suppress(KeyboardInterrupt):  # time is up
                search_trials(runner)
    return runner
