"""The batched policy is the policy: image by image, in its statistics, and in its layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from search.data.augment import apply_changes, image_draws, plan_changes
from search.data.augment_batch import augment_batch
from search.data.loader import CachedData
from tests.images import draw_image
from trainables.contract import Augmentation

NUM = 96
EVERYTHING = Augmentation(1.0, vertical_flip=True, hue=0.5)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def squares(side_px: int, num: int = NUM) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return np.stack([draw_image(k % 5, (side_px, side_px), rng) for k in range(num)])


def both(
    stored_px: int, size_px: int, augmentation: Augmentation, device: str = "cpu"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the batch as `augment.py` makes it, and as `augment_batch.py` does."""
    images = squares(stored_px)
    draws = image_draws(0, 1, np.arange(NUM))
    changes = plan_changes(augmentation, draws, stored_px, size_px)
    singly = np.empty((NUM, size_px, size_px, 3), np.uint8)
    for k, out in enumerate(singly):
        apply_changes(images[k], out, changes, k)
    batch = augment_batch(torch.from_numpy(images).to(device), size_px, augmentation, draws)
    together = batch.cpu().permute(0, 2, 3, 1).numpy()
    return singly.astype(float), together.astype(float)


CASES = [
    *((72, 64, augmentation) for augmentation in (
        Augmentation(), Augmentation(0.1), Augmentation(0.6), Augmentation(1.0),
        Augmentation(vertical_flip=True), Augmentation(hue=0.3), EVERYTHING,
    )),
    *((stored, size, Augmentation(0.5)) for stored, size in ((64, 64), (96, 64), (288, 64))),
]  # fmt: skip


@pytest.mark.parametrize(("stored_px", "size_px", "augmentation"), CASES)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_image_by_image(
    stored_px: int, size_px: int, augmentation: Augmentation, device: str
) -> None:
    singly, together = both(stored_px, size_px, augmentation, device)
    assert np.abs(singly - together).mean(axis=(1, 2, 3)).max() < 0.6
    assert np.abs(singly - together).max() <= 4
    for one, other in zip(singly, together, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def test_nothing_asked_for_is_the_evaluation_transform() -> None:
    for stored_px in (64, 72, 288):
        singly, together = both(stored_px, 64, Augmentation())
        assert np.abs(singly - together).max() <= 1  # a half may round either way


def test_statistics_agree() -> None:
    singly, together = both(72, 64, EVERYTHING)
    for statistic in (np.mean, np.std):
        one, other = (statistic(images, axis=(1, 2)) for images in (singly, together))
        assert np.abs(one - other).max() < 0.5
    plain, _ = both(72, 64, Augmentation())
    assert np.abs(singly - plain).mean() > 40  # there was something to agree on


def test_layout() -> None:
    images = torch.from_numpy(squares(72, num=4))
    for augmentation in (Augmentation(), EVERYTHING):
        batch = augment_batch(images, 64, augmentation, image_draws(0, 0, np.arange(4)))
        assert batch.shape == (4, 3, 64, 64)
        assert batch.dtype == torch.uint8
        assert batch.is_contiguous(memory_format=torch.channels_last)


@needs_cuda
def test_batches_arrive_on_the_gpu() -> None:
    ids = np.arange(NUM, dtype=np.int64)
    here = CachedData(squares(72), ids % 5, tuple("abcde"), 64, ids[:80], ids[80:])
    there = replace(here, device="cuda")
    for augmentation in (Augmentation(), Augmentation(0.7)):
        wanted = {"batch_size": 16, "epoch": 1, "seed": 0, "augmentation": augmentation}
        for one, other in zip(
            here.train_batches(**wanted), there.train_batches(**wanted), strict=True
        ):
            assert all(tensor.is_cuda for tensor in other)
            assert torch.equal(one[1], other[1].cpu())
            difference = (one[0].float() - other[0].cpu().float()).abs()
            assert difference.mean() < (0.6 if augmentation.strength else 1e-9)
    for one, other in zip(
        here.val_batches(batch_size=8), there.val_batches(batch_size=8), strict=True
    ):
        assert torch.equal(one[0], other[0].cpu())
