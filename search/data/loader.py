"""Batches for one trial: from the shared store, augmented per image, prepared in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch

from search.data.augment import augment, evaluation_transform, image_rng
from search.data.cache import load_arrays
from search.data.decode import Pixels
from search.records import Ids, ImageCache

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 3, S, S) uint8 RGB in channels-last memory order, labels (B,) int64."""

_BATCHES_AHEAD = 2


@dataclass(frozen=True, eq=False)
class CachedData:
    """The images one trial may see; a `trainables.contract.TrialData`.

    Attributes:
        images: (N, R, R, 3) uint8 RGB squares with R >= size_px, in memory or mapped from disk.
        labels: (N,) int64 class numbers.
        classes: Class names in label order.
        size_px: Side S of the images handed out.
        train_ids, val_ids: Rows of `images`.
    """

    images: Pixels
    labels: Ids
    classes: tuple[str, ...]
    size_px: int
    train_ids: Ids
    val_ids: Ids

    @property
    def train_counts(self) -> tuple[int, ...]:
        """Training images per class."""
        counts = np.bincount(self.labels[self.train_ids], minlength=len(self.classes))
        return tuple(int(count) for count in counts)

    @property
    def num_val(self) -> int:
        """Validation images."""
        return len(self.val_ids)

    def train_batches(
        self, *, batch_size: int, epoch: int, seed: int, augment_strength: float
    ) -> Iterator[Batch]:
        """Yield one shuffled, augmented epoch; the same arguments give the same batches."""
        order = np.random.default_rng((seed, epoch)).permutation(self.train_ids)

        def fill(image_id: int, out: Pixels) -> None:
            rng = image_rng(seed, epoch, image_id)
            augment(self._plain_images[image_id], out, augment_strength, rng)

        return self._batches(batch_ids(order, batch_size), fill)

    def val_batches(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield the validation images once, in id order, not augmented."""
        return self.clean_batches(self.val_ids, batch_size=batch_size)

    def clean_batches(self, ids: Ids, *, batch_size: int) -> Iterator[Batch]:
        """Yield these images once, in the order given, as evaluation sees them."""

        def fill(image_id: int, out: Pixels) -> None:
            evaluation_transform(self._plain_images[image_id], out)

        chunks = [ids[k : k + batch_size] for k in range(0, len(ids), batch_size)]
        return self._batches(chunks, fill)

    @property
    def _plain_images(self) -> Pixels:
        # A plain view: indexing a memmap object costs more than shrinking its image.
        return self.images.view(np.ndarray)

    def _batches(
        self, chunks: Sequence[Ids], fill: Callable[[int, Pixels], None]
    ) -> Iterator[Batch]:
        def make(ids: Ids) -> Batch:
            pixels = np.empty((len(ids), self.size_px, self.size_px, 3), np.uint8)
            for image_id, out in zip(ids.tolist(), pixels, strict=True):
                fill(image_id, out)
            # The permuted view of (B, S, S, 3) is channels-last memory without a copy.
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            return images, torch.from_numpy(self.labels[ids])

        return _ahead(chunks, make)


def open_trial_data(cache: ImageCache, train_ids: Ids, val_ids: Ids) -> CachedData:
    """Map the shared store for one trial."""
    images, labels = load_arrays(cache)
    return CachedData(images, labels, cache.classes, cache.size_px, train_ids, val_ids)


def batch_ids(order: Ids, batch_size: int) -> list[Ids]:
    """Cut ids into batches; a single image left over joins the batch before it."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1 and batch_size > 1:
        starts.pop()
    return [order[a:b] for a, b in pairwise([*starts, len(order)])]


def _ahead(chunks: Sequence[Ids], make: Callable[[Ids], Batch]) -> Iterator[Batch]:
    """Make batches in a thread, a few ahead of their use.

    An error of the thread is raised here; closing the iterator ends the thread.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(_BATCHES_AHEAD)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for ids in chunks:
                if stopped.is_set():
                    return
                put(make(ids))
            put(None)
        except BaseException as error:
            put(error)

    cv2.setNumThreads(1)  # trials share the machine: one thread each prepares images
    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
