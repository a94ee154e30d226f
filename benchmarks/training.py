"""Measure a training epoch against plain PyTorch, and against its bare steps.

python -m benchmarks.training [--size-px 128] [--batches 6] [--rounds 5] [--json FILE]

Plain PyTorch is the same network in float32 and contiguous memory, with AdamW and a loop of ten
lines, on the same batches of noise. Each side has a process of its own; they take turns, one thread
each, and the ratio is of CPU seconds.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, describe_machine, verdict
from benchmarks.photos import draw_photos
from benchmarks.steps import (
    BATCH_SIZE,
    Job,
    Round,
    bare_steps,
    choose_mode,
    our_round,
    plain_round,
    saving,
    second_epoch,
)
from search.data.cache import build_cache
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.records import write_json
from search.tune.worker import CHECKPOINT_SECONDS

AIMS = {
    "small_cnn": 1.9,
    "resnet18": 1.9,
    "mobilenetv3_small_100": 1.5,
    "efficientnet_b0": 1.25,
    "separable_cnn": None,
    "mobilenetv2_100": None,
    "vit_tiny_patch16_224": None,
}
MOST_OVERHEAD = 1.08
MOST_SAVING = 0.02
EPOCH_SECONDS = 10.0


@dataclass(frozen=True)
class Row:
    """One backbone by turns, ours and plain PyTorch."""

    job: Job
    ours: tuple[Round, ...]
    plain: tuple[Round, ...]
    aim: float | None

    @property
    def ratio(self) -> Figure:
        """Images per CPU-second, ours over plain."""
        pairs = zip(self.ours, self.plain, strict=True)
        return Figure.of([b.cost.cpu_seconds / a.cost.cpu_seconds for a, b in pairs])

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.ratio.median >= self.aim


def main(
    size_px: Annotated[int, typer.Option(min=32, help="Side of the images.")] = 128,
    batches: Annotated[int, typer.Option(min=1, help="Batches of 32 in an epoch.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Epochs of each side, by turns.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="Backbones; all without it.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
) -> None:
    """Measure a training epoch against plain PyTorch, and against its bare steps."""
    torch.set_num_threads(1)
    console = Console()
    aims = {name: AIMS.get(name) for name in only} if only else AIMS
    rows = []
    for name, aim in aims.items():
        console.print(f"[dim]{name}[/]")
        rows.append(_by_turns(Job(name, size_px, batches), rounds, aim))
    console.print(_speed_table(rows))
    overheads = {row.job.backbone: _overhead(row.job, rounds) for row in rows[:2]}
    savings = {row.job.backbone: saving_share(row.job) for row in rows}
    console.print(_loop_table(overheads, savings))
    if json is not None:
        write_json(json, _figures(rows, overheads, savings) | {"machine": describe_machine()})


def _by_turns(job: Job, rounds: int, aim: float | None) -> Row:
    spawn = get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as ours,
        ProcessPoolExecutor(1, mp_context=spawn) as plain,
    ):
        job = replace(job, mode=ours.submit(choose_mode, job).result())
        pairs = [
            (ours.submit(our_round, job).result(), plain.submit(plain_round, job).result())
            for _ in range(rounds)
        ]
    mine, others = zip(*pairs, strict=True)
    return Row(job, mine, others, aim)


def _overhead(job: Job, rounds: int) -> Figure:
    """Return an epoch's CPU time over that of its bare steps, from a store of photos."""
    with tempfile.TemporaryDirectory(prefix="training ") as folder:
        data = _store(Path(folder), job)
        pairs = [(second_epoch(job, data), bare_steps(job, data)) for _ in range(rounds)]
        return Figure.of([whole.cpu_seconds / bare.cpu_seconds for whole, bare in pairs])


def _store(folder: Path, job: Job) -> CachedData:
    """Store drawn photos: as many training images as the job has, a quarter more for val."""
    num_train = BATCH_SIZE * job.num_batches
    draw_photos(folder / "photos", num_train * 5 // 4, 256, 192)
    index = build_index([folder / "photos"])
    cache = build_cache(index, folder / "store", size_px=job.size_px, fit="crop", num_workers=1)
    order = np.random.default_rng(0).permutation(len(index.rows))
    return open_trial_data(cache, order[:num_train], order[num_train:])


def saving_share(job: Job) -> float:
    """Return the share of a 10 s epoch that goes to checkpoints and records."""
    checkpoint, record = saving(job)
    share_saved = EPOCH_SECONDS / max(EPOCH_SECONDS, CHECKPOINT_SECONDS)
    return (checkpoint.cpu_seconds * share_saved + record.cpu_seconds) / EPOCH_SECONDS


def _speed_table(rows: list[Row]) -> Table:
    table = Table(title="Training images per CPU-second, one thread, by turns", show_lines=True)
    table.add_column("backbone, arithmetic")
    for heading in ("ours", "plain", "ratio", "peak MB", "plain MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        aim = "" if row.aim is None else f"\naim ≥ {row.aim:g}× {verdict(bool(row.met))}"
        table.add_row(
            f"{row.job.backbone}\n[dim]{row.job.mode}[/]{aim}",
            *(f"{_rate(row.job, side):.0f}" for side in (row.ours, row.plain)),
            f"{row.ratio.median:.2f}× ({row.ratio.low:.2f}–{row.ratio.high:.2f})",
            *(f"{max(r.peak_mb for r in side):.0f}" for side in (row.ours, row.plain)),
        )
    return table


def _rate(job: Job, rounds: tuple[Round, ...]) -> float:
    seconds = Figure.of([r.cost.cpu_seconds for r in rounds]).median
    return BATCH_SIZE * job.num_batches / seconds


def _loop_table(overheads: dict[str, Figure], savings: dict[str, float]) -> Table:
    table = Table(title="What the loop adds to its bare steps, in CPU time", show_lines=True)
    for heading in ("backbone", "epoch / bare steps", "checkpoints and records of a 10 s epoch"):
        table.add_column(heading)
    for name, share in savings.items():
        figure = overheads.get(name)
        whole = ""
        if figure is not None:
            met = verdict(figure.median <= MOST_OVERHEAD)
            whole = f"{figure.median:.3f} ({figure.low:.3f}–{figure.high:.3f}) ≤ 1.08 {met}"
        table.add_row(name, whole, f"{share:.2%} ≤ 2 % {verdict(share <= MOST_SAVING)}")
    return table


def _figures(
    rows: list[Row], overheads: dict[str, Figure], savings: dict[str, float]
) -> dict[str, Any]:
    return {
        "speed": [asdict(row) | {"ratio": asdict(row.ratio), "met": row.met} for row in rows],
        "epoch_over_bare_steps": {name: asdict(figure) for name, figure in overheads.items()},
        "saving_share_of_10_s_epoch": savings,
    }


if __name__ == "__main__":
    typer.run(main)
