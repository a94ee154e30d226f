"""A tiny study, run as a user runs it, to be hurt while it runs: what happened to its trials."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.photos import draw_photos

REPOSITORY = Path(__file__).resolve().parent.parent

# One training at a time: with several, which one is compared first at a rung is up to chance, and
# two undisturbed runs differ.
SPACE = """
name: victim
dataset: {root: photos, size_px: 32, val_fraction: 0.25, test_fraction: 0.2}
budget: {num_trials: 8, max_epochs: 4, min_epochs: 1, reduction_factor: 2}
resources: {max_concurrent: 1}
confirm: {top_k: 1, num_seeds: 1}
report: {cam_images: 2}
space:
  backbone: small_cnn
  width: 16
  depth: {choice: [2, 3]}
  lr: {float: [1.0e-3, 3.0e-2], log: true}
  augment_strength: 0.1
  batch_size: 8
"""
NUM_PHOTOS = 160
UNFINISHED = "interrupted"
LATER_STAGES = ("search", "confirm", "retrain", "evaluate", "explain", "export", "report", "disk")

Event = dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """What a disturbance did to the search's trials.

    Attributes:
        num_finished: Trials that had ended for good when it came.
        lost: Of these, those that later have another end, or none.
        repeated: Of these, those that were started again.
        epochs_redone: Epochs of other trials that were trained twice.
    """

    num_finished: int
    lost: tuple[int, ...]
    repeated: tuple[int, ...]
    epochs_redone: int


class Victim:
    """One study in a folder, its command, and the processes of the run that is under way.

    Args:
        folder: Photos, space file and results go there; an empty or a used one.
        log: File in it for what the command says.
    """

    def __init__(self, folder: Path, log: str = "output.txt") -> None:
        self.folder = folder
        self.results = folder / "results"
        self.output = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / log
        if not (folder / "photos").exists():
            draw_photos(folder / "photos", NUM_PHOTOS, 48, 40)
        (folder / "victim.yaml").write_text(SPACE, encoding="utf-8")

    def start(self, *flags: str, prelude: str = "") -> int:
        """Start the command in a session of its own; return its process id.

        Args:
            prelude: Python that the process runs first.
        """
        run = "import runpy, sys; sys.argv[0] = 'run'\nrunpy.run_module('search.run', None, "
        start = ["-c", f"{prelude}\n{run}'__main__', True)"] if prelude else ["-m", "search.run"]
        asked = ["--space", "victim.yaml", "--results", str(self.results), *flags]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *start, *asked],
                cwd=self.folder,
                env=os.environ
                | {
                    "PYTHONPATH": str(REPOSITORY),
                    "COLUMNS": "200",
                    "SEED_SEARCH_CHECKPOINT_SECONDS": "0",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process.pid

    def wait_until(self, condition: Callable[[], bool], seconds: float = 900) -> None:
        """Wait for something to be true while the command runs.

        Raises:
            AssertionError: The command ended first, or it took too long.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.is_running(), self.text()
            assert time.monotonic() < deadline, f"waited in vain: {self.text()}"
            time.sleep(0.05)

    def end(self, seconds: float = 900) -> int:
        """Wait for the command to end; return its exit code."""
        assert self._process is not None
        code = self._process.wait(seconds)
        self.output = self.text()
        return code

    def run(self, *flags: str) -> int:
        """Run the command to its end."""
        self.start(*flags)
        return self.end()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self, pid: int = 0) -> None:
        """Kill the driver, or another process of it, without notice."""
        assert self._process is not None
        os.kill(pid or self._process.pid, signal.SIGKILL)

    def kill_named(self, what: str) -> bool:
        """Kill "driver", "worker" or one of Ray's servers; return whether there was one."""
        assert self._process is not None
        names = {"worker": "ray::ImplicitFu"}
        pids = [self._process.pid] if what == "driver" else self._below(names.get(what, what))
        for pid in pids[:1]:
            try:
                self.kill(pid)
            except ProcessLookupError:
                return False
        return bool(pids)

    def make_away(self) -> None:
        """Kill the command and all that is left of it."""
        if self._process is not None:
            for pid, _ in _session(self._process.pid):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self) -> None:
        """Ask the driver to end, as a machine does that is shut down."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGTERM)

    def press_ctrl_c(self) -> None:
        """Interrupt as a terminal does: every process of the group hears of it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def server(self, name: str) -> int:
        """Return the process id of one of Ray's servers."""
        return self._below(name)[0]

    def _below(self, name: str) -> list[int]:
        assert self._process is not None
        try:
            below = psutil.Process(self._process.pid).children(recursive=True)
            return [p.pid for p in below if p.name().startswith(name)]
        except psutil.Error:
            return []

    def orphans(self, seconds: float = 150) -> list[str]:
        """Return the commands of processes that outlive the driver by some seconds.

        Two of Ray's look for their servers for a minute when the driver is killed without notice.
        """
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while (left := _session(self._process.pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [command for _, command in left]

    def text(self) -> str:
        """Return what the command has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def events(self, stage: str = "study") -> list[Event]:
        """Return what a ledger has so far: of study, confirm or best (the retraining)."""
        paths = sorted((self.results / stage).glob("events*.jsonl"))
        lines = [line for path in paths for line in path.read_text("utf-8").splitlines(True)]
        return [json.loads(line) for line in lines if line.endswith("}\n")]

    def count(self, event: str, stage: str = "study") -> int:
        return sum(e["event"] == event for e in self.events(stage))

    def has_marker(self, stage: str) -> bool:
        return (self.results / ".stages" / f"{stage}.json").exists()

    def trials(self) -> dict[int, tuple[str, ...]]:
        """Return what every trial came to: its number, state, epochs and params."""
        with (self.results / "study" / "trials.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [n for n in rows[0] if n.startswith("params.") or n in ("state", "epochs_run")]
        return {int(row["number"]): tuple(row[n] for n in names) for row in rows}

    def forget_trials(self) -> None:
        """Take the results back to where the images are decoded and the backbone is measured.

        Which arithmetic is fastest is measured, so two folders may come to different trials.
        """
        for stage in LATER_STAGES:
            (self.results / ".stages" / f"{stage}.json").unlink(missing_ok=True)
        for name in ("study", "confirm", "best", "baseline", "test", "report", "export"):
            shutil.rmtree(self.results / name, ignore_errors=True)
        (self.results / "summary.json").unlink(missing_ok=True)


def finished(events: list[Event]) -> dict[int, str]:
    """Return the trials that ended for good, and how. Pure."""
    ends = {e["number"]: e["state"] for e in events if e["event"] == "end"}
    return {number: state for number, state in ends.items() if state != UNFINISHED}


def damage(before: list[Event], after: list[Event]) -> Damage:
    """Compare a ledger at the moment of a disturbance with that of the finished study. Pure."""
    done, now = finished(before), finished(after)
    starts = Counter(e["number"] for e in after[len(before) :] if e["event"] == "start")
    epochs = Counter((e["number"], e["epoch"]) for e in after if e["event"] == "epoch")
    return Damage(
        num_finished=len(done),
        lost=tuple(n for n, state in done.items() if now.get(n) != state),
        repeated=tuple(n for n in done if starts[n]),
        epochs_redone=sum(count - 1 for count in epochs.values()),
    )


def _session(pid: int) -> list[tuple[int, str]]:
    """Return id and command of the processes of a session."""
    left = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            if os.getsid(process.pid) == pid and process.info["status"] != psutil.STATUS_ZOMBIE:
                left.append((process.pid, " ".join(process.info["cmdline"] or ())[:120]))
        except (OSError, psutil.Error):
            continue
    return left
