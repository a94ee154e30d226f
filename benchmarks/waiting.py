"""How long a training waits for its images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from rich.table import Table

from benchmarks.measure import Figure, verdict
from benchmarks.torchvision_path import torchvision_loader
from search.data.loader import Batch, CachedData
from trainables.classifier import train
from trainables.contract import Augmentation, TrialInputs
from trainables.parameters import default_params

MOST_WAITING = 0.03
_BACKBONE = "resnet18"


@dataclass(frozen=True)
class Epoch:
    """One training epoch, and how much of it went by waiting for the next batch."""

    seconds: float
    waiting_seconds: float


@dataclass(frozen=True)
class Waiting:
    """Training epochs from our store and from the alternative, round by round."""

    num_threads: int
    num_images: int
    size_px: int
    ours: tuple[Epoch, ...]
    theirs: tuple[Epoch, ...]

    @property
    def met(self) -> bool:
        """Tell whether the median share is under the one we promise."""
        return waiting_share(self.ours).median < MOST_WAITING


def waiting_share(epochs: Sequence[Epoch]) -> Figure:
    """Return the share of epochs spent waiting, 0..1."""
    return Figure.of([epoch.waiting_seconds / epoch.seconds for epoch in epochs])


@dataclass
class Stopwatch:
    """How long `next` blocked, and how long epochs took from their first `next` to their end."""

    waiting_seconds: float = 0.0
    seconds: float = 0.0

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Hand on batches, and note the times of an epoch when it is through."""
        began = time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waiting_seconds += time.perf_counter() - asked
            if batch is None:
                break
            yield batch
        self.seconds += time.perf_counter() - began


@dataclass(frozen=True, eq=False)
class WatchedData(CachedData):
    """Training images that a stopwatch watches.

    Attributes:
        photos: Where torchvision reads them from, None to take them from the store.
    """

    photos: Path | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def train_batches(
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[Batch]:
        """Yield one epoch."""
        if self.photos is None:
            batches = super().train_batches(
                batch_size=batch_size,
                epoch=epoch,
                seed=seed,
                augmentation=augmentation,
                balanced=balanced,
            )
        else:
            loader = torchvision_loader(
                self.photos,
                size_px=self.size_px,
                strength=augmentation.strength,
                batch_size=batch_size,
                num_workers=1,  # prepares batches while the model trains, as our thread does
            )
            batches = iter(loader)
        return self.stopwatch.watch(batches)


def train_one_epoch(data: CachedData, photos: Path | None, num_threads: int) -> Epoch:
    """Train one epoch with the default recipe, on images of the store or of a folder."""
    known = {member.name: getattr(data, member.name) for member in fields(data)}
    watched = WatchedData(**known, photos=photos)
    params = default_params("classifier") | {"backbone": _BACKBONE}
    inputs = TrialInputs(params, watched, max_epochs=1, num_threads=num_threads)
    train(inputs, lambda report, save: None)
    return Epoch(watched.stopwatch.seconds, watched.stopwatch.waiting_seconds)


def compare_waiting(data: CachedData, photos: Path, *, num_threads: int, rounds: int) -> Waiting:
    """Train by turns from our store, and with torchvision from the folder it was made of."""
    epochs = [
        (train_one_epoch(data, None, num_threads), train_one_epoch(data, photos, num_threads))
        for _ in range(rounds)
    ]
    ours, theirs = zip(*epochs, strict=True)
    return Waiting(num_threads, sum(data.train_counts), data.size_px, ours, theirs)


def waiting_table(rows: Sequence[Waiting]) -> Table:
    """Draw the shares of time, and how many images the training got through."""
    title = f"Share of a {_BACKBONE} training epoch spent waiting, and its images per second"
    table = Table(title=title, show_lines=True)
    table.add_column("training")
    for heading in ("waiting", "torchvision", "images/s", "theirs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        threads = "1 thread" if row.num_threads == 1 else f"{row.num_threads} threads"
        shares = waiting_share(row.ours), waiting_share(row.theirs)
        medians = (statistics.median(e.seconds for e in found) for found in (row.ours, row.theirs))
        table.add_row(
            f"{row.size_px} px, {threads}\naim < {MOST_WAITING:.0%} {verdict(row.met)}",
            *(f"{f.median:.1%} ({f.low:.1%}–{f.high:.1%})" for f in shares),
            *(f"{row.num_images / seconds:.0f}" for seconds in medians),
        )
    return table
