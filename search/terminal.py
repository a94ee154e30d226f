"""What a person sees while a study runs: one line an event, and on a terminal what is under way.

Lines that are printed stay; the bar, the table and the spinner below them are drawn over and leave
nothing behind. Where the output is a file or a pipe there are only the lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from search.board import Board
from search.clock import Clock

OnTrial = Callable[[Any, str, int], None]
"""Called with the ledger, the event ("start", "epoch", "end") and the trial's number."""

_INDENT = 10  # of a line's text, behind the name of the stage


class Terminal:
    """Lines for events, a table for what is running.

    Args:
        verbosity: -1 errors and warnings only, 0 one line an event, 1 every epoch too.
        clock: Says that it stops, but not into what is being drawn.
    """

    def __init__(self, verbosity: int = 0, clock: Clock | None = None) -> None:
        self.verbosity = verbosity
        self._clock = clock or Clock()
        # Names and paths are printed as they are: `:dog:` is no emoji.
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._is_drawing = False

    @property
    def is_live(self) -> bool:
        """Whether something may be drawn that changes."""
        console = self.console
        return console.is_terminal and not console.is_dumb_terminal and self.verbosity >= 0

    def line(self, stage: str, text: str | Text, *, cut: bool = False) -> None:
        """Print one event of a stage; on a terminal it wraps, or is cut to one line of it."""
        if self.verbosity >= 0:
            plain = Text(text) if isinstance(text, str) else text
            shown = _fit(plain, self.console, cut)
            self.console.print(Text.assemble((f"{stage:<{_INDENT}}", "bold cyan"), shown))

    def warn(self, text: str) -> None:
        console = self.errors
        if self._is_drawing and console.is_terminal:
            console = self.console  # which knows what it has to draw anew below
        shown = _fit(Text(text), console)
        console.print(Text.assemble((f"{'warning':<{_INDENT}}", "bold yellow"), shown))

    def error(self, text: str) -> None:
        shown = _fit(Text(text), self.errors, indent=len("error: "))
        self.errors.print(Text.assemble(("error", "bold red"), ": ", shown))

    @contextmanager
    def busy(self, stage: str, text: str) -> Iterator[None]:
        """Show what takes a while and has no steps to count."""
        if not self.is_live:
            yield
            return
        row = Table.grid()
        row.add_row(Text(f"{stage:<{_INDENT}}", "bold cyan"), Spinner("dots", Text(f"{text} …")))
        with self._drawing(Live(row, console=self.console, refresh_per_second=8, transient=True)):
            yield

    @contextmanager
    def progress(self, stage: str) -> Iterator[Callable[[int, int], None] | None]:
        """Show a bar on a terminal, nothing elsewhere."""
        if not self.is_live:
            yield None
            return
        columns = (
            TextColumn(f"[bold cyan]{stage:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=self.console, transient=True)
        with self._drawing(bar):
            task = bar.add_task(stage, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def trials(
        self,
        stage: str,
        num_trials: int,
        max_epochs: int,
        clock: Clock,
        shown: Sequence[str],
        labels: Sequence[str] = (),
    ) -> Iterator[OnTrial]:
        """Show trials while they run; yields the callback that is told of every change.

        Args:
            shown: Params worth showing; those that all trials share tell nothing apart.
            labels: What to call the trainings, where they are not trials of the search.
        """
        board = Board(stage, num_trials, max_epochs, clock, shown, labels)

        def on_change(ledger: Any, event: str, number: int) -> None:
            board.ledger = ledger
            if event == "end":
                line = board.ended(number, counted=not self.is_live)
                self.line(stage, line, cut=not ledger.trials[number].error)
            elif event == "retry":
                self.line(stage, board.retry(number), cut=True)
            elif event == "epoch" and self.verbosity > 0:
                self.line(stage, board.epoch(number), cut=True)

        if self.is_live:
            live = Live(board, console=self.console, refresh_per_second=2, transient=True)
            with self._drawing(live):
                yield on_change
        else:
            yield on_change

    @contextmanager
    def _drawing(self, live: Live | Progress) -> Iterator[None]:
        with live:
            self._is_drawing, self._clock.says_stopping = True, False
            try:
                yield
            finally:
                self._is_drawing, self._clock.says_stopping = False, True


def describe_params(params: Mapping[str, Any], limit: int = 7) -> str:
    """Return params as one short line, numbers to three digits."""
    shown = [f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items()]
    return " ".join(shown[:limit]) + (" …" if len(shown) > limit else "")


def _fit(text: Text, console: Console, cut: bool = False, indent: int = _INDENT) -> Text:
    """Wrap at words under the line's own start, or cut; a file gets the line as it is.

    A word longer than the terminal, such as a path, stays whole: it is there to be copied.
    """
    if not console.is_terminal:
        return text
    width = max(20, console.width - indent)
    if cut:
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        return text
    lines = [part for line in text.split("\n") for part in line.divide(_breaks(line.plain, width))]
    for line in lines:
        line.rstrip()
    return Text(f"\n{' ' * indent}").join(lines)


def _breaks(line: str, width: int) -> list[int]:
    """Return where a line of words has to be broken to stay within a width. Pure."""
    found, begin = list[int](), 0
    for word in re.finditer(r"\S+", line):
        if word.start() > begin and cell_len(line[begin : word.end()]) > width:
            begin = word.start()
            found.append(begin)
    return found
