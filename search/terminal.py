"""What a person sees while a study runs: one line an event, and a live table on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from search.clock import Clock

_STYLE = {"complete": "green", "pruned": "yellow", "failed": "red", "interrupted": "magenta"}


class LedgerLike(Protocol):
    """What the table needs of the ledger."""

    trials: dict[int, Any]
    metric: str
    direction: str

    def best(self, trial: Any) -> tuple[int, float] | None: ...


class Terminal:
    """Lines for events, a table for what is running.

    Args:
        verbosity: -1 errors and warnings only, 0 one line an event, 1 every epoch too.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        # Names and paths are printed as they are: `:dog:` is no emoji.
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def line(self, stage: str, text: str) -> None:
        """Print one event of a stage."""
        if self.verbosity >= 0:
            self.console.print(f"[bold cyan]{stage:<9}[/] {escape(text)}")

    def warn(self, text: str) -> None:
        self.errors.print(f"[bold yellow]warning[/]   {escape(text)}")

    def error(self, text: str) -> None:
        self.errors.print(f"[bold red]error[/]: {escape(text)}")

    @contextmanager
    def progress(self, stage: str) -> Iterator[Callable[[int, int], None] | None]:
        """Show a bar on a terminal, nothing elsewhere."""
        if not self.console.is_terminal or self.verbosity < 0:
            yield None
            return
        columns = (
            TextColumn(f"{stage:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(stage, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def trials(
        self, stage: str, num_trials: int, max_epochs: int, clock: Clock, shown: Sequence[str]
    ) -> Iterator[OnTrial]:
        """Show trials while they run; yields the callback that is told of every change.

        Args:
            shown: Params worth showing; those that all trials share tell nothing apart.
        """
        board = _Board(self, stage, num_trials, max_epochs, clock, shown)
        if self.console.is_terminal and self.verbosity >= 0:
            with Live(board, console=self.console, refresh_per_second=2, transient=True):
                yield board.on_change
        else:
            yield board.on_change


OnTrial = Callable[[Any, str, int], None]


class _Board:
    """The live table; also prints a line for every trial that ends."""

    def __init__(
        self,
        terminal: Terminal,
        stage: str,
        num_trials: int,
        max_epochs: int,
        clock: Clock,
        shown: Sequence[str],
    ) -> None:
        self._shown = shown
        self._terminal = terminal
        self._stage = stage
        self._num_trials = num_trials
        self._max_epochs = max_epochs
        self._clock = clock
        self._ledger: LedgerLike | None = None

    def on_change(self, ledger: LedgerLike, event: str, number: int) -> None:
        self._ledger = ledger
        if event == "end":
            self._terminal.line(self._stage, self._ended(ledger, ledger.trials[number]))
        elif event == "epoch" and self._terminal.verbosity > 0:
            self._terminal.line(self._stage, _epoch_line(ledger, ledger.trials[number]))

    def __rich__(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("trial", "epoch", "now", "best", "seconds", "params"):
            table.add_column(name, style="dim" if name == "params" else "", no_wrap=True)
        if self._ledger is not None:
            running = [t for t in list(self._ledger.trials.values()) if t.state is None]
            for trial in running:
                table.add_row(*self._cells(self._ledger, trial))
        return Group(Text(""), table, Text(self._status(), style="bold"))

    def _cells(self, ledger: LedgerLike, trial: Any) -> list[str]:
        best = ledger.best(trial)
        epoch = max(trial.epochs, default=0)
        now = trial.epochs[epoch].get(ledger.metric) if epoch else None
        return [
            str(trial.number),
            f"{epoch}/{self._max_epochs}",
            _number(now),
            _number(best[1] if best else None),
            f"{time.time() - trial.last_start:.0f}",
            escape(self._params(trial)),
        ]

    def _status(self) -> str:
        parts = []
        if self._ledger is not None:
            states = Counter(str(t.state) for t in list(self._ledger.trials.values()) if t.state)
            done = sum(n for state, n in states.items() if state != "interrupted")
            parts.append(f"{done}/{self._num_trials} done")
            parts += [f"{states[s]} {s}" for s in ("pruned", "failed") if states[s]]
            leader = self.incumbent(self._ledger)
            if leader:
                parts.append(f"best {self._ledger.metric} {leader[1]:.4f} (trial {leader[0]})")
        if self._clock.time_limit is not None:
            parts.append(f"{_clock_text(self._clock.seconds_left)} left")
        return " · ".join(parts)

    def _params(self, trial: Any) -> str:
        return describe_params({k: v for k, v in trial.params.items() if k in self._shown})

    @staticmethod
    def incumbent(ledger: LedgerLike) -> tuple[int, float] | None:
        """Return (number, value) of the best trial, complete ones first."""
        sign = 1 if ledger.direction == "maximize" else -1
        seen = [
            (t, ledger.best(t)) for t in list(ledger.trials.values()) if str(t.state) != "failed"
        ]
        rows = [(str(t.state) == "complete", sign * b[1], t.number, b[1]) for t, b in seen if b]
        if not rows:
            return None
        _, _, number, value = max(rows, key=lambda row: (row[0], row[1], -row[2]))
        return number, value

    def _ended(self, ledger: LedgerLike, trial: Any) -> str:
        best = ledger.best(trial)
        epochs = f"epoch {max(trial.epochs, default=0)}/{self._max_epochs}"
        score = f"{ledger.metric} {best[1]:.4f}" if best else ""
        what = "trial" if self._stage == "search" else "run"
        parts = [f"{what} {trial.number:<3} {trial.state!s:<11}", epochs, score]
        parts += [f"{trial.seconds:.0f} s", self._params(trial), trial.error]
        return "  ".join(part for part in parts if part)


def _epoch_line(ledger: LedgerLike, trial: Any) -> str:
    epoch = max(trial.epochs)
    row = trial.epochs[epoch]
    return (
        f"trial {trial.number:<3} epoch {epoch}  train_loss {_number(row['train_loss'])}  "
        f"{ledger.metric} {_number(row.get(ledger.metric))}  {row['seconds']:.1f} s"
    )


def describe_params(params: Mapping[str, Any], limit: int = 7) -> str:
    """Return params as one short line, numbers to three digits."""
    shown = [f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items()]
    return " ".join(shown[:limit]) + (" …" if len(shown) > limit else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
