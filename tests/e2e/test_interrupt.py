"""Killed or interrupted in the middle: the same command goes on, and nothing finished is lost."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

from tests.e2e.conftest import make_study, run_search, start_search, wait_for


def events(folder: Path) -> list[dict[str, object]]:
    path = folder / "results" / "tiny" / "study" / "events.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def finished_numbers(folder: Path) -> set[object]:
    return {
        e["number"] for e in events(folder) if e["event"] == "end" and e["state"] != "interrupted"
    }


def test_kill_9_of_the_driver_loses_no_finished_trial(tmp_path: Path) -> None:
    make_study(tmp_path, confirm="confirm: {top_k: 1, num_seeds: 0}")
    flags = ("--space", "tiny.yaml", "--trials", "6")
    process = start_search(tmp_path, *flags)
    wait_for(lambda: len(finished_numbers(tmp_path)) >= 2)
    process.kill()
    process.wait()
    before = events(tmp_path)
    done = finished_numbers(tmp_path)
    with (tmp_path / "results" / "tiny" / "study" / "events.jsonl").open("a") as file:
        file.write('{"event":"epoch","num')  # cut in the middle of a line, as a power cut does
    again = run_search(tmp_path, *flags)
    assert again.returncode == 0, again.stdout + again.stderr
    after = events(tmp_path)
    assert after[: len(before)] == before
    starts = Counter(e["number"] for e in after if e["event"] == "start")
    assert all(starts[number] == 1 for number in done), "no finished trial is trained again"
    summary = json.loads((tmp_path / "results" / "tiny" / "summary.json").read_text())
    assert sum(summary["trials"].values()) == 6
    assert summary["trials"]["interrupted"] == 0
    more = run_search(tmp_path, "--space", "tiny.yaml", "--trials", "7")
    assert more.returncode == 0, more.stdout + more.stderr
    extended = events(tmp_path)
    assert extended[: len(after)] == after, "a finished study grows, it does not start again"
    assert {e["number"] for e in extended} == set(range(7))


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    make_study(tmp_path, budget="budget: {num_trials: 50, max_epochs: 9, min_epochs: 1}")
    process = start_search(tmp_path, "--space", "tiny.yaml")
    wait_for(lambda: len(finished_numbers(tmp_path)) >= 1)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    rows = (tmp_path / "results" / "tiny" / "study" / "trials.csv").read_text().splitlines()
    assert len(rows) > 1
