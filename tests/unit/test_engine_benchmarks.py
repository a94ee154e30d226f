"""The benchmarks of the search itself: what they compute, and that their trials are real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import timed
from benchmarks.engine import Outcome, Tick
from benchmarks.made_up import made_up_accuracy
from benchmarks.overhead import PerTrial, noop_table, per_trial
from benchmarks.processes import TreeCpu, in_process
from benchmarks.scale import draw_growth, growth_of, windows, write_past
from benchmarks.useful import Useful
from search.records import TrialState
from search.results import ResultsFolder
from search.tune.ledger import Ledger
from tests.memory_data import coloured_noise
from tests.training import Log, params
from trainables.contract import TrialInputs


def ticks(seconds: list[float]) -> list[Tick]:
    ends = np.cumsum(seconds)
    return [Tick(k + 1, end, end / 10, 300 + 0.05 * k) for k, end in enumerate(ends)]


def test_growth_compares_the_last_trials_with_the_50th() -> None:
    steady = growth_of(ticks([0.2] * 400))
    assert steady.slower == pytest.approx(1.0)
    assert steady.mb_per_1000 == pytest.approx(50.0)
    assert steady.late_cpu_seconds == pytest.approx(0.02)
    growing = growth_of(ticks([0.2 + 0.001 * k for k in range(400)]))
    assert growing.slower == pytest.approx((0.2 + 0.379) / (0.2 + 0.05), rel=0.02)
    assert growing.num_trials == 400


def test_growth_is_drawn(tmp_path: Path) -> None:
    rows = windows(ticks([0.2] * 41), 10)
    assert [row[0] for row in rows] == [11, 21, 31, 41]
    assert rows[0][1:3] == pytest.approx((200.0, 20.0))
    draw_growth(ticks([0.2] * 100), tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as image:
        assert image.width > 1000


def test_costs_of_a_trial_leave_the_first_ones_out() -> None:
    outcome = Outcome(tuple(ticks([5.0] + [0.2] * 20)), 1.0, 1.0, 42.0)
    assert per_trial(outcome).wall_seconds == pytest.approx(0.2)
    mine, plain = PerTrial(21, 0.2, 0.02, 2.0), PerTrial(21, 3.0, 0.06, 9.0)
    table = noop_table(mine, plain)
    cells = [str(cell) for column in table.columns for cell in column.cells]
    assert "15.0×\naim ≥ 8× [green]met[/]" in cells
    assert "[red]missed[/]" in str(list(noop_table(plain, plain).columns[0].cells))


def test_cpu_of_children_counts() -> None:
    code = "import time\nwhile time.process_time() < 1.0: pass\ntime.sleep(1)"
    with TreeCpu() as cpu:
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert 0.9 <= cpu.seconds < 2.0


def test_a_past_study_is_one_that_a_search_goes_on_with(tmp_path: Path) -> None:
    write_past(tmp_path, 20)
    ledger = Ledger(ResultsFolder(tmp_path).events, "val_accuracy", "maximize")
    assert len(ledger.finished()) == 20
    assert ledger.trials[0].state is TrialState.COMPLETE
    assert {trial.state for trial in ledger.finished()} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert (
        made_up_accuracy(ledger.trials[3].params, 3, 1)
        == ledger.trials[3].epochs[1]["val_accuracy"]
    )


def test_steps_are_timed_without_the_waiting(tmp_path: Path) -> None:
    data, log = coloured_noise(), Log()
    store = tmp_path / "data" / "features"
    store.parent.mkdir()
    inputs = TrialInputs(params(), data, max_epochs=2, feature_store=store)
    timed.train(inputs, log)
    seconds = timed.read_step_seconds(store)
    assert 0 < seconds < sum(report.seconds for report in log.reports)
    timed.train(inputs, Log())
    assert timed.read_step_seconds(store) > seconds
    assert Useful(2, 2, 10.0, 17.0).fraction == 0.85


def test_a_failure_in_the_process_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        in_process(divmod, 1, 0)
