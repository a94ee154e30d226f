"""What every stage of one run shares."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.clock import Clock
from search.config import StudyConfig
from search.data.sources import Fetched
from search.disk import DISK_LIMIT, DiskWatch
from search.mirroring import Mirroring
from search.results import ResultsFolder
from search.stages.live import LivePage
from search.tensorboard import TensorBoard
from search.terminal import OnTrial, Terminal

if TYPE_CHECKING:
    from search.tune.session import RaySession


@dataclass
class Study:
    """One run of one study.

    Attributes:
        warm_start: Folder of another study to begin with, if one was named.
        mirroring: Keeps a copy of the results elsewhere, if one was asked for.
        disk: Watches how much of it the results take.
        live: The report's page while trainings run.
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
    warm_start: Path | None = None
    mirroring: Mirroring | None = None
    identity: str = ""
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = DiskWatch(self.results, self.config.resources.disk_gb)
        self.live = LivePage(self.results)

    def warn(self, text: str) -> None:
        """Say something loudly, once."""
        if text and text not in self.warnings:
            self.warnings.append(text)
            self.terminal.warn(text)

    def is_done(self, stage: str, identity: str) -> bool:
        """Tell whether a stage is done; one cut short is not, given more time or another disk."""
        note = self.results.read_marker(stage)
        more_disk = note.get("disk_gb") != self.config.resources.disk_gb
        if more_disk and note.get("reason", "").startswith(DISK_LIMIT):
            return False
        now = self.config.budget.time_limit or float("inf")
        then = note.get("time_limit") or float("inf")
        was_cut_short = note.get("was_cut_short", False)
        return self.results.is_done(stage, identity) and not (was_cut_short and now > then)

    def finish(self, stage: str, identity: str, begin: float, **notes: Any) -> None:
        """Mark a stage done, with the seconds since `begin` (time.monotonic)."""
        self.disk.used_bytes()
        notes["time_limit"] = self.config.budget.time_limit
        notes["disk_gb"] = self.config.resources.disk_gb
        self.results.mark_done(stage, identity, time.monotonic() - begin, **notes)
        if self.mirroring is not None:
            self.mirroring.soon()

    @contextmanager
    def board(self, stage: str, num_trials: int, labels: Sequence[str] = ()) -> Iterator[OnTrial]:
        """Show the trainings of a stage while they run: on the terminal and wherever asked for.

        Args:
            labels: What to call them, where they are not trials of the search.
        """
        config = self.config
        shown, max_epochs = config.search_space.searched, config.budget.max_epochs
        facts = {"num_trials": num_trials, "labels": list(labels)}
        files = TensorBoard(self.results.tensorboard)
        to_tensorboard = config.report.tensorboard and stage == "search"
        board = self.terminal.trials(stage, num_trials, max_epochs, self.clock, shown, labels)
        with board as show:

            def on_change(ledger: Any, event: str, number: int) -> None:
                show(ledger, event, number)
                with self._aside("the report's page"):
                    self._note(stage, **facts)
                if to_tensorboard:
                    with self._aside("TensorBoard's files"):
                        files.on_change(ledger, event, number)

            try:
                yield on_change
            finally:
                files.close()
                with self._aside("the report's page"):
                    self._note("")

    def write_tensorboard(self, ledger: Any) -> None:
        """Write the event files of trials that ended before this run, or before it was asked to."""
        with self._aside("TensorBoard's files"):
            TensorBoard(self.results.tensorboard).catch_up(ledger)

    def _note(self, stage: str, **facts: Any) -> None:
        warnings, is_sample = list(self.warnings), self.fetched.is_sample
        self.live.note({"stage": stage, "warnings": warnings, "is_sample": is_sample, **facts})

    @contextmanager
    def _aside(self, what: str) -> Iterator[None]:
        """Write something to look at: the study does not depend on it."""
        try:
            yield
        except OSError as error:
            self.warn(f"{what} could not be written: {error.strerror or error}; the study goes on")
