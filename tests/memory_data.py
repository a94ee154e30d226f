"""Images in memory as a trial's data: coloured noise that a network can tell apart in an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.contract import Augmentation
from trainables.sampling import epoch_order

COLOURS = ((200, 60, 60), (60, 180, 60), (70, 70, 210))


@dataclass(frozen=True)
class MemoryData:
    """What `trainables.contract.TrialData` asks for, without augmentation.

    `images` (N, S, S, 3) uint8, `labels` (N,) int64, `train` and `val` ids into them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    train: NDArray[np.int64]
    val: NDArray[np.int64]

    @property
    def size_px(self) -> int:
        return int(self.images.shape[1])

    @property
    def train_counts(self) -> tuple[int, ...]:
        counts = np.bincount(self.labels[self.train], minlength=len(self.classes))
        return tuple(int(n) for n in counts)

    @property
    def num_val(self) -> int:
        return len(self.val)

    def _batch(self, ids: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(self.images[ids]).permute(0, 3, 1, 2)
        return images, torch.from_numpy(self.labels[ids])

    def train_batches(
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rng = np.random.default_rng((seed, epoch))
        order = self.train[epoch_order(self.labels[self.train], rng, balanced=balanced)]
        starts = list(range(0, len(order), batch_size))
        if len(starts) > 1 and len(order) - starts[-1] == 1:
            starts.pop()  # a single image goes with the batch before
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            yield self._batch(order[start:end])

    def val_batches(self, *, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self.val), batch_size):
            yield self._batch(self.val[start : start + batch_size])

    @property
    def fingerprint(self) -> str:
        content = (self.images, self.labels, self.train, self.val)
        return hashlib.sha256(b"".join(part.tobytes() for part in content)).hexdigest()

    def view_batches(
        self, *, batch_size: int, view: int, augmentation: Augmentation, seed: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self.train), batch_size):
            images, labels = self._batch(self.train[start : start + batch_size])
            yield (images.flip(3) if view % 2 else images), labels


def coloured_noise(
    per_class: int = 12, size_px: int = 32, *, with_val: bool = True, seed: int = 0
) -> MemoryData:
    """Draw noisy images whose mean colour is their class; every fourth goes to val."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(COLOURS)), per_class)
    noise = rng.normal(0, 60, (len(labels), size_px, size_px, 3))
    images = (np.array(COLOURS)[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    ids = np.arange(len(labels))
    val = ids[ids % 4 == 0] if with_val else ids[:0]
    return MemoryData(images, labels, ("-red", "gr'een", "blue\n"), np.setdiff1d(ids, val), val)
