"""Measure the way of images from disk to batch against torchvision and Pillow.

python -m benchmarks.data_path [--data DIR] [--images 2000] [--rounds 3] [--json FILE]

Without --data it draws photos in a temporary folder: 500 × 375 px, as many bytes per pixel as real
ones (benchmarks/photos.py). Everything runs on one thread, but for the training rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from PIL.Image import Resampling
from rich.console import Console

from benchmarks.measure import Comparison, compare, comparison_table, describe_machine
from benchmarks.photos import bits_per_pixel, draw_photos, link_photos
from benchmarks.torchvision_path import build_with_pillow, torchvision_loader
from benchmarks.waiting import Waiting, compare_waiting, waiting_table
from search.data.cache import build_cache, stored_side
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.errors import SearchError
from search.records import DatasetIndex, ImageCache, write_json
from search.terminal import Terminal
from trainables.contract import Augmentation

EPOCH_AIM, BUILD_AIM = 5.0, 2.5
BATCH_SIZE = 32
STRENGTH = 0.5  # the default of augment_strength
LARGE_PX, SMALL_PX = (500, 375), (256, 192)
TRAINING_PX = 128
BICUBIC, BILINEAR = Resampling.BICUBIC, Resampling.BILINEAR
PILLOW = (
    ("Pillow: open, convert, resize", BICUBIC, False),
    ("Pillow, bilinear", BILINEAR, False),
    ("Pillow, bilinear, draft mode", BILINEAR, True),
)


@dataclass(frozen=True)
class Bench:
    """One run: the photos, where it writes, how often it repeats, and whom it tells."""

    photos: tuple[Path, ...]
    work: Path
    rounds: int
    console: Console

    def note(self, text: str) -> None:
        self.console.print(f"[dim]{text}[/]")


def main(
    data: Annotated[
        Path | None, typer.Option(help="Real photos, a folder per class; drawn ones without it.")
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Number of images.")] = 2000,
    training_images: Annotated[
        int, typer.Option(min=20, help="Number of them that the training rows use.")
    ] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, after one to warm up.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
) -> None:
    """Measure the way of images from disk to batch against torchvision and Pillow."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="data_path ") as folder:
        work = Path(folder)
        try:
            photos = _real_photos(data, images, work) if data else _drawn_photos(images, work)
            bench = Bench(photos, work, rounds, console)
            comparisons = [*_epoch_rows(bench), *_build_rows(bench)]
            waiting = list(_waiting_rows(bench, training_images))
        except SearchError as error:
            Terminal().error(str(error))
            raise typer.Exit(error.exit_code) from None
        about = {"images": _describe(photos), "rounds": rounds, "machine": describe_machine()}
    console.print(comparison_table(comparisons), waiting_table(waiting))
    if json is not None:
        write_json(json, about | _figures(comparisons, waiting))


def _real_photos(data: Path, number: int, work: Path) -> tuple[Path, ...]:
    folder = work / (data.name or "photos")
    link_photos(folder, build_index([data]), number)
    return (folder,)


def _drawn_photos(number: int, work: Path) -> tuple[Path, ...]:
    sizes = (LARGE_PX, SMALL_PX)
    folders = tuple(work / f"{width} × {height} px" for width, height in sizes)
    for folder, (width, height) in zip(folders, sizes, strict=True):
        draw_photos(folder, number, width, height)
    return folders


def _epoch_rows(bench: Bench) -> Iterable[Comparison]:
    """Compare epochs of ready batches: two sizes, augmented or not, then the smaller photos."""
    cases = [(bench.photos[0], size_px, s) for size_px in (128, 224) for s in (STRENGTH, 0.0)]
    cases += [(folder, TRAINING_PX, STRENGTH) for folder in bench.photos[1:]]
    for folder, size_px, strength in cases:
        changes = f"augmented {strength}" if strength else "plain"
        name = f"epoch at {size_px} px, {changes}, {folder.name}"
        bench.note(name)
        ours = _trial_data(bench, folder, size_px)
        theirs = torchvision_loader(
            folder, size_px=size_px, strength=strength, batch_size=BATCH_SIZE, num_workers=0
        )
        yield compare(
            name,
            "ImageFolder, v2, DataLoader",
            len(ours.train_ids),
            partial(_one_epoch, ours, strength),
            partial(_use_up, theirs),
            rounds=bench.rounds,
            aim=EPOCH_AIM if (size_px, strength) == (TRAINING_PX, STRENGTH) else None,
        )


def _build_rows(bench: Bench) -> Iterable[Comparison]:
    """Compare building the store for `TRAINING_PX`, from each folder of photos."""
    squares, side_px = bench.work / "squares.npy", stored_side(TRAINING_PX)
    for folder in bench.photos:
        index = build_index([folder])
        files = [index.file(i) for i in range(len(index.rows))]
        for alternative, resample, draft in PILLOW:
            name = f"store, {folder.name}"
            bench.note(f"{name}, {alternative}")
            yield compare(
                name,
                alternative,
                len(files),
                partial(_build_anew, bench, index),
                partial(build_with_pillow, files, squares, side_px, resample=resample, draft=draft),
                rounds=bench.rounds,
                aim=BUILD_AIM if folder == bench.photos[0] and resample is BICUBIC else None,
            )


def _waiting_rows(bench: Bench, number: int) -> Iterable[Waiting]:
    """Measure how long training waits, on one and on two threads."""
    folder = bench.work / "training photos"
    link_photos(folder, build_index(bench.photos[:1]), number)
    data = _trial_data(bench, folder, TRAINING_PX)
    for num_threads in (1, 2):
        bench.note(f"training, number of threads: {num_threads}")
        yield compare_waiting(data, folder, num_threads=num_threads, rounds=bench.rounds)


def _trial_data(bench: Bench, photos: Path, size_px: int) -> CachedData:
    """Build a store of all photos and open it to train on every one."""
    index = build_index([photos])
    cache = _build(index, Path(tempfile.mkdtemp(dir=bench.work)), size_px)
    every = np.arange(len(index.rows), dtype=np.int64)
    return open_trial_data(cache, every, every[:0])


def _build(index: DatasetIndex, folder: Path, size_px: int) -> ImageCache:
    return build_cache(index, folder / "store", size_px=size_px, fit="crop", num_workers=1)


def _build_anew(bench: Bench, index: DatasetIndex) -> None:
    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        _build(index, Path(folder), TRAINING_PX)


def _one_epoch(data: CachedData, strength: float) -> None:
    _use_up(
        data.train_batches(
            batch_size=BATCH_SIZE, epoch=1, seed=0, augmentation=Augmentation(strength)
        )
    )


def _use_up(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _describe(photos: Sequence[Path]) -> list[dict[str, Any]]:
    files = [sorted(path for path in folder.rglob("*") if path.is_file()) for folder in photos]
    return [
        {"name": folder.name, "number": len(found), "bits_per_pixel": bits_per_pixel(found[:200])}
        for folder, found in zip(photos, files, strict=True)
    ]


def _figures(comparisons: Sequence[Comparison], waiting: Sequence[Waiting]) -> dict[str, Any]:
    return {
        "comparisons": [
            asdict(row)
            | {"cpu_ratio": asdict(row.cpu_ratio), "wall_ratio": asdict(row.wall_ratio)}
            | {"met": row.met}
            for row in comparisons
        ],
        "waiting": [asdict(row) | {"met": row.met} for row in waiting],
    }


if __name__ == "__main__":
    typer.run(main)
