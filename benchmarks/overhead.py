"""Measure what the search itself takes: per trial, at the start, and of the time of trainings.

python -m benchmarks.overhead [--trials 200] [--data DIR] [--only noop] [--json FILE]

noop     Trials that do nothing, by our search stage and by plain Ray Tune (OptunaSearch and ASHA as
         Ray's documentation shows them), each in a fresh process with Ray already up.
start    Seconds from the command line to the first trial: of the first study ever on a machine,
         which measures each backbone's arithmetic, and of a later one.
useful   Training steps as a share of the search stage, over all cores.

Nothing of it is a training's own speed: see benchmarks.training.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.engine import Outcome, run_noop_study
from benchmarks.measure import describe_machine, verdict
from benchmarks.photos import draw_photos
from benchmarks.plain_ray import run_plain_study, seconds_per_trial
from benchmarks.processes import in_process
from benchmarks.useful import Start, Useful, measure_start, measure_useful
from search.records import write_json

PARTS = ("noop", "start", "useful")
MOST_OF_PLAIN = 1 / 8
MOST_WALL_SECONDS, MOST_DRIVER_SECONDS = 0.35, 0.050  # per trial
MOST_START_SECONDS = 15.0
LEAST_USEFUL = 0.85
WARM_TRIALS = 10
"""Left out at the beginning: the workers' first trials."""
_NUM_PHOTOS = 900


@dataclass(frozen=True)
class PerTrial:
    """What a trial that does nothing takes.

    Attributes:
        driver_seconds: CPU of the driver.
        cpu_seconds: Of all processes.
    """

    num_trials: int
    wall_seconds: float
    driver_seconds: float
    cpu_seconds: float


def per_trial(outcome: Outcome, skip: int = 0) -> PerTrial:
    """Return the costs of a trial, the first ones left out where each was watched."""
    wall, driver = seconds_per_trial(outcome.ticks[skip:])
    number = outcome.ticks[-1].num_trials
    return PerTrial(number, wall, driver, outcome.cpu_seconds / number)


def compare_noop(trials: int, plain_trials: int) -> tuple[PerTrial, PerTrial]:
    """Run our search and the plain one."""
    with tempfile.TemporaryDirectory(prefix="overhead ") as folder:
        ours = in_process(run_noop_study, Path(folder), trials, float("inf"))
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        plain = in_process(run_plain_study, Path(folder), plain_trials)
    return per_trial(ours, min(WARM_TRIALS, trials // 4)), per_trial(plain)


def noop_table(ours: PerTrial, plain: PerTrial) -> Table:
    """Draw the costs of a trial, beside the aims."""
    ratio = ours.wall_seconds / plain.wall_seconds
    table = Table(title="Seconds per trial that does nothing", show_lines=True)
    table.add_column("")
    for heading in ("ours", "plain Ray Tune", "plain / ours"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"wall\naim ≤ {MOST_WALL_SECONDS} {verdict(ours.wall_seconds <= MOST_WALL_SECONDS)}",
        f"{ours.wall_seconds:.3f}",
        f"{plain.wall_seconds:.3f}",
        f"{1 / ratio:.1f}×\naim ≥ {1 / MOST_OF_PLAIN:g}× {verdict(ratio <= MOST_OF_PLAIN)}",
    )
    is_light = ours.driver_seconds <= MOST_DRIVER_SECONDS
    rows = (
        (f"CPU of the driver\naim ≤ {MOST_DRIVER_SECONDS} {verdict(is_light)}", "driver_seconds"),
        ("CPU of all processes", "cpu_seconds"),
    )
    for name, field in rows:
        mine, theirs = getattr(ours, field), getattr(plain, field)
        table.add_row(name, f"{mine:.3f}", f"{theirs:.3f}", f"{theirs / mine:.1f}×")
    return table


def measure_starts(space: Path) -> tuple[Start, Start]:
    """Start a study with nothing known of the machine, and again."""
    with tempfile.TemporaryDirectory(prefix="start ") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        first, later = (measure_start(Path(folder) / name, space) for name in ("first", "later"))
    return first, later


def useful_fraction(data: Path | None, trials: int, epochs: int) -> Useful:
    """Search over small_cnn trainings of real or drawn photos."""
    with tempfile.TemporaryDirectory(prefix="useful ") as folder:
        photos = data or Path(folder) / "photos"
        if data is None:
            draw_photos(photos, _NUM_PHOTOS, 160, 120)
        found: Useful = in_process(measure_useful, Path(folder), photos, trials, epochs)
    return found


def main(
    trials: Annotated[int, typer.Option(min=8, help="That do nothing.")] = 200,
    plain_trials: Annotated[
        int | None, typer.Option(min=2, help="Of plain Ray Tune; as many by default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Photos to train on; drawn ones by default.")
    ] = None,
    trainings: Annotated[int, typer.Option(min=2, help="Trials of small_cnn.")] = 24,
    epochs: Annotated[int, typer.Option(min=1, help="Of a full one.")] = 9,
    space: Annotated[Path, typer.Option(help="Space file to start.")] = Path("spaces/digits.yaml"),
    only: Annotated[list[str] | None, typer.Option(help="noop, start or useful.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep every figure.")] = None,
) -> None:
    """Print the figures, and write them down if asked to."""
    parts: Sequence[str] = only or PARTS
    if unknown := set(parts) - set(PARTS):
        raise typer.BadParameter(f"--only: must be one of {', '.join(PARTS)}, got {unknown.pop()}")
    console, figures = Console(), dict[str, Any]()
    if "start" in parts:
        starts = measure_starts(space)
        figures["start"] = dict(zip(("first", "later"), map(asdict, starts), strict=True))
        for name, start in zip(("first study ever", "later"), starts, strict=True):
            met = verdict(start.wall_seconds <= MOST_START_SECONDS)
            console.print(
                f"first trial after {start.wall_seconds:.1f} s, aim ≤ {MOST_START_SECONDS:g} {met}"
                f" ({name}; {start.cpu_seconds:.1f} s of CPU)"
            )
    if "noop" in parts:
        ours, plain = compare_noop(trials, plain_trials or trials)
        figures["noop"] = {"ours": asdict(ours), "plain": asdict(plain)}
        console.print(noop_table(ours, plain))
    if "useful" in parts:
        useful = useful_fraction(data, trainings, epochs)
        figures["useful"] = asdict(useful) | {"fraction": useful.fraction}
        console.print(
            f"training steps: {useful.fraction:.1%} of {useful.num_cores} cores × "
            f"{useful.wall_seconds:.0f} s for {useful.num_trials} trials, aim ≥ {LEAST_USEFUL:.0%} "
            f"{verdict(useful.fraction >= LEAST_USEFUL)}"
        )
    figures["machine"] = describe_machine()
    if json_file is not None:
        write_json(json_file, figures)
    console.print_json(json.dumps(figures, default=str))


if __name__ == "__main__":
    typer.run(main)
