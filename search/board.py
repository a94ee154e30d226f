"""The live table of the trainings of one stage, and the lines they leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.clock import STOPPING, Clock
from search.goals import number_text
from search.progress import LedgerLike, Progress, duration, incumbent, progress_of, rough

_STYLE = {"complete": "green", "failed": "red", "interrupted": "magenta", "infeasible": "yellow"}
_RARE = ("pruned", "failed", "infeasible")  # counted where there are any
_PLAIN = ("trainable", "backbone", "optimizer")  # whose values say what they are
_MAX_ROWS = 12  # of running trials: a table taller than the terminal would flicker


class Board:
    """What a stage's ledger says, for a terminal.

    Args:
        num_trials: That the stage trains in all.
        max_epochs: Of a full training.
        shown: Params worth showing; those that all trials share tell nothing apart.
        labels: What the trainings are called by their number; trials of the search have none.
    """

    def __init__(
        self,
        stage: str,
        num_trials: int,
        max_epochs: int,
        clock: Clock,
        shown: Sequence[str],
        labels: Sequence[str] = (),
    ) -> None:
        self.ledger: LedgerLike | None = None
        self._is_search = stage == "search"
        self._num_trials = num_trials
        self._max_epochs = max_epochs
        self._clock = clock
        self._shown = shown
        self._labels = labels
        names = [self._name(number) for number in range(max(1, num_trials))]
        self._name_width = max(len(name) for name in names)

    def ended(self, number: int, *, counted: bool) -> Text:
        """Return the line of a trial that ended.

        Args:
            counted: Say how many are done, where no bar does.
        """
        ledger = self._ledger()
        trial, state = ledger.trials[number], str(ledger.trials[number].state)
        best = ledger.best(trial)
        leader = incumbent(ledger) if state == "complete" and self._is_search else None
        is_leader = leader is not None and leader[0] == number
        count = f"[{self._progress(ledger).num_done}/{self._num_trials}] " if counted else ""
        line = Text.assemble(
            count,
            f"{self._name(number):<{self._name_width}}  ",
            (f"{state:<8}  ", _STYLE.get(state, "")),
            f"{self._epochs(trial):>{2 * len(str(self._max_epochs)) + 1}}  ",
            "" if self._is_search else f"{ledger.metric} ",
            (f"{_number(best[1] if best else None):>6}", "bold green" if is_leader else ""),
            " best " if is_leader else "      ",
            f"{duration(trial.seconds):>5}  ",
            self._others(trial),
            (trial.error or self._params(trial), "" if trial.error else "dim"),
        )
        line.rstrip()
        return line

    def _others(self, trial: Any) -> str:
        """Return what a trial that has a value reached in the other objectives."""
        ledger = self._ledger()
        if not (self._is_search and ledger.goals.are_several and ledger.best(trial)):
            return ""
        figures = ledger.figures(trial)
        others = [objective.metric for objective in ledger.goals.objectives[1:]]
        shown = [f"{m} {number_text(figures[m])}" for m in others if m in figures]
        return "".join(f"{text}  " for text in shown)

    def retry(self, number: int) -> Text:
        """Return the line of a trial that the machine ended, and that goes on elsewhere."""
        name = f"{self._name(number):<{self._name_width}}"
        return Text(
            f"{name}  goes on: {self._ledger().trials[number].error}", _STYLE["interrupted"]
        )

    def epoch(self, number: int) -> Text:
        """Return the line of a trial's last epoch."""
        ledger = self._ledger()
        trial = ledger.trials[number]
        row = trial.epochs[max(trial.epochs)]
        losses = f"train_loss {_number(row['train_loss'])}"
        if row.get(ledger.metric) is not None and ledger.metric != "train_loss":
            losses += f"  {ledger.metric} {_number(row[ledger.metric])}"
        name = f"{self._name(number):<{self._name_width}}"
        return Text(f"{name}  epoch {self._epochs(trial)}  {losses}  {row['seconds']:.1f} s")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("")
        if self._clock.stop_requested:
            yield Text(STOPPING, style="bold yellow")
        if self.ledger is None:
            yield Text("waiting for the first training to start", style="dim")
            return
        progress = self._progress(self.ledger)
        yield self._bar(progress, options.max_width)
        if progress.running:
            yield from self._rows(self.ledger, progress, options.max_width)

    def _bar(self, progress: Progress, width: int) -> Table:
        """Return the bar, then what matters most first: a narrow terminal cuts the end."""
        parts = [f"{progress.num_done}/{progress.num_trials}", self._time_left(progress)]
        if progress.best and self._is_search:
            parts.append(f"best {progress.best[1]:.4f} (trial {progress.best[0]})")
        parts += [f"{progress.states[state]} {state}" for state in _RARE if progress.states[state]]
        text = Text(" · ".join(p for p in parts if p), no_wrap=True, overflow="ellipsis")
        room = max(8, min(30, width - len(text) - 2))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_row(ProgressBar(max(1, progress.num_trials), progress.num_done, width=room), text)
        return table

    def _rows(self, ledger: LedgerLike, progress: Progress, width: int) -> RenderResult:
        metric, name_width = ledger.metric, max(self._name_width, len("trial"))
        column = max(len(metric), 6)
        heads = f"{'':<{name_width}}  {'epoch':>7}  {metric:>{column}}  {'best':>6}  {'time':>6}"
        yield Text(heads[:width], style="dim")
        shown = progress.running[:_MAX_ROWS]
        for trial in shown:
            epoch, best = max(trial.epochs, default=0), ledger.best(trial)
            now = trial.epochs[epoch].get(metric) if epoch else None
            row = Text.assemble(
                f"{self._name(trial.number):<{name_width}}  {self._epochs(trial):>7}  ",
                f"{_number(now):>{column}}  {_number(best[1] if best else None):>6}  ",
                f"{duration(trial.seconds + ledger.now() - trial.last_start):>6}  ",
                (self._params(trial), "dim"),
            )
            row.truncate(width, overflow="ellipsis")
            yield row
        if len(progress.running) > len(shown):
            yield Text(f"and {len(progress.running) - len(shown)} more", style="dim")

    def _time_left(self, progress: Progress) -> str:
        limit, forecast = self._clock.seconds_left, progress.seconds_left
        if forecast is not None and forecast < limit:
            return f"{rough(forecast)} left"
        if limit == float("inf"):
            return ""
        return f"time limit in {duration(limit)}" if limit > 0 else "past the time limit"

    def _progress(self, ledger: LedgerLike) -> Progress:
        return progress_of(ledger, self._num_trials, self._max_epochs, pruning=self._is_search)

    def _ledger(self) -> LedgerLike:
        assert self.ledger is not None
        return self.ledger

    def _name(self, number: int) -> str:
        return self._labels[number] if number < len(self._labels) else f"trial {number}"

    def _epochs(self, trial: Any) -> str:
        return f"{max(trial.epochs, default=0)}/{self._max_epochs}"

    def _params(self, trial: Any) -> str:
        """Return what sets a trial apart from the default recipe, trial 0."""
        if not self._is_search:
            return ""
        if trial.number == 0:
            return "default recipe"
        first = self._ledger().trials.get(0)
        default = first.params if first else {}
        return " ".join(
            _value(value) if name in _PLAIN else f"{name}={_value(value)}"
            for name, value in trial.params.items()
            if name in self._shown and value != default.get(name)
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
