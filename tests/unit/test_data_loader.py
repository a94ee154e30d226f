"""Batches of one trial: layout, determinism, the last batch, errors and closing of the thread."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.data.augment import evaluation_transform
from search.data.cache import build_cache, read_image
from search.data.index import build_index
from search.data.loader import CachedData, batch_ids, open_trial_data
from tests.images import draw_image, make_folder
from trainables.contract import Augmentation, TrialData

NUM = 23


@pytest.fixture
def data() -> CachedData:
    rng = np.random.default_rng(0)
    images = np.stack([draw_image(k % 2, (36, 36), rng) for k in range(NUM)])
    labels = np.arange(NUM, dtype=np.int64) % 2
    ids = np.arange(NUM, dtype=np.int64)
    return CachedData(images, labels, ("a", "b"), 32, ids[:17], ids[17:])


def epoch(data: CachedData, **changes: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    wanted = {"batch_size": 8, "epoch": 1, "seed": 0, "augmentation": Augmentation(0.5)} | changes
    return list(data.train_batches(**wanted))  # type: ignore[arg-type]


def test_is_trial_data(data: CachedData) -> None:
    seen: TrialData = data
    assert (seen.classes, seen.size_px, seen.num_val) == (("a", "b"), 32, 6)
    assert data.train_counts == (9, 8)


def test_layout(data: CachedData) -> None:
    images, labels = epoch(data)[0]
    assert images.shape == (8, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64


def test_same_arguments_same_batches(data: CachedData) -> None:
    one, two = epoch(data), epoch(data)
    assert all(
        torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
    )
    for change in ({"epoch": 2}, {"seed": 1}):
        assert not torch.equal(one[0][0], epoch(data, **change)[0][0])


def test_augmentation_does_not_depend_on_the_batch_size(data: CachedData) -> None:
    one = torch.cat([images for images, _ in epoch(data, batch_size=4)])
    two = torch.cat([images for images, _ in epoch(data, batch_size=16)])
    assert torch.equal(one, two)


def test_an_epoch_is_every_training_image_once(data: CachedData) -> None:
    batches = epoch(data, augmentation=Augmentation())
    assert [len(labels) for _, labels in batches] == [8, 9]  # 17 = 8 + 8 + 1: no single image
    out = np.empty((32, 32, 3), np.uint8)
    expected = []
    for k in data.train_ids:
        evaluation_transform(data.images[k], out)
        expected.append(out.tobytes())
    got = [image.permute(1, 2, 0).numpy().tobytes() for images, _ in batches for image in images]
    assert sorted(got) == sorted(expected)
    assert got != expected  # shuffled


@pytest.mark.parametrize("batch_size", [5, 32])
def test_a_balanced_epoch_repeats_images_but_not_their_changes(
    data: CachedData, batch_size: int
) -> None:
    rare = replace(data, train_ids=np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 1, 3], np.int64))
    assert rare.train_counts == (9, 2)
    batches = epoch(rare, balanced=True, batch_size=batch_size)
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert sorted(np.bincount(labels).tolist()) == [5, 6]
    distinct = {image.numpy().tobytes() for image in images}
    assert len(distinct) == 11  # the two images of the rare class, never changed alike
    plain = torch.cat([x for x, _ in epoch(rare, balanced=True, augmentation=Augmentation())])
    assert len({image.numpy().tobytes() for image in plain}) == 11 - np.bincount(labels)[1] + 2


@pytest.mark.parametrize(
    ("num", "batch_size", "sizes"),
    [
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (1, 4, [1]),
        (3, 2, [3]),
        (0, 4, []),
        (2, 1, [1, 1]),
    ],
)
def test_batch_sizes(num: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(ids) for ids in batch_ids(np.arange(num), batch_size)] == sizes


def test_clean_batches_keep_order(data: CachedData) -> None:
    ids = np.array([5, 2, 9], np.int64)
    batches = list(data.clean_batches(ids, batch_size=2))
    assert [labels.tolist() for _, labels in batches] == [[1, 0], [1]]
    out = np.empty((32, 32, 3), np.uint8)
    evaluation_transform(data.images[9], out)
    assert np.array_equal(batches[1][0][0].permute(1, 2, 0).numpy(), out)
    val = torch.cat([labels for _, labels in data.val_batches(batch_size=4)])
    assert val.tolist() == data.labels[data.val_ids].tolist()


def test_errors_of_the_thread_are_raised(data: CachedData) -> None:
    broken = replace(data, train_ids=np.array([0, 1, 99], np.int64))
    with pytest.raises(IndexError):
        epoch(broken)


def test_closing_ends_the_thread(data: CachedData) -> None:
    batches = data.train_batches(batch_size=2, epoch=0, seed=0, augmentation=Augmentation(1.0))
    next(batches)
    assert any(thread.name == "batches" for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_from_the_store(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=6)
    index = build_index([root])
    cache = build_cache(index, tmp_path / "store", size_px=32, fit="pad", num_workers=1)
    data = open_trial_data(cache, np.arange(8), np.arange(8, 12))
    assert data.classes == ("a", "b")
    assert sum(len(labels) for _, labels in epoch(data)) == 8
    small = open_trial_data(cache, np.arange(8), np.arange(8, 12), size_px=20)
    assert small.size_px == 20
    images, _ = next(small.val_batches(batch_size=4))
    for image, image_id in zip(images, range(8, 12), strict=True):
        read = read_image(index.file(image_id), size_px=20, side_px=36, fit="pad")
        assert np.array_equal(image.permute(1, 2, 0).numpy(), read)
    assert epoch(small)[0][0].shape == (8, 3, 20, 20)
    memory = replace(data, images=np.array(data.images))
    assert torch.equal(epoch(data)[0][0], epoch(memory)[0][0])


def test_views_are_in_one_order_and_each_is_always_the_same(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=6)
    index = build_index([root])
    cache = build_cache(index, tmp_path / "store", size_px=32, fit="pad", num_workers=1)
    data = open_trial_data(cache, np.arange(9), np.arange(9, 12))

    def views(view: int, strength: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
        batches = data.view_batches(
            batch_size=4, view=view, augmentation=Augmentation(strength), seed=0
        )
        images, labels = zip(*batches, strict=True)
        return torch.cat(images), torch.cat(labels)

    clean = torch.cat([images for images, _ in data.clean_batches(np.arange(9), batch_size=4)])
    assert torch.equal(views(0)[0], clean)
    assert torch.equal(views(1)[0], views(1)[0])
    assert not torch.equal(views(1)[0], views(2)[0])
    assert not torch.equal(views(1)[0], views(1, 0.25)[0])
    for view in range(3):
        assert views(view)[1].tolist() == data.labels[:9].tolist()


def test_the_fingerprint_tells_other_images_and_other_splits_apart(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=6)
    ids = np.arange(12)

    def fingerprint(train: int, val: int, fit: str = "pad") -> str:
        folder = tmp_path / fit
        cache = build_cache(build_index([root]), folder, size_px=32, fit=fit, num_workers=1)
        return open_trial_data(cache, ids[:train], ids[train:val]).fingerprint

    known = {fingerprint(8, 12), fingerprint(8, 11), fingerprint(9, 12), fingerprint(8, 12, "crop")}
    assert len(known) == 4
    assert fingerprint(8, 12) in known
