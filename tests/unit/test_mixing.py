"""Mixup and CutMix: what they blend, by how much, and the loss of the blend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.losses import make_loss
from trainables.mixing import Mixing, cut_box

NUM_CLASSES = 5
LABELS = torch.arange(10) % NUM_CLASSES


def flat_images(size_px: int = 16) -> torch.Tensor:
    """Return images of one grey each, (10, 3, S, S): twenty times their number."""
    greys = torch.arange(len(LABELS), dtype=torch.uint8) * 20
    return greys.view(-1, 1, 1, 1).expand(-1, size_px, size_px, 3).contiguous().permute(0, 3, 1, 2)


def mix(mixup: float, cutmix: float, step: int = 0, **changes: int) -> tuple[torch.Tensor, ...]:
    mixing = Mixing(mixup, cutmix, NUM_CLASSES, changes.get("seed", 0))
    return mixing.mix(flat_images(), LABELS, changes.get("epoch", 1), step)


def test_off_hands_the_batch_through() -> None:
    images = flat_images()
    mixed, targets = Mixing(0.0, 0.0, NUM_CLASSES, 0).mix(images, LABELS, 1, 0)
    assert mixed is images
    assert targets is LABELS


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_targets_tell_the_shares_of_the_pixels(mixup: float, cutmix: float) -> None:
    for step in range(30):
        images, targets = mix(mixup, cutmix, step)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert targets.dtype == torch.float32
        assert targets.sum(1) == pytest.approx(torch.ones(10), abs=1e-6)
        # Image k is of class k % 5: its own share and its partner's make its mean grey.
        for k in range(len(LABELS)):
            own = float(targets[k, k % NUM_CLASSES])
            if own > 0.9999:
                continue
            other = int(targets[k].clone().index_fill_(0, LABELS[k], -1).argmax())
            blends = [own * 20 * k + (1 - own) * 20 * j for j in (other, other + NUM_CLASSES)]
            found = float(images[k].float().mean())
            assert min(abs(found - blend) for blend in blends) < 0.05


def test_kinds_are_told_apart_and_both_take_turns() -> None:
    for step in range(10):
        assert mix(0.4, 0.0, step)[0].dtype == torch.float32
        cut = mix(0.0, 1.0, step)[0]
        assert cut.dtype == torch.uint8
        assert all(len(image.unique()) <= 2 for image in cut)
    kinds = [mix(0.4, 1.0, step)[0].dtype for step in range(200)]
    assert 70 < kinds.count(torch.uint8) < 130


def test_a_step_follows_from_seed_epoch_and_number() -> None:
    first = mix(0.4, 1.0, step=3)
    assert all(torch.equal(a, b) for a, b in zip(first, mix(0.4, 1.0, step=3), strict=True))
    for other in (mix(0.4, 1.0, 4), mix(0.4, 1.0, 3, epoch=2), mix(0.4, 1.0, 3, seed=1)):
        assert not torch.equal(first[1], other[1])


def test_shares_are_those_of_the_beta_distribution() -> None:
    """With α = 1 every share is as likely; a small α leaves most images nearly alone."""
    for alpha, variance in ((1.0, 1 / 12), (0.2, 1 / 4 / 1.4)):
        own = [float(mix(alpha, 0.0, step)[1].max(1).values.min()) for step in range(1500)]
        share = np.array([max(value, 1 - value) for value in own])
        # The larger of share and 1 - share has the variance about a half that the share has.
        assert ((share - 0.5) ** 2).mean() == pytest.approx(variance, rel=0.12)


def test_the_cut_square_lies_inside_and_is_no_larger_than_its_share() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for share in rng.random(500):
        top, bottom, left, right = cut_box(40, share, rng)
        assert 0 <= top <= bottom <= 40
        assert 0 <= left <= right <= 40
        side = np.sqrt(1 - share) * 40 + 1
        assert (bottom - top) <= side
        assert (right - left) <= side
        areas.append((bottom - top) * (right - left) / 1600)
    assert 0.25 < np.mean(areas) < 0.5
    top, bottom, left, right = cut_box(40, 1.0, rng)
    assert (bottom - top) * (right - left) == 0


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_soft_targets_of_one_class_each_cost_what_labels_cost(
    kind: str, class_weights: str, label_smoothing: float
) -> None:
    loss = make_loss(
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        train_counts=(50, 1, 9, 20, 3),
        device="cpu",
        loss=kind,
        focal_gamma=2.0,
    )
    logits = torch.randn(10, NUM_CLASSES, generator=torch.Generator().manual_seed(0)) * 3
    one_hot = torch.nn.functional.one_hot(LABELS, NUM_CLASSES).float()
    assert loss(logits, one_hot).item() == pytest.approx(loss(logits, LABELS).item(), rel=1e-5)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_the_loss_of_a_blend_is_the_blend_of_losses(kind: str, class_weights: str) -> None:
    counts = (50, 1, 9, 20, 3)
    loss = make_loss(
        label_smoothing=0.1,
        class_weights=class_weights,
        train_counts=counts,
        device="cpu",
        loss=kind,
        focal_gamma=2.0,
    )
    logits = torch.randn(10, NUM_CLASSES, generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(LABELS, NUM_CLASSES).float()
    other = LABELS.roll(3)
    targets = 0.7 * one_hot + 0.3 * one_hot.roll(3, 0)
    whole = [0.7 * loss.mass(LABELS), 0.3 * loss.mass(other)]
    blend = whole[0] * loss(logits, LABELS) + whole[1] * loss(logits, other)
    assert float(loss.mass(targets)) == pytest.approx(float(sum(whole)), rel=1e-5)
    assert loss(logits, targets).item() == pytest.approx(float(blend / sum(whole)), rel=1e-5)
