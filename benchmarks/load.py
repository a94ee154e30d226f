"""What a search costs its driver while so many trials run at once: the watching and the sums."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from rich.table import Table

from benchmarks.engine import Watch

KEEP_FREE_MB = 5000.0
FIRST_GUESS_MB = 600.0  # of a node with its worker, before any was measured
PATIENCE_SECONDS = 400.0  # for all workers to be up; they share the cores of one machine


@dataclass(frozen=True)
class Load:
    """What a search with so many trials at once cost its driver, from when all of them ran.

    Attributes:
        nodes: Of Ray, the driver's left out.
        at_once: Trials that were meant to run at once.
        workers: Processes that trained.
        num_trials, num_results: Trials that ended, epochs that were reported.
        driver_cpu_seconds: Of its process, all threads.
        first_delay_seconds: From a trial's proposal to its first epoch, the epoch itself left out;
            median of the first trials, whose workers start.
        delay_seconds, late_delay_seconds: Of later trials: the median, and 95 of 100.
        busy: What trials spent in epochs, of the time that all slots had.
        look_ms: One look at all nodes, on the clock.
        driver_mb: Resident memory in the end.
        servers_mb, worker_mb: A node's servers with what lies in their object store, and a worker;
            what several share counts in parts.
        idle_share: CPU of a node's servers before any trial, of one core.
        sent_mb_s: A checkpoint from one of the nodes to the driver's.
    """

    nodes: int
    at_once: int
    workers: int
    num_trials: int
    num_results: int
    seconds: float
    driver_cpu_seconds: float
    first_delay_seconds: float
    delay_seconds: float
    late_delay_seconds: float
    busy: float
    look_ms: float
    driver_mb: float
    servers_mb: float
    worker_mb: float
    idle_share: float
    sent_mb_s: float

    @property
    def results_per_second(self) -> float:
        return self.num_results / self.seconds

    @property
    def cpu_ms_per_result(self) -> float:
        return 1000 * self.driver_cpu_seconds / max(1, self.num_results)

    @property
    def cpu_ms_per_trial(self) -> float:
        return 1000 * self.driver_cpu_seconds / max(1, self.num_trials)

    @property
    def driver_share(self) -> float:
        """CPU of the driver's process, of one core."""
        return self.driver_cpu_seconds / self.seconds


@dataclass
class Steady(Watch):
    """A watch whose time runs from the moment at which all slots have trained.

    Attributes:
        at_once: How many slots there are.
        reports: (trial number, moment) of each epoch.
        workers: Process ids.
        since, cpu_since: That moment, and the driver's CPU then.
        until, cpu_until: The last event that was seen.
        worker_mb: Of a worker at that moment.
    """

    at_once: int = 1
    reports: list[tuple[int, float]] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)
    since: float | None = None
    cpu_since: float = 0.0
    until: float = 0.0
    cpu_until: float = 0.0
    worker_mb: float = 0.0

    def on_change(self, ledger: Any, event: str, number: int) -> None:
        if self.clock.stop_requested:
            return  # what ends now was cut
        self.until, self.cpu_until = time.perf_counter(), time.process_time()
        if event == "epoch":
            self.reports.append((number, self.until))
            self.workers.add(ledger.trials[number].worker)
        if self.since is None and len(self.workers) >= self.at_once:
            self.worker_mb = statistics.median(shared_mb(int(pid)) for pid in self.workers)
            self.since, self.cpu_since = time.perf_counter(), time.process_time()
        super().on_change(ledger, event, number)

    def is_over(self) -> bool:
        if self.since is None:
            return self.clock.elapsed > PATIENCE_SECONDS
        return time.perf_counter() - self.since > self.most_seconds


def shared_mb(pid: int) -> float:
    """Return the memory of a process; what several share counts in parts. 0 if it is gone."""
    with suppress(psutil.Error):
        return float(psutil.Process(pid).memory_full_info().pss) / 1e6
    return 0.0


def affordable(wanted: int, running: int, free_mb: float, mb_each: float) -> int:
    """Return how many there may be: those wanted, or as many as leave memory free."""
    room = max(0, int((free_mb - KEEP_FREE_MB) / mb_each))
    return min(wanted, running + room)


def delays(
    proposed: Mapping[int, float], reports: Sequence[tuple[int, float]], epoch_seconds: float
) -> dict[int, float]:
    """Return trial number -> seconds from its proposal to its first epoch, but for the epoch."""
    first: dict[int, float] = {}
    for number, moment in reports:
        first.setdefault(number, moment)
    return {n: moment - proposed[n] - epoch_seconds for n, moment in first.items()}


def load_of(
    watch: Steady, waits: Mapping[int, float], epoch_seconds: float, about: Mapping[str, Any]
) -> Load:
    """Return the costs from the moment at which all slots had trained.

    Args:
        waits: See `delays`.
        about: The fields that were measured elsewhere.
    """
    begin = watch.until if watch.since is None else watch.since
    seconds = max(1e-9, watch.until - begin)
    num_results = sum(moment > begin for _, moment in watch.reports)
    early = [wait for number, wait in waits.items() if number < watch.at_once]
    late = sorted(wait for number, wait in waits.items() if number >= watch.at_once) or [0.0]
    return Load(
        at_once=watch.at_once,
        workers=len(watch.workers),
        num_trials=sum(tick.wall_seconds > begin for tick in watch.ticks),
        num_results=num_results,
        seconds=seconds,
        driver_cpu_seconds=0.0 if watch.since is None else watch.cpu_until - watch.cpu_since,
        first_delay_seconds=statistics.median(early or [0.0]),
        delay_seconds=statistics.median(late),
        late_delay_seconds=late[int(0.95 * (len(late) - 1))],
        busy=num_results * epoch_seconds / seconds / watch.at_once,
        driver_mb=watch.ticks[-1].rss_mb if watch.ticks else 0.0,
        worker_mb=watch.worker_mb,
        **about,
    )


def loads_table(loads: Sequence[Load]) -> Table:
    """Draw the loads side by side; a ratio is that of the last to the first."""
    table = Table(title="A search's driver as the cluster grows")
    for heading in ("nodes", *(f"{load.nodes}" for load in loads), "last : first"):
        table.add_column(heading, justify="left" if heading == "nodes" else "right")
    for name, values, form in _rows(loads):
        ratio = f"{values[-1] / values[0]:.2f}×" if values[0] else ""
        table.add_row(name, *(form.format(value) for value in values), ratio)
    return table


def _rows(loads: Sequence[Load]) -> list[tuple[str, list[float], str]]:
    """Return name, values and format of each row."""
    rows = (
        ("trials at once", "at_once", 1, "{:.0f}"),
        ("results a second", "results_per_second", 1, "{:.1f}"),
        ("slots busy, %", "busy", 100, "{:.0f}"),
        ("driver's CPU, % of a core", "driver_share", 100, "{:.0f}"),
        ("… ms a result", "cpu_ms_per_result", 1, "{:.1f}"),
        ("… ms a trial", "cpu_ms_per_trial", 1, "{:.0f}"),
        ("driver's memory, MB", "driver_mb", 1, "{:.0f}"),
        ("delay from proposal to training, ms", "delay_seconds", 1000, "{:.0f}"),
        ("… 95 of 100", "late_delay_seconds", 1000, "{:.0f}"),
        ("… of the first trials, whose workers start, s", "first_delay_seconds", 1, "{:.0f}"),
        ("a look at the nodes, ms", "look_ms", 1, "{:.2f}"),
        ("servers of a node, MB", "servers_mb", 1, "{:.0f}"),
        ("… idle, % of a core", "idle_share", 100, "{:.1f}"),
        ("a worker, MB", "worker_mb", 1, "{:.0f}"),
        ("a checkpoint on its way, MB/s", "sent_mb_s", 1, "{:.0f}"),
    )
    return [(n, [factor * getattr(load, a) for load in loads], form) for n, a, factor, form in rows]
