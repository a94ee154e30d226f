"""Measure what the report of a large and of a small study takes.

python -m benchmarks.report [--trials 5000] [--small 100] [--classes 40] [--images 6000]

The studies are made up (tests/fake_study.py), their photos drawn. What is measured is the command
`python -m search.report`, start of Python and data report included. The report of a study of five
trials comes first, so that Python has compiled every module once.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.measure import describe_machine, verdict
from benchmarks.photos import draw_photos
from search.records import read_csv, write_json
from search.results import ResultsFolder
from tests.fake_study import write_fake_study

MOST_SECONDS, MOST_SECONDS_SMALL, MOST_MB, MOST_PAGE_MB = 60.0, 15.0, 2000.0, 15.0
_NUM_DRAWN = 48  # photos; every image of the study is a link to one of them


@dataclass(frozen=True)
class ReportCost:
    """What one report took: the CPU of both processes that draw, and the memory of the larger."""

    num_trials: int
    num_classes: int
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    page_mb: float


def write_study(
    root: Path, num_trials: int, num_classes: int, num_images: int, photos: Path
) -> ResultsFolder:
    """Write a results folder whose images are there to be shown."""
    folder = write_fake_study(
        root / "study", num_trials=num_trials, num_classes=num_classes, num_images=num_images
    )
    drawn = sorted(photos.rglob("*.jpg"))
    for k, row in enumerate(read_csv(folder.data / "index.csv")):
        link = root / "photos" / row["path"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(drawn[k % len(drawn)])
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    summary["dataset"]["roots"] = [str(root / "photos")]
    write_json(folder.summary, summary)
    return folder


def report_cost(
    folder: ResultsFolder, num_trials: int, num_classes: int, compiled: Path
) -> ReportCost:
    """Run the command in a process of its own.

    Args:
        compiled: Where Python keeps compiled modules.

    Raises:
        RuntimeError: It failed.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    command = [sys.executable, "-m", "search.report", str(folder.root)]
    with Path(os.devnull).open("w") as nowhere:
        files = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        process = os.posix_spawn(sys.executable, command, environment, file_actions=files)
        _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    page_mb = (folder.report / "index.html").stat().st_size / 1e6
    wall_seconds = time.perf_counter() - begin
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return ReportCost(
        num_trials, num_classes, cpu_seconds, wall_seconds, usage.ru_maxrss / unit, page_mb
    )


def main(
    trials: Annotated[int, typer.Option(min=5, help="Of the large study.")] = 5000,
    small: Annotated[int, typer.Option(min=5, help="Trials of the small study.")] = 100,
    classes: Annotated[int, typer.Option(min=2)] = 40,
    images: Annotated[int, typer.Option(min=1)] = 6000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep every figure.")] = None,
) -> None:
    """Print the figures, and write them down if asked to."""
    console, costs = Console(), []
    with tempfile.TemporaryDirectory(prefix="report ") as name:
        photos = Path(name) / "drawn"
        draw_photos(photos, _NUM_DRAWN, 500, 375)
        compiled = Path(name) / "compiled"
        report_cost(write_study(Path(name) / "first", 5, 2, 50, photos), 5, 2, compiled)
        for number, aim in ((small, MOST_SECONDS_SMALL), (trials, MOST_SECONDS)):
            folder = write_study(Path(name) / str(number), number, classes, images, photos)
            cost = report_cost(folder, number, classes, compiled)
            costs.append(cost)
            console.print(
                f"{number:,} trials, {classes} classes: {cost.wall_seconds:.1f} s, aim ≤ "
                f"{aim:g} {verdict(cost.wall_seconds <= aim)} ({cost.cpu_seconds:.1f} CPU seconds "
                f"of two processes); {cost.peak_mb:.0f} MB each, aim ≤ {MOST_MB:g} "
                f"{verdict(cost.peak_mb <= MOST_MB)}; page {cost.page_mb:.1f} MB, aim ≤ "
                f"{MOST_PAGE_MB:g} {verdict(cost.page_mb <= MOST_PAGE_MB)}"
            )
    figures = {"costs": [asdict(cost) for cost in costs], "machine": describe_machine()}
    if json_file is not None:
        write_json(json_file, figures)


if __name__ == "__main__":
    typer.run(main)
