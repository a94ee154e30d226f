"""The page of a study that is at work, was cut off, or just went on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.folder_lock import FolderLock, run_at_work
from search.records import write_json
from search.report.live import pause_seconds
from search.report.load import read_study
from search.report.page import write_live_report
from search.report.under_way import read_under_way, running_table
from search.results import ResultsFolder
from search.tune.ledger import Ledger
from search.tune.study import write_study_tables
from tests.fake_ledger import write_running_study
from tests.fake_study import write_fake_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    folder = write_running_study(tmp_path_factory.mktemp("live") / "<b>cars")
    write_live_report(folder)
    return folder


def page_of(folder: ResultsFolder) -> str:
    return (folder.report / "index.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.S))


def test_the_page_says_how_far_it_is_and_reloads_itself(folder: ResultsFolder) -> None:
    page = page_of(folder)
    text = text_of(page)
    assert re.search(r"Searching: 12 of 24 trials done, 2 under way, about \d+ min left", text)
    assert re.search(r"Updated \d\d:\d\d; this page reloads itself", text)
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in page
    assert "location.reload()" in page
    assert "so far trial" in text
    assert "Under way" in text
    assert "2 of 9" in text
    for to_come in ("has not finished", "not tested", "Test accuracy", "No predictions", "Next"):
        assert to_come not in text


def test_its_names_are_text_not_markup(folder: ResultsFolder) -> None:
    page = page_of(folder)
    assert "<b>" not in page
    assert "no &lt;b&gt;network" in page


def test_running_trials_are_told_from_those_an_earlier_driver_left(
    folder: ResultsFolder, tmp_path: Path
) -> None:
    states = read_study(folder, at_work=True).trials.set_index("number")["state"]
    assert [states[12], states[13]] == ["running", "running"]
    later = write_running_study(tmp_path / "later")
    note = json.loads(later.marker("live").read_text())
    write_json(later.marker("live"), note | {"since": time.time()})  # the next driver, just begun
    states = read_study(later, at_work=True).trials.set_index("number")["state"]
    assert [states[12], states[13]] == ["interrupted", "interrupted"]


def test_reading_leaves_the_ledger_to_its_driver(tmp_path: Path) -> None:
    folder = write_running_study(tmp_path / "s")
    with folder.events.open("a") as file:
        file.write('{"event": "epo')  # being written right now
    before = folder.events.read_bytes()
    assert len(read_study(folder, at_work=True).trials) == 14
    assert folder.events.read_bytes() == before


def test_the_ledger_says_what_the_tables_will_say(tmp_path: Path) -> None:
    folder = write_running_study(tmp_path / "s", num_ended=20, num_running=0)
    early = read_study(folder)
    write_study_tables(folder, Ledger(folder.events, "val_accuracy", "maximize"))
    os.utime(folder.study / "trials.csv", (2e9, 2e9))
    late = read_study(folder)
    assert len(late.trials) == 20
    assert early.trials.equals(late.trials)
    assert early.epochs.equals(late.epochs)


def test_the_stage_that_trains_is_read_from_its_own_ledger(tmp_path: Path) -> None:
    folder = write_running_study(tmp_path / "s", num_ended=24, num_running=0)
    ledger = Ledger(folder.confirm / "events-0123.jsonl", "val_accuracy", "maximize")
    labels = ["trial 3, seed 1", "default <recipe>, seed 1"]
    for number in (0, 1):
        ledger.start(number, {"lr": 0.1}, seed=1)
    ledger.epoch(1, {"epoch": 1, "val_accuracy": 0.5, "seconds": 60.0})
    note = {"since": time.time() - 100, "stage": "confirm", "num_trials": 2, "labels": labels}
    write_json(folder.marker("live"), note)
    under_way = read_under_way(read_study(folder, at_work=True))
    assert under_way is not None
    assert under_way.text == (
        "Confirming the best: 0 of 2 trainings done, 2 under way, about 9 min left of this stage."
    )
    table = running_table(read_study(folder, at_work=True), under_way)
    assert table.frame["training"].tolist() == labels
    assert table.frame["epoch"].tolist() == ["0 of 9", "1 of 9"]


def test_a_finished_study_that_goes_on_says_of_which_run_its_scores_are(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=6)
    write_running_study(tmp_path / "s")
    write_live_report(folder)
    text = text_of(page_of(folder))
    assert "of the run that ended 2025-01-31T10:11:00+01:00" in text
    assert "14 trials:" in text
    assert "Test accuracy" in text


def test_the_page_takes_no_more_than_its_share() -> None:
    assert pause_seconds(cpu_seconds=0.5, num_cpus=2) == 60
    assert pause_seconds(cpu_seconds=5, num_cpus=2) == 250  # 5 of 500 CPU seconds


def test_a_process_refreshes_the_page_and_ends_with_its_driver(tmp_path: Path) -> None:
    folder = write_running_study(tmp_path / "a study")
    lock = FolderLock(folder.root)
    lock.acquire()
    assert run_at_work(folder.root)
    command = [sys.executable, "-m", "search.report.live", str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        page = folder.report / "index.html"
        deadline = time.monotonic() + 120
        while not page.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "Running." in page_of(folder)
        assert process.stdin is not None
        process.stdin.close()  # as when the driver is killed
        assert process.wait(120) == 0
    lock.release()
    assert not run_at_work(folder.root)
    page_then = page_of(folder)
    assert "Running." not in page_then
    assert "reload" not in page_then
    text = text_of(page_then)
    assert "14 trials:" in text
    assert "2 interrupted" in text
    assert "This study has not finished" in text
    assert "Run the same command again" in text
    assert not (folder.report / "tables" / "running.csv").exists()
