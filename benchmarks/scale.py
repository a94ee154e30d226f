"""Measure whether the thousandth trial costs what the fiftieth did, and how soon a study goes on.

python -m benchmarks.scale [--trials 1000] [--minutes 5] [--plot FILE] [--json FILE]

Trials do nothing but report made-up learning curves; everything around them is real: Ray Tune, the
sampler, ASHA, the ledger, Optuna's journal, the live table. The search ends after --minutes, at
whatever trial that is; --trials 10000 wants more --minutes too. Then a study of --past trials,
written without Ray, is gone on with in a fresh process: the time until its next trial starts.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.engine import Outcome, Tick, noop_config, noop_images, run_noop_study
from benchmarks.made_up import MAX_EPOCHS, made_up_accuracy
from benchmarks.measure import describe_machine, verdict
from benchmarks.processes import in_process
from search.records import TrialState, write_json
from search.report.style import BLUE, GREY, ORANGE, new_figure, plot_style, save_figure
from search.results import ResultsFolder
from search.rungs import rung_epochs
from search.tune.ledger import Ledger

MOST_SLOWER = 1.5
MOST_MB_PER_1000 = 100.0
MOST_RESUME_SECONDS = 20.0
EARLY = 50
_WINDOW = 40  # trials
_NUM_RESUMED = 12


@dataclass(frozen=True)
class Growth:
    """How the driver's costs grow with the number of trials.

    Attributes:
        early_seconds, late_seconds: Wall per trial around the 50th and among the last; medians.
        early_cpu_seconds, late_cpu_seconds: CPU of the driver per trial, likewise on average.
        mb_per_1000: Growth of resident memory from the 50th trial on, per 1,000.
    """

    num_trials: int
    early_seconds: float
    late_seconds: float
    early_cpu_seconds: float
    late_cpu_seconds: float
    mb_per_1000: float

    @property
    def slower(self) -> float:
        return self.late_seconds / self.early_seconds


def growth_of(ticks: Sequence[Tick]) -> Growth:
    """Compare trials around the 50th with the last ones."""
    window = min(_WINDOW, len(ticks) // 4)
    middle = min(EARLY, len(ticks) // 4)
    early = ticks[max(0, middle - window // 2) : middle + window // 2 + 1]
    late = ticks[-window - 1 :]
    wall = [statistics.median(_gaps(part, "wall_seconds")) for part in (early, late)]
    cpu = [statistics.mean(_gaps(part, "cpu_seconds")) for part in (early, late)]
    memory = [statistics.median(t.rss_mb for t in part) for part in (early, late)]
    number = late[len(late) // 2].num_trials - early[len(early) // 2].num_trials
    mb_per_1000 = 1000 * (memory[1] - memory[0]) / number
    return Growth(ticks[-1].num_trials, wall[0], wall[1], cpu[0], cpu[1], mb_per_1000)


def _gaps(ticks: Sequence[Tick], name: str) -> list[float]:
    values = [getattr(tick, name) for tick in ticks]
    return [after - before for before, after in pairwise(values)]


def windows(ticks: Sequence[Tick], size: int) -> list[tuple[int, float, float, float]]:
    """Return trial number, median wall and mean CPU milliseconds per trial, and memory in MB."""
    rows = []
    for first in range(0, len(ticks) - size, size):
        part = ticks[first : first + size + 1]
        wall = statistics.median(_gaps(part, "wall_seconds"))
        cpu = statistics.mean(_gaps(part, "cpu_seconds"))
        rows.append((part[-1].num_trials, 1000 * wall, 1000 * cpu, part[-1].rss_mb))
    return rows


def draw_growth(ticks: Sequence[Tick], path: Path) -> None:
    """Draw the costs of a trial against its number, as a PNG."""
    rows = windows(ticks, max(4, len(ticks) // 40))
    numbers = [row[0] for row in rows]
    panels = (
        ("wall per trial, ms", [row[1] for row in rows], BLUE),
        ("CPU per trial, ms", [row[2] for row in rows], ORANGE),
        ("memory, MB", [row[3] for row in rows], GREY),
    )
    with plot_style():
        figure = new_figure(2.6)
        for axes, (title, values, colour) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.plot(numbers, values, color=colour)
            axes.set_title(title)
            axes.set_xlabel("trials so far")
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1.25 * max(values))
        save_figure(figure, path)


def write_past(folder: Path, num_trials: int) -> None:
    """Write the ledger of a study with so many ended trials, as ASHA would have left them."""
    config = noop_config(folder, num_trials)
    rungs = rung_epochs(1, MAX_EPOCHS, 3)
    rng = random.Random(0)
    events = ResultsFolder(folder).events
    ledger = Ledger(events, config.objective.metric, config.objective.direction)
    for number in range(num_trials):
        params = config.search_space.suggest(_Draw(rng))
        ledger.start(number, params, number)
        last = rng.choice((*rungs, *rungs, MAX_EPOCHS)) if number else MAX_EPOCHS
        for epoch in range(1, last + 1):
            value = made_up_accuracy(params, number, epoch)
            ledger.epoch(number, {"epoch": epoch, "val_accuracy": value, "val_loss": 1 - value})
        state = TrialState.COMPLETE if last == MAX_EPOCHS else TrialState.PRUNED
        ledger.end(number, state)


class _Draw:
    """Draws parameters as an Optuna trial hands them out."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        if options.get("log"):
            return float(low * (high / low) ** self._rng.random())
        return self._rng.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        return self._rng.randint(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._rng.choice(choices)


def resume_seconds(num_past: int) -> float:
    """Return how long a study of so many trials takes to start the next one."""
    with tempfile.TemporaryDirectory(prefix="resume ") as folder:
        noop_images(Path(folder))
        write_past(Path(folder), num_past)
        outcome: Outcome = in_process(
            run_noop_study, Path(folder), num_past + _NUM_RESUMED, float("inf")
        )
    assert len(outcome.ticks) == _NUM_RESUMED
    return outcome.ready_seconds + outcome.first_start_seconds


def main(
    trials: Annotated[int, typer.Option(min=8, help="That do nothing.")] = 1000,
    minutes: Annotated[float, typer.Option(min=0.1, help="Then the search ends.")] = 5.0,
    past: Annotated[int, typer.Option(min=1, help="Trials of the study that goes on.")] = 1000,
    plot: Annotated[Path | None, typer.Option(help="Draw the growth as a PNG.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep every figure.")] = None,
) -> None:
    """Print the figures, and write them down if asked to."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="scale ") as folder:
        outcome: Outcome = in_process(run_noop_study, Path(folder), trials, 60 * minutes)
    growth = growth_of(outcome.ticks)
    memory_met = verdict(growth.mb_per_1000 <= MOST_MB_PER_1000)
    console.print(
        f"{growth.num_trials:,} trials of {trials:,}\n"
        f"wall per trial: {growth.early_seconds:.3f} s around the {EARLY}th, "
        f"{growth.late_seconds:.3f} s among the last: {growth.slower:.2f}×, "
        f"aim ≤ {MOST_SLOWER}× {verdict(growth.slower <= MOST_SLOWER)}\n"
        f"CPU of the driver per trial: {1000 * growth.early_cpu_seconds:.0f} ms, "
        f"{1000 * growth.late_cpu_seconds:.0f} ms\n"
        f"memory: {growth.mb_per_1000:.0f} MB per 1,000 trials, "
        f"aim ≤ {MOST_MB_PER_1000:g} {memory_met}"
    )
    seconds = resume_seconds(past)
    console.print(
        f"a study of {past:,} trials goes on after {seconds:.1f} s, "
        f"aim ≤ {MOST_RESUME_SECONDS:g} {verdict(seconds <= MOST_RESUME_SECONDS)}"
    )
    if plot is not None:
        draw_growth(outcome.ticks, plot)
    figures = {
        "growth": asdict(growth),
        "resume": {"past": past, "seconds": seconds},
        "windows": windows(outcome.ticks, max(4, len(outcome.ticks) // 40)),
        "machine": describe_machine(),
    }
    if json_file is not None:
        write_json(json_file, figures)
    console.print_json(json.dumps(figures, default=str))


if __name__ == "__main__":
    typer.run(main)
