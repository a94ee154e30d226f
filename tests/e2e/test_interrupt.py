"""Killed, starved or interrupted: the same command goes on, and nothing finished is lost.

`benchmarks/drills.py` has every drill and compares with an undisturbed study; these are the ones
that must hold after every change.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import make_study, run_search, start_search, wait_for


def events(folder: Path, stage: str = "study") -> list[dict[str, Any]]:
    paths = sorted((folder / "results" / "tiny" / stage).glob("events*.jsonl"))
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def finished(folder: Path) -> dict[int, str]:
    """Return the trials that ended for good, and how."""
    ends = [e for e in events(folder) if e["event"] == "end" and e["state"] != "interrupted"]
    return {e["number"]: e["state"] for e in ends}


def server(driver: int, name: str) -> psutil.Process:
    return next(p for p in psutil.Process(driver).children(recursive=True) if p.name() == name)


def left_of(session: int) -> list[str]:
    """Return what still runs of a session, zombies not counted."""
    left = []
    for process in psutil.process_iter(["name", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                left.append(process.info["name"])
        except ProcessLookupError:
            continue
    return left


def end_of(process: subprocess.Popen[str], code: int, says: str = "") -> str:
    """Wait for a command to end, in order and without leaving a process behind."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    assert says in output, output
    assert "Traceback" not in output
    wait_for(lambda: not left_of(process.pid))
    return output


@pytest.mark.timeout(1800)  # the command runs six times: two minutes on an idle machine
def test_what_is_finished_outlives_kills_in_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED_SEARCH_CHECKPOINT_SECONDS", "0")  # one at every epoch
    make_study(tmp_path)
    flags = ("--space", "tiny.yaml", "--trials", "6")
    process = start_search(tmp_path, *flags)

    # A worker in mid-epoch: its trial is tried again, the study goes on.
    wait_for(lambda: any(e["event"] == "epoch" and e["epoch"] > 2 for e in events(tmp_path)))
    os.kill(int(events(tmp_path)[-1]["worker"]), signal.SIGKILL)
    wait_for(lambda: any(e["event"] == "retry" for e in events(tmp_path)))
    second = run_search(tmp_path, *flags)
    assert second.returncode == 2, second.stdout
    assert f"another run is working in this folder (process {process.pid} on " in second.stderr

    # A server of Ray: nothing can go on, and the command says so at once.
    wait_for(lambda: len(finished(tmp_path)) >= 2)
    server(process.pid, "raylet").kill()
    end_of(process, 1, "error: Ray's raylet must live as long as the command")
    done = finished(tmp_path)
    with (tmp_path / "results" / "tiny" / "study" / "events.jsonl").open("a") as file:
        file.write('{"event":"epoch","num')  # cut in the middle of a line, as a power cut does

    # Ctrl-C in confirm: a terminal sends it to every process of the group.
    process = start_search(tmp_path, *flags)
    wait_for(lambda: any(e["event"] == "epoch" for e in events(tmp_path, "confirm")))
    os.killpg(process.pid, signal.SIGINT)
    end_of(process, 130, "the same command goes on from here: python -m search.run --space")
    searched = events(tmp_path)

    # The driver in retrain.
    process = start_search(tmp_path, *flags)
    wait_for(lambda: any(e["event"] == "epoch" for e in events(tmp_path, "best")))
    process.kill()
    process.communicate()  # two of Ray's processes take a minute to notice, and harm nobody

    last = run_search(tmp_path, *flags)
    assert last.returncode == 0, last.stdout + last.stderr
    assert events(tmp_path) == searched, "the search was done, and stays as it was"
    starts = Counter(e["number"] for e in searched if e["event"] == "start")
    assert all(starts[number] == 1 for number in done), "no finished trial is trained again"
    assert done.items() <= finished(tmp_path).items()
    trained = Counter((e["number"], e["epoch"]) for e in searched if e["event"] == "epoch")
    again = sum(count - 1 for count in trained.values())
    num_cuts = sum(e["event"] == "retry" for e in searched) + sum(starts.values()) - len(starts)
    assert again <= num_cuts, "a trial goes on from its checkpoint: an epoch at most is lost"
    summary = json.loads((tmp_path / "results" / "tiny" / "summary.json").read_text())
    assert sum(summary["trials"].values()) == 6
    assert summary["trials"]["interrupted"] == summary["trials"]["failed"] == 0

    more = run_search(tmp_path, "--space", "tiny.yaml", "--trials", "7")
    assert more.returncode == 0, more.stdout + more.stderr
    extended = events(tmp_path)
    assert extended[: len(searched)] == searched, "a finished study grows, it does not start again"
    assert {e["number"] for e in extended} == set(range(7))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    make_study(tmp_path, budget="budget: {num_trials: 50, max_epochs: 9, min_epochs: 1}")
    process = start_search(tmp_path, "--space", "tiny.yaml")
    wait_for(lambda: len(finished(tmp_path)) >= 1)
    # A terminal interrupts every process of the group, a machine that is shut down asks the first.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    output = end_of(process, 130, "the same command goes on")
    assert "***" not in output, "Ray's own handler writes a stack trace"
    rows = (tmp_path / "results" / "tiny" / "study" / "trials.csv").read_text().splitlines()
    assert len(rows) > 1


def test_sigterm_before_the_first_trial_leaves_nothing_running(tmp_path: Path) -> None:
    make_study(tmp_path)
    process = start_search(tmp_path, "--space", "tiny.yaml")
    wait_for(lambda: (tmp_path / "results" / "tiny" / "environment.json").exists())
    os.kill(process.pid, signal.SIGTERM)
    end_of(process, 130, "stopping: finished trials are kept")


def test_a_signal_to_all_processes_is_a_stop_too(tmp_path: Path) -> None:
    make_study(tmp_path)
    process = start_search(tmp_path, "--space", "tiny.yaml")
    wait_for(lambda: any(e["event"] == "epoch" for e in events(tmp_path)))
    raylets = [p for p in psutil.Process(process.pid).children(True) if p.name() == "raylet"]
    os.kill(process.pid, signal.SIGTERM)
    for raylet in raylets:
        raylet.kill()
    assert raylets
    end_of(process, 130)
