"""The blows of `benchmarks.drills`: what is hurt, when, how, and what the command must then do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.victim import Victim

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Blow:
    """One way to hurt a study.

    Attributes:
        ready: Tells when to strike.
        exit_code: Of the command that was hurt.
        says: What it must say.
        seconds: In which it must end.
        spoil: Done to its files before the same command runs again.
        says_again: What that one must say.
    """

    what: str
    when: str
    ready: Callable[[Victim], bool]
    strike: Callable[[Victim], None] = Victim.kill
    exit_code: int = KILLED
    says: str = ""
    seconds: float = 60.0
    spoil: Callable[[Victim], None] = lambda victim: None
    says_again: str = ""


def in_search(victim: Victim) -> bool:
    """Tell whether two trials have ended and a third has an epoch."""
    events = victim.events()
    ends = [k for k, event in enumerate(events) if event["event"] == "end"]
    return len(ends) >= 2 and any(e["event"] == "epoch" for e in events[ends[1] :])


def in_confirm(victim: Victim) -> bool:
    return victim.count("epoch", "confirm") > 0


def in_retrain(victim: Victim) -> bool:
    return victim.count("epoch", "best") > 0


def in_report(victim: Victim) -> bool:
    return victim.has_marker("export")


def at_start(victim: Victim) -> bool:
    return "study " in victim.text()


def worker_of_last_epoch(victim: Victim) -> int:
    """Return the process that trains now."""
    return int(next(e["worker"] for e in reversed(victim.events()) if e["event"] == "epoch"))


def cut_ledger_line(victim: Victim) -> None:
    """Leave the ledger as a process does that dies while it writes a line."""
    with (victim.results / "study" / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event":"epoch","num')


def cut_files(victim: Victim) -> None:
    """Take the end off the ledger and the Optuna journal, as a power cut may."""
    for name in ("events.jsonl", "optuna.journal"):
        path = victim.results / "study" / name
        os.truncate(path, path.stat().st_size - 30)


def open_checkpoints(victim: Victim) -> Iterator[Path]:
    """Yield the checkpoints of trials that have not ended."""
    events = victim.events()
    ended = {e["number"] for e in events if e["event"] == "end"}
    for event in events:
        if event["event"] == "start" and event["number"] not in ended:
            stage = victim.results / "study" / "checkpoints" / "search"
            file = stage / str(event["number"]) / "checkpoint.pt"
            if file.exists():
                yield file


def cut_checkpoints(victim: Victim) -> None:
    for file in open_checkpoints(victim):
        os.truncate(file, file.stat().st_size // 2)


def _kill_server(name: str) -> Callable[[Victim], None]:
    return lambda victim: victim.kill(victim.server(name))


def _press_twice(victim: Victim) -> None:
    victim.press_ctrl_c()
    victim.wait_until(lambda: "stopping" in victim.text())
    time.sleep(0.1)
    victim.press_ctrl_c()


def _dead(name: str) -> Blow:
    says = f"error: Ray's {name} must live"
    return Blow(name, "in search", in_search, _kill_server(name), EXIT_FAILED, says, 20)


def _stopped(what: str, when: str, ready: Callable[[Victim], bool]) -> Blow:
    strike = Victim.terminate if what == "SIGTERM" else Victim.press_ctrl_c
    says = "the same command goes on"
    return Blow(what, when, ready, strike, EXIT_INTERRUPTED, says, 30)


BLOWS: dict[str, Blow] = {
    "driver": Blow("driver", "between epochs", in_search),
    "append": Blow("driver", "in a ledger line", in_search, spoil=cut_ledger_line),
    "confirm": Blow("driver", "in confirm", in_confirm),
    "retrain": Blow("driver", "in retrain", in_retrain),
    "report": Blow("driver", "in report", in_report),
    "raylet": _dead("raylet"),
    "gcs": _dead("gcs_server"),
    "truncated": Blow("driver, then files", "ledger and journal cut", in_search, spoil=cut_files),
    "checkpoint": Blow(
        "driver, then files",
        "checkpoint cut in half",
        lambda victim: any(open_checkpoints(victim)),
        spoil=cut_checkpoints,
        says_again="began again at the first epoch",
    ),
    "ctrl-c-start": _stopped("Ctrl-C", "before the images", at_start),
    "ctrl-c-search": _stopped("Ctrl-C", "in search", in_search),
    "ctrl-c-confirm": _stopped("Ctrl-C", "in confirm", in_confirm),
    "ctrl-c-retrain": _stopped("Ctrl-C", "in retrain", in_retrain),
    "ctrl-c-report": _stopped("Ctrl-C", "in report", in_report),
    "ctrl-c-twice": Blow(
        "Ctrl-C twice", "in search", in_search, _press_twice, EXIT_INTERRUPTED, "stopping", 3
    ),
    "sigterm": _stopped("SIGTERM", "in search", in_search),
}
