"""The fault drills' own judgement: what counts as lost, repeated or redone."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.blows import BLOWS
from benchmarks.deaths import DEATHS
from benchmarks.drills import Outcome, drill_table
from benchmarks.victim import Damage, damage, finished


def start(number: int) -> dict[str, Any]:
    return {"event": "start", "number": number}


def epoch(number: int, epoch: int) -> dict[str, Any]:
    return {"event": "epoch", "number": number, "epoch": epoch}


def end(number: int, state: str) -> dict[str, Any]:
    return {"event": "end", "number": number, "state": state}


BEFORE = [start(0), epoch(0, 1), end(0, "complete"), start(1), epoch(1, 1), epoch(1, 2)]
GOES_ON = [start(1), epoch(1, 2), end(1, "pruned")]


def test_a_trial_that_goes_on_redoes_epochs_and_harms_no_other() -> None:
    assert damage(BEFORE, BEFORE + GOES_ON) == Damage(1, (), (), 1)
    assert finished(BEFORE + GOES_ON) == {0: "complete", 1: "pruned"}


def test_a_finished_trial_that_starts_again_was_repeated() -> None:
    again = [*BEFORE, start(0), epoch(0, 1), end(0, "complete")]
    assert damage(BEFORE, again) == Damage(1, (), (0,), 1)


def test_a_finished_trial_without_its_end_was_lost() -> None:
    assert damage(BEFORE, [start(0), epoch(0, 1), end(0, "interrupted")]).lost == (0,)
    assert damage(BEFORE, [end(0, "failed")]).lost == (0,)


def test_the_table_shows_what_broke() -> None:
    bad = Outcome("driver", "in search", -9, 1.0, Damage(3, (2,), (), 0))
    bad.require(False, "no finished trial is lost")
    bad.require(True, "exit -9")
    assert bad.broken == ["no finished trial is lost"]
    written = io.StringIO()
    console = Console(width=150, file=written)
    console.print(drill_table([bad, Outcome("worker", "in mid-epoch", 0)]))
    text = written.getvalue()
    assert text.count("missed") == text.count("met") == 1
    assert len(BLOWS) >= 16


WRITES = {
    "ledger": """
from pathlib import Path
from search.records import TrialState
from search.tune.ledger import Ledger
ledger = Ledger(Path("events.jsonl"), "val_accuracy", "maximize")
for number in range(4):
    ledger.start(number, {}, 0)
    ledger.end(number, TrialState.FAILED)
""",
    "snapshot": """
import json
with open("experiment_state-1.json", "w") as file:
    json.dump({"trial_data": []}, file)
""",
} | {
    name: f"""
from pathlib import Path
from search.records import write_text
write_text(Path("before.csv"), "whole")
write_text(Path("{file}"), "whole")
"""
    for name, file in (
        ("table", "trials.csv"),
        ("model", "weights.safetensors"),
        ("summary", "summary.json"),
    )
}
LEFT = {
    "ledger": ("events.jsonl", b'"event":"end","nu'),
    "snapshot": ("experiment_state-1.json", b'{"trial_data": ['),
}


@pytest.mark.parametrize("name", DEATHS)
def test_a_driver_dies_in_the_middle_of_a_write(name: str, tmp_path: Path) -> None:
    code = DEATHS[name].prelude + WRITES[name]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60)
    assert done.returncode == -signal.SIGKILL
    if name in LEFT:
        file, half = LEFT[name]
        assert half in (tmp_path / file).read_bytes()[-40:]
    else:
        assert (tmp_path / "before.csv").exists()
        assert len(list(tmp_path.iterdir())) == 2, "written beside, and not renamed"
