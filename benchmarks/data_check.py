"""Measure index, check and the search for duplicates on many small images.

python -m benchmarks.data_check [--images 100000] [--workers 2] [--one-background] [--json FILE]

Draws JPEGs of 64 to 100 px in a temporary folder. One in a hundred is a copy of the image before
it, mirrored, cropped and compressed anew; the last line tells how many of these were found, and how
many others. Memory is the process's peak up to the end of each stage. With --one-background every
image is the same place with another thing in it, as from a camera that stands still: the hardest
case, since any two resemble each other. 4,000 of these are meant.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import describe_machine, verdict
from search.data.check import check_images
from search.data.decode import Pixels
from search.data.index import build_index
from search.records import CheckedDataset, DatasetIndex, write_json

MOST_SECONDS, MOST_MB = 360, 2000  # for 100,000 images on 2 cores
MOST_SECONDS_ONE_BACKGROUND = 60  # for 4,000
COPY_EVERY = 100
_NUM_CLASSES = 10
_OCTAVES = ((3, 60.0), (6, 40.0), (12, 25.0), (24, 14.0))  # cells across, grey levels


@dataclass(frozen=True)
class Stage:
    """One stage: seconds by the clock and of CPU, and the peak of memory up to its end."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


class Stopwatch:
    """Measures one stage after the other."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """End a stage; the next begins."""
        wall, cpu = time.perf_counter(), time.process_time()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        self.stages.append(Stage(name, wall - self._wall, cpu - self._cpu, peak_mb))
        self._wall, self._cpu = wall, cpu


def main(
    images: Annotated[int, typer.Option(min=100, help="How many to draw.")] = 100_000,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = 2,
    one_background: Annotated[
        bool, typer.Option("--one-background", help="Draw one place, another thing in each image.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file too.")
    ] = None,
) -> None:
    """Draw the images, check them, and print what each stage took."""
    console = Console()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        console.print(f"drawing {images:,} images in {root}")
        draw_images(root, images, one_background)
        watch = Stopwatch()
        index = build_index([root])
        watch.lap("index")
        checked = run_check(index, workers, watch)
    copies = images // COPY_EVERY
    found, others = count_pairs(checked)
    figures = {
        "images": images,
        "workers": workers,
        "one_background": one_background,
        "stages": [asdict(stage) for stage in watch.stages],
        "planted_copies": copies,
        "found_copies": found,
        "other_pairs": others,
        "machine": describe_machine(),
    }
    console.print(stage_table(watch.stages, images, one_background))
    console.print(f"{found:,} of {copies:,} planted copies found, and {others:,} other images")
    if json_file is not None:
        write_json(json_file, figures)
    console.print_json(json.dumps(figures, default=str))


def run_check(index: DatasetIndex, workers: int, watch: Stopwatch) -> CheckedDataset:
    """Check the images; the lap ends where the last has been opened, and the search begins."""

    def on_progress(done: int, total: int) -> None:
        if done == total and len(watch.stages) == 1:
            watch.lap("open every image")

    checked = check_images(index, max_dropped=0.0, num_workers=workers, on_progress=on_progress)
    watch.lap("duplicates")
    return checked


def draw_images(root: Path, number: int, one_background: bool = False) -> None:
    """Draw images with detail at every scale, no two alike but for the planted copies."""
    draw = partial(draw_thing, _background()) if one_background else draw_image
    before = np.empty(0, np.uint8)
    for k in range(_NUM_CLASSES):
        (root / f"class {k}").mkdir()
    for k in range(number):
        rng = np.random.default_rng(k)
        is_copy = k % COPY_EVERY == COPY_EVERY - 1
        image = disguise(before, rng) if is_copy else draw(rng)
        quality = int(rng.integers(50, 95))
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        # In tens, so that a copy is in the class of its original.
        name = f"class {k // 10 % _NUM_CLASSES}/{k:07d}.jpg"
        (root / name).write_bytes(coded.tobytes())
        before = image


def draw_image(rng: np.random.Generator) -> Pixels:
    """Draw noise of many scales, 64 to 100 px a side."""
    width, height = (int(side) for side in rng.integers(64, 101, 2))
    total = np.full((height, width, 3), 128, np.float32)
    for cells, strength in _OCTAVES:
        noise = rng.standard_normal((cells, cells, 3), np.float32) * np.float32(strength)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


def draw_thing(background: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw a thing of its own somewhere on a background, a sixth to a third of its width."""
    image, thing = background.copy(), draw_image(rng)
    height, width = image.shape[:2]
    side = int(rng.integers(width // 6, width // 3))
    top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
    image[top : top + side, left : left + side] = cv2.resize(thing, (side, side))
    return image


def _background() -> Pixels:
    image = draw_image(np.random.default_rng(2**32))
    return np.asarray(cv2.resize(image, (100, 80), interpolation=cv2.INTER_AREA), np.uint8)


def disguise(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror an image and cut 5 % off each side's length, anywhere."""
    height, width = (round(0.95 * side) for side in image.shape[:2])
    top = int(rng.integers(image.shape[0] - height + 1))
    left = int(rng.integers(image.shape[1] - width + 1))
    return np.ascontiguousarray(image[top : top + height, left : left + width][:, ::-1])


def count_pairs(checked: CheckedDataset) -> tuple[int, int]:
    """Return how many planted copies share a group with their original, and how many others do."""
    groups: dict[int, list[int]] = {}
    for row in checked.index.rows:
        groups.setdefault(row.group, []).append(int(Path(row.path).stem))
    found = others = 0
    for members in groups.values():
        copies = [k for k in members if k % COPY_EVERY == COPY_EVERY - 1 and k - 1 in members]
        found += len(copies)
        others += len(members) - 1 - len(copies)
    return found, others


def stage_table(stages: list[Stage], images: int, one_background: bool = False) -> Table:
    """Draw one row a stage, and their sum."""
    wall = sum(stage.wall_seconds for stage in stages)
    cpu = sum(stage.cpu_seconds for stage in stages)
    peak_mb = max(stage.peak_mb for stage in stages)
    table = Table(title=f"{images:,} images, {os.cpu_count()} cores")
    table.add_column("stage")
    for heading in ("wall s", "CPU s", "images / CPU s", "peak MB"):
        table.add_column(heading, justify="right")
    add = partial(_add_row, table, images)
    for stage in stages:
        add(stage.name, stage.wall_seconds, stage.cpu_seconds, f"{stage.peak_mb:,.0f}")
    aim = ""
    if one_background and images == 4000:
        aim = verdict(wall < MOST_SECONDS_ONE_BACKGROUND)
    elif not one_background and images >= 100_000:
        aim = verdict(wall < MOST_SECONDS and peak_mb < MOST_MB)
    add(f"all {aim}", wall, cpu, f"{peak_mb:,.0f}")
    return table


def _add_row(table: Table, images: int, name: str, wall: float, cpu: float, peak: str) -> None:
    table.add_row(name, f"{wall:,.1f}", f"{cpu:,.1f}", f"{images / max(cpu, 1e-9):,.0f}", peak)


if __name__ == "__main__":
    typer.run(main)
