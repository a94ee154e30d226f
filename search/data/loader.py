"""Batches for one trial: from the shared store, augmented per image, prepared in the background.

For a CPU each image is changed on its own (`augment.py`); for a GPU the stored squares travel as
they are and are changed there together (`augment_batch.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import cv2
import numpy as np
import torch

from search.data.augment import (
    Floats,
    apply_changes,
    evaluation_transform,
    image_draws,
    plan_changes,
)
from search.data.augment_batch import augment_batch
from search.data.store import Images, StoredImages, open_images
from search.records import Ids, ImageCache, fingerprint
from trainables.contract import Augmentation
from trainables.sampling import epoch_order, turns_of

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 3, S, S) uint8 RGB in channels-last memory order, labels (B,) int64."""

_BATCHES_AHEAD = 2
_BATCHES_READ_AHEAD = 4  # from disk, before they are made


@dataclass(frozen=True, eq=False)
class CachedData:
    """The images one trial may see; a `trainables.contract.TrialData`.

    Attributes:
        images: (N, R, R, 3) uint8 RGB squares with R >= size_px, in memory or in a store.
        labels: (N,) int64 class numbers.
        classes: Class names in label order.
        size_px: Side S of the images handed out.
        train_ids, val_ids: Rows of `images`.
        device: Where the batches are wanted: "cpu", "cuda" or "cuda:1".
        images_fingerprint: Identity of `images`, by which what is made of them is shared.
    """

    images: Images
    labels: Ids
    classes: tuple[str, ...]
    size_px: int
    train_ids: Ids
    val_ids: Ids
    device: str = "cpu"
    images_fingerprint: str = ""

    @property
    def fingerprint(self) -> str:
        """Identity of the images and of which are train and val."""
        ids = (self.train_ids.tolist(), self.val_ids.tolist())
        return fingerprint(self.images_fingerprint, *ids)

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
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[Batch]:
        """Yield one shuffled, augmented epoch; the same arguments give the same batches."""
        rng = np.random.default_rng((seed, epoch))
        rows = epoch_order(self.labels[self.train_ids], rng, balanced=balanced)
        return self._augmented(self.train_ids[rows], batch_size, augmentation, seed, epoch)

    def view_batches(
        self, *, batch_size: int, view: int, augmentation: Augmentation, seed: int
    ) -> Iterator[Batch]:
        """Yield the training images once, in id order: clean in view 0, augmented in any other."""
        changes = augmentation if view else Augmentation()
        return self._augmented(self.train_ids, batch_size, changes, seed, view)

    def _augmented(
        self, order: Ids, batch_size: int, augmentation: Augmentation, seed: int, epoch: int
    ) -> Iterator[Batch]:
        chunks = batch_ids(order, batch_size)
        if augmentation == Augmentation():  # the very pixels of evaluation, on any device
            return self._batches(chunks, self._clean)
        change = self._changed_there if self._is_elsewhere else self._changed
        turns = iter(batch_ids(turns_of(order), batch_size))  # batches are made in their order

        def make(ids: Ids) -> torch.Tensor:
            return change(ids, augmentation, image_draws(seed, epoch, ids, next(turns)))

        return self._batches(chunks, make)

    def val_batches(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield the validation images once, in id order, not augmented."""
        return self.clean_batches(self.val_ids, batch_size=batch_size)

    def clean_batches(self, ids: Ids, *, batch_size: int) -> Iterator[Batch]:
        """Yield these images once, in the order given, as evaluation sees them."""
        chunks = [ids[k : k + batch_size] for k in range(0, len(ids), batch_size)]
        return self._batches(chunks, self._clean)

    @property
    def _is_elsewhere(self) -> bool:
        return torch.device(self.device).type != "cpu"

    def _batches(
        self, chunks: Sequence[Ids], make_images: Callable[[Ids], torch.Tensor]
    ) -> Iterator[Batch]:
        ahead = iter(chunks)
        self._prefetch(islice(ahead, _BATCHES_READ_AHEAD))

        def make(ids: Ids) -> Batch:
            self._prefetch(islice(ahead, 1))
            labels = self._empty(len(ids), dtype=torch.int64)
            np.take(self.labels, ids, out=labels.numpy())
            return make_images(ids), self._send(labels)

        return _ahead(chunks, make)

    def _prefetch(self, batches: Iterable[Ids]) -> None:
        if isinstance(self.images, StoredImages):
            for ids in batches:
                self.images.prefetch(ids)

    def _clean(self, ids: Ids) -> torch.Tensor:
        """Return images as evaluation sees them, (B, 3, S, S)."""
        pixels = self._empty(len(ids), self.size_px, self.size_px, 3)
        for image_id, out in zip(ids.tolist(), pixels.numpy(), strict=True):
            evaluation_transform(self.images[image_id], out)
        # The permuted view of (B, S, S, 3) is channels-last memory without a copy.
        return self._send(pixels).permute(0, 3, 1, 2)

    def _changed(self, ids: Ids, augmentation: Augmentation, draws: Floats) -> torch.Tensor:
        """Return augmented images, (B, 3, S, S)."""
        pixels = self._empty(len(ids), self.size_px, self.size_px, 3)
        changes = plan_changes(augmentation, draws, self.images.shape[1], self.size_px)
        for k, (image_id, out) in enumerate(zip(ids.tolist(), pixels.numpy(), strict=True)):
            apply_changes(self.images[image_id], out, changes, k)
        return pixels.permute(0, 3, 1, 2)

    def _changed_there(self, ids: Ids, augmentation: Augmentation, draws: Floats) -> torch.Tensor:
        """Return augmented images, (B, 3, S, S), made on the device."""
        squares = self._empty(len(ids), *self.images.shape[1:])
        for image_id, out in zip(ids.tolist(), squares.numpy(), strict=True):
            np.copyto(out, self.images[image_id])
        return augment_batch(self._send(squares), self.size_px, augmentation, draws)

    def _empty(self, *shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        # Page-locked, so that sending it need not be waited for; torch keeps it until it was sent.
        return torch.empty(shape, dtype=dtype, pin_memory=self._is_elsewhere)

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        # On the stream that the training uses too: it starts on a batch when the batch is there.
        return tensor.to(self.device, non_blocking=True)


def open_trial_data(
    cache: ImageCache,
    train_ids: Ids,
    val_ids: Ids,
    *,
    size_px: int | None = None,
    device: str = "cpu",
) -> CachedData:
    """Open the shared store for one trial.

    Args:
        size_px: Side of the images handed out; the store's own when None.
        device: Where the batches are wanted.
    """
    images, labels = open_images(cache)
    side = size_px or cache.size_px
    return CachedData(
        images, labels, cache.classes, side, train_ids, val_ids, device, cache.fingerprint
    )


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
