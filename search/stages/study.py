"""What every stage of one run shares."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.clock import Clock
from search.config import StudyConfig
from search.data.sources import Fetched
from search.results import ResultsFolder
from search.terminal import OnTrial, Terminal

if TYPE_CHECKING:
    from search.tune.session import RaySession


@dataclass
class Study:
    """One run of one study.

    Attributes:
        identity: Fingerprint of space file and data; every stage's marker builds on it.
        warnings: Sentences for the terminal, the summary and the report's header.
    """

    config: StudyConfig
    results: ResultsFolder
    terminal: Terminal
    clock: Clock
    session: RaySession
    fetched: Fetched
    weights_folder: Path | None = None
    identity: str = ""
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Say something loudly, once."""
        if text and text not in self.warnings:
            self.warnings.append(text)
            self.terminal.warn(text)

    def is_done(self, stage: str, identity: str) -> bool:
        """Tell whether a stage is done; one cut short is not, for a command that has more time."""
        note = self.results.read_marker(stage)
        now = self.config.budget.time_limit or float("inf")
        then = note.get("time_limit") or float("inf")
        was_cut_short = note.get("was_cut_short", False)
        return self.results.is_done(stage, identity) and not (was_cut_short and now > then)

    def finish(self, stage: str, identity: str, begin: float, **notes: Any) -> None:
        """Mark a stage done, with the seconds since `begin` (time.monotonic)."""
        notes["time_limit"] = self.config.budget.time_limit
        self.results.mark_done(stage, identity, time.monotonic() - begin, **notes)

    def board(self, stage: str, num_trials: int) -> AbstractContextManager[OnTrial]:
        """Show the trials of a stage while they run."""
        max_epochs = self.config.budget.max_epochs
        shown = self.config.search_space.searched
        return self.terminal.trials(stage, num_trials, max_epochs, self.clock, shown)
