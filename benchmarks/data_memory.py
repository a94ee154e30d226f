"""Measure training from an image store of three times the memory that it may use.

python -m benchmarks.data_memory [--allowed-mb 256] [--rounds 3]

Each training is a process of its own. A limited one may map no more than `allowed-mb` beyond what
it has after its first step (ulimit -v), and drops the store from the page cache again and again, so
that never more than `allowed-mb` of it stay there; the column "cached" is what was seen of it. That
is harder than a control group of this size, which keeps what was read last. Linux only.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.photos import draw_photos
from search.data.cache import build_cache, open_cache, stored_side
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.data.store import image_file, store_bytes
from trainables.contract import Augmentation

MOST_SLOWDOWN = 2.0
TIMES_MEMORY = 3
_SIZE_PX, _BATCH_SIZE, _NUM_PHOTOS = 128, 32, 400
_MB = 10**6


@dataclass(frozen=True)
class Run:
    """One epoch: images per second and per CPU-second, memory gained by it, store in page cache."""

    speed: float
    cpu_speed: float
    gained_mb: float
    cached_mb: float = 0.0


def main(
    allowed_mb: Annotated[int, typer.Option(min=64, help="Memory a limited run may use.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind, by turns.")] = 3,
) -> None:
    """Print the table; exits with 1 when a promise is broken."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="seed-search-") as work:
        folder, num_images = _build(Path(work), allowed_mb)
        size = store_bytes(num_images, stored_side(_SIZE_PX), "pixels") / _MB
        console.print(
            f"{num_images:,} images, {size:,.0f} MB; limited runs may use {allowed_mb} MB"
        )
        kinds = [("store", None), ("store", allowed_mb), ("memmap", None), ("memmap", allowed_mb)]
        runs: dict[tuple[str, int | None], list[Run | str]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind in kinds:
                runs[kind].append(_run(folder, *kind))
    table = Table("reader", "limit", "images/s", "images/CPU-s", "memory gained", "cached")
    for (reader, limit), measured in runs.items():
        limit_text = f"{limit} MB" if limit else "none"
        table.add_row(reader, limit_text, *_cells(measured))
    console.print(table)
    free, limited = (_median(runs["store", limit]) for limit in (None, allowed_mb))
    slowdown = free.speed / limited.speed
    bounded = limited.gained_mb < allowed_mb and limited.cached_mb <= allowed_mb
    console.print(f"slowdown {slowdown:.2f}× (at most {MOST_SLOWDOWN}×), memory bounded: {bounded}")
    raise typer.Exit(0 if slowdown <= MOST_SLOWDOWN and bounded else 1)


def _build(work: Path, allowed_mb: int) -> tuple[Path, int]:
    """Build a store of the size wanted from a few photos, each stored many times."""
    draw_photos(work / "photos", _NUM_PHOTOS, 256, 192)
    index = build_index([work / "photos"])
    times = -(-TIMES_MEMORY * allowed_mb * _MB // store_bytes(_NUM_PHOTOS, 144, "pixels"))
    index = replace(index, rows=index.rows * times)
    workers = os.cpu_count() or 1
    cache = build_cache(index, work / "cache", size_px=_SIZE_PX, fit="crop", num_workers=workers)
    os.sync()  # only what is on disk can be dropped from memory
    return cache.folder, len(index.rows)


def _run(folder: Path, reader: str, allowed_mb: int | None) -> Run | str:
    """Train one epoch in a new process; returns what it cost, or why it could not be done."""
    context, path = multiprocessing.get_context("spawn"), image_file(open_cache(folder))
    _drop(path) if allowed_mb else _fill(path)
    with ProcessPoolExecutor(1, context) as pool, _watch(path) as most:
        try:
            run = pool.submit(_train, folder, reader, allowed_mb).result()
        except (OSError, MemoryError, RuntimeError) as error:
            return " ".join(str(error).split())[:60]
    return replace(run, cached_mb=most[0])


def _train(folder: Path, reader: str, allowed_mb: int | None) -> Run:
    torch.set_num_threads(1)
    cache = open_cache(folder)
    everything = np.arange(len(np.load(folder / "labels.npy")))
    data = open_trial_data(cache, everything, everything[:0])
    step, path = _SmallCnn(len(cache.classes)), image_file(cache)
    _epoch(replace(data, train_ids=everything[: 4 * _BATCH_SIZE]), step, 0, path, None)
    memory = _status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    if allowed_mb:
        most = int(_status_mb("VmSize") + allowed_mb) * _MB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if reader == "memmap":
        data = replace(data, images=np.load(path, mmap_mode="r"))
    begin, cpu = time.perf_counter(), time.process_time()
    _epoch(data, step, 1, path, allowed_mb)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    num = len(everything)
    return Run(num / seconds, num / cpu, _status_mb("VmHWM") - memory)


class _SmallCnn:
    """A training step small enough that reading images is a good part of it."""

    def __init__(self, num_classes: int) -> None:
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, 4), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, 2),
            torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(32, num_classes),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        logits = self.model(images.float().div(255))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        self.optimizer.step()


def _epoch(data: CachedData, step: _SmallCnn, epoch: int, path: Path, limit_mb: int | None) -> None:
    """Train one epoch; with a limit, empty the page cache whenever half of it may be full."""
    image_bytes, num_read = stored_side(_SIZE_PX) ** 2 * 3, 0
    for images, labels in data.train_batches(
        batch_size=_BATCH_SIZE, epoch=epoch, seed=0, augmentation=Augmentation(0.5)
    ):
        step(images, labels)
        num_read += len(labels)
        if limit_mb and num_read * image_bytes > limit_mb * _MB / 2:
            _drop(path)
            num_read = 0


def _drop(path: Path) -> None:
    """Take a file out of the page cache."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def _fill(path: Path) -> None:
    """Bring a whole file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(_MB):
            continue


@contextmanager
def _watch(path: Path) -> Iterator[list[float]]:
    """Yield a list whose only value becomes the most MB of a file seen in the page cache."""
    most, ended = [0.0], threading.Event()
    mapped = np.memmap(path, mode="r")
    pages = np.zeros(-(-mapped.nbytes // resource.getpagesize()), np.uint8)
    address = ctypes.c_void_p(mapped.ctypes.data)

    def look() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        while not ended.wait(0.1):
            libc.mincore(
                address, ctypes.c_size_t(mapped.nbytes), ctypes.c_void_p(pages.ctypes.data)
            )
            most[0] = max(most[0], int((pages & 1).sum()) * resource.getpagesize() / _MB)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _status_mb(name: str) -> float:
    """Return a line of the kernel's account of this process, in MB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) * 1024 / _MB


def _median(runs: list[Run | str]) -> Run:
    done = [run for run in runs if isinstance(run, Run)]
    if not done:
        raise typer.BadParameter(f"no run came to its end: {runs[0]}", param_hint="--allowed-mb")
    values = [statistics.median(getattr(r, f.name) for r in done) for f in fields(Run)]
    return Run(*values)


def _cells(runs: list[Run | str]) -> tuple[str, ...]:
    if isinstance(runs[0], str):
        return ("", "", runs[0], "")
    run = _median(runs)
    return (
        f"{run.speed:,.0f}", f"{run.cpu_speed:,.0f}", f"{run.gained_mb:,.0f} MB",
        f"{run.cached_mb:,.0f} MB",
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
