"""What people see while a study runs, on a terminal and in a file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from search.clock import Clock
from search.goals import Goals, Objective
from search.records import TrialState
from search.terminal import Terminal, _breaks
from search.tune.ledger import Ledger


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    name = "photos/:dog: [bold]x[/] \\[y]/:smiley:"
    terminal = Terminal()
    terminal.line("data", name)
    terminal.warn(name)
    terminal.error(name)
    printed = capsys.readouterr()
    assert printed.out.count(name) == 1
    assert printed.err.count(name) == 2


def test_lines_of_a_file_are_whole_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(Terminal(), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["search", "[1/4]", "trial", "0"],
        ["search", "[2/4]", "trial", "1"],
        ["search", "[3/4]", "trial", "2"],
    ]
    assert "complete  9/9  0.8000 best" in lines[0]
    assert lines[0].endswith("default recipe")
    assert "pruned    1/9  0.3000       " in lines[1]
    assert lines[1].endswith("resnet18 lr=0.123 note=" + "x" * 200)  # what differs, uncut
    assert lines[2].endswith("MemoryError: [red]8 GiB[/] wanted")


def test_a_terminal_gets_one_row_a_trial_and_a_whole_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    assert terminal.is_live
    play(terminal, tmp_path)
    terminal.line("data", "forty words and more " * 5 + "/a/path/" + "y" * 70)
    printed = Text.from_ansi(capsys.readouterr().out).plain
    kept = [line for line in printed.splitlines() if line.startswith(("search", " " * 10))]
    trials = [line for line in kept if "trial 1 " in line and "pruned" in line]
    assert len(trials) == 1
    assert len(trials[0]) == 60
    assert trials[0].endswith("…")
    assert "8 GiB[/] wanted" in printed
    assert "3/4 · best 0.8000 (trial 0) · 1 pruned" in printed
    assert re.search(r"^trial 3 +2/9 +0\.5000 +0\.5000 +\d+s", printed, re.MULTILINE)
    assert f"\n{' ' * 10}/a/path/{'y' * 70}\n" in printed  # to be copied in one piece


@pytest.mark.parametrize("width", [1, 20, 60, 500])
def test_breaking_a_line_keeps_its_words(width: int) -> None:
    line = "one two 三文字 four " + "z" * 90 + "  end"
    breaks = [0, *_breaks(line, width), len(line)]
    parts = [line[a:b] for a, b in itertools.pairwise(breaks)]
    assert "".join(parts) == line
    for part in parts:
        assert cell_len(part.rstrip()) <= width or " " not in part.strip()


def play(terminal: Terminal, folder: Path) -> None:
    """Show a search that ends three trials and has one running."""
    ledger = Ledger(folder / "events.jsonl", "val_accuracy", "maximize")
    params = {"backbone": "small_cnn", "lr": 0.1, "note": "a"}
    other = {"backbone": "resnet18", "lr": 0.12345, "note": "x" * 200}
    with terminal.trials("search", 4, 9, Clock(), ("backbone", "lr", "note")) as on_change:

        def train(number: int, searched: dict[str, Any], values: Sequence[float]) -> None:
            ledger.start(number, searched, seed=0)
            on_change(ledger, "start", number)
            for epoch, value in enumerate(values, 1):
                row = {"epoch": epoch, "val_accuracy": value, "train_loss": 1.0, "seconds": 1.0}
                ledger.epoch(number, row)
                on_change(ledger, "epoch", number)

        def end(number: int, state: TrialState, error: str = "") -> None:
            ledger.end(number, state, error)
            on_change(ledger, "end", number)

        train(0, params, [0.1 * k for k in range(9)])
        end(0, TrialState.COMPLETE)
        train(1, other, [0.3])
        end(1, TrialState.PRUNED)
        train(2, params, [])
        end(2, TrialState.FAILED, "MemoryError: [red]8 GiB[/] wanted")
        train(3, other, [0.4, 0.5])


def test_a_trial_that_breaks_a_limit_says_which_and_a_trade_off_shows_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = Goals((Objective("val_accuracy", "maximize"), Objective("latency_ms", "minimize")))
    ledger = Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize", goals=goals)
    reason = "num_parameters must be <= 5e6, has 11.2e6"
    terminal = Terminal()
    with terminal.trials("search", 2, 3, Clock(), ("lr",)) as on_change:
        ledger.start(0, {"lr": 0.1}, seed=0)
        cost = {"latency_ms": 2.345, "num_parameters": 5.0, "model_mb": 1.0}
        ledger.footprint(0, "net", cost)
        ledger.epoch(0, {"epoch": 3, "val_accuracy": 0.5, "train_loss": 1.0, "seconds": 1.0})
        ledger.end(0, TrialState.COMPLETE)
        on_change(ledger, "end", 0)
        ledger.start(1, {"lr": 0.2}, seed=0)
        ledger.end(1, TrialState.INFEASIBLE, reason)
        on_change(ledger, "end", 1)
    first, second = capsys.readouterr().out.splitlines()
    assert "0.5000 best" in first
    assert "latency_ms 2.35" in first
    assert "infeasible" in second
    assert second.endswith(reason)
