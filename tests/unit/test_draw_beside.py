"""A report drawn by two processes is the report of one, whatever becomes of the second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.report import draw_beside
from search.report.draw_beside import Helper, drawing_beside
from search.report.figures import PLOTS, draw_plots
from search.report.load import read_study
from search.results import ResultsFolder
from tests.fake_study import write_fake_study

SOME = tuple(plot for plot in PLOTS if plot.name in ("history", "time", "confirm", "cam_right"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    return write_fake_study(tmp_path_factory.mktemp("beside") / "ü 'study'", num_trials=20)


@pytest.fixture(autouse=True)
def few_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_beside, "PLOTS", SOME)


def drawn_by(helper: Helper) -> set[str]:
    """Return the plots that a helper alone has drawn, once it has nothing more to do."""
    helper._asking.join(120)
    return set(helper._drawn)


def test_both_processes_draw_the_same(folder: ResultsFolder, tmp_path: Path) -> None:
    alone = draw_plots(read_study(folder), tmp_path, SOME)
    with drawing_beside(folder, at_work=False, wanted=True) as helper:
        assert len(drawn_by(helper)) == len(SOME), "nobody else drew: all came from there"
        assert helper.draw_the_rest(read_study(folder)) == alone
    assert helper.process is not None
    assert helper.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("word", ["raise SystemExit(1)", "print('noise')", "input(); 1 / 0"])
def test_a_process_that_fails_costs_nothing(folder: ResultsFolder, word: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", word],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    helper = Helper(process)
    drawn = helper.draw_the_rest(read_study(folder))
    helper.end()
    names = [plot.name for plots in drawn.values() for plot in plots]
    assert names == [plot.name for plot in SOME]


def test_a_process_that_hangs_is_not_waited_for(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_beside, "SECONDS_FOR_A_PLOT", 1.0)
    with drawing_beside(folder, at_work=False, wanted=True) as helper:
        assert helper.process is not None
        os.kill(helper.process.pid, signal.SIGSTOP)
        drawn = helper.draw_the_rest(read_study(folder))
    assert sum(map(len, drawn.values())) == len(SOME)
