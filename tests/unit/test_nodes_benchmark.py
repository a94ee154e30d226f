"""What the benchmark of many nodes computes from the events of a search."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.load import KEEP_FREE_MB, Load, Steady, affordable, delays, load_of, loads_table
from search.records import TrialState
from search.tune.ledger import Ledger

ABOUT = {"nodes": 2, "look_ms": 0.5, "servers_mb": 100.0, "idle_share": 0.01, "sent_mb_s": 200.0}


def test_memory_decides_how_many_there_may_be() -> None:
    assert affordable(20, 0, KEEP_FREE_MB + 100_000, 500) == 20
    assert affordable(20, 0, KEEP_FREE_MB + 2600, 500) == 5
    assert affordable(20, 7, KEEP_FREE_MB + 2600, 500) == 12
    assert affordable(20, 7, KEEP_FREE_MB - 1, 500) == 7


def test_a_delay_ends_with_the_first_epoch_less_what_it_takes() -> None:
    reports = [(0, 14.0), (1, 12.5), (0, 15.0)]
    assert delays({0: 10.0, 1: 11.0, 2: 12.0}, reports, 1.0) == {0: 3.0, 1: 0.5}


def test_time_runs_from_when_all_slots_have_trained(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")
    watch = Steady(0.2, at_once=2)
    ours = str(os.getpid())

    def epoch(number: int, epoch: int, worker: str) -> None:
        ledger.epoch(number, {"epoch": epoch, "val_accuracy": 0.5, "worker": worker})
        watch.on_change(ledger, "epoch", number)

    for number in (0, 1):
        ledger.start(number, {}, number)
    epoch(0, 1, ours)
    assert watch.since is None
    epoch(1, 1, "999999999")
    assert watch.since is not None
    assert watch.worker_mb > 0
    epoch(0, 2, ours)
    ledger.end(0, TrialState.PRUNED)
    watch.on_change(ledger, "end", 0)
    assert not watch.clock.stop_requested
    time.sleep(0.25)
    epoch(1, 2, "999999999")
    assert watch.clock.stop_requested
    watch.on_change(ledger, "end", 1)  # cut
    load = load_of(watch, {0: 5.0, 1: 7.0, 2: 0.1, 3: 0.2}, 0.1, ABOUT)
    assert (load.num_trials, load.num_results, load.workers) == (1, 2, 2)
    assert load.seconds == pytest.approx(0.25, abs=0.1)
    assert load.busy == pytest.approx(2 * 0.1 / load.seconds / 2)
    assert (load.first_delay_seconds, load.late_delay_seconds) == (6.0, 0.1)


def test_a_search_that_never_filled_its_slots_claims_no_costs() -> None:
    watch = Steady(60, at_once=2, reports=[(0, 1.0)], until=2.0, cpu_until=3.0)
    load = load_of(watch, {0: 1.0}, 1.0, ABOUT)
    assert (load.num_results, load.driver_cpu_seconds, load.delay_seconds) == (0, 0.0, 0.0)


def test_the_table_has_ratios() -> None:
    figures = {"first_delay_seconds": 9.0, "delay_seconds": 0.02, "late_delay_seconds": 0.1}
    rest = {"busy": 0.9, "driver_mb": 900.0, "worker_mb": 400.0, "workers": 2} | ABOUT | figures
    small = Load(**rest, at_once=2, num_trials=10, num_results=40, seconds=10, driver_cpu_seconds=1)
    large = Load(**rest, at_once=9, num_trials=9, num_results=40, seconds=10, driver_cpu_seconds=3)
    shown = io.StringIO()
    Console(file=shown, width=100).print(loads_table([small, large]))
    row = next(line for line in shown.getvalue().splitlines() if "ms a result" in line)
    assert [cell.strip() for cell in row.split("│")[2:5]] == ["25.0", "75.0", "3.00×"]
