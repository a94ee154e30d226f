"""The loss that is minimised, and the plain one that is reported for val."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

EFFECTIVE_BETA = 0.999
SMALLEST_DOUBT = 1e-7

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (B, C) and targets, labels (B,) int64 or shares (B, C) float32 that sum to 1 per
image; returns the batch mean, float32."""


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return N / (C · n_c) per class, (C,) float32: every class weighs the same in total.

    References:
        King & Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001.
    """
    present = torch.tensor(counts, dtype=torch.float32)
    return present.sum() / (len(counts) * present.clamp(min=1))


def effective_weights(counts: Sequence[int]) -> Tensor:
    """Return (1 - β) / (1 - β^n) per class with β = 0.999, scaled to a mean of 1, (C,) float32.

    Between no weights and balanced ones: beyond about a thousand images, more of a class bring
    little that is new, so their number stops to count.

    References:
        Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """
    effective = 1 - EFFECTIVE_BETA ** torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    weights = 1 / effective
    return (weights / weights.mean()).float()


_WEIGHTS = {"balanced": balanced_weights, "effective_number": effective_weights}


def make_loss(
    *,
    label_smoothing: float,
    class_weights: str,
    train_counts: Sequence[int],
    device: str,
    loss: str = "cross_entropy",
    focal_gamma: float = 0.0,
) -> Loss:
    """Build the training loss, with label smoothing and class weights.

    Args:
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: "none", "balanced" or "effective_number".
        train_counts: Training images per class.
        device: Where the logits are.
        loss: "cross_entropy", or "focal": each class's term times (1 - p)^focal_gamma.
        focal_gamma: At least 0; 0 makes it the cross entropy.

    References:
        Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    weight = None
    if class_weights != "none":
        weight = _WEIGHTS[class_weights](train_counts).to(device)
    if loss == "focal":
        return _focal_loss(weight, label_smoothing, focal_gamma)
    return _cross_entropy(weight, label_smoothing)


def _cross_entropy(weight: Tensor | None, label_smoothing: float) -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        is_soft = targets.ndim == 2
        value = cross_entropy(
            logits.float(),
            targets,
            weight=weight,
            label_smoothing=label_smoothing,
            reduction="sum" if is_soft else "mean",
        )
        if not is_soft:
            return value
        # torch's own mean divides soft targets by their number, labels by their weights. As for
        # labels: targets that are all of one class each give the very loss of those labels.
        return value / (len(targets) if weight is None else (targets @ weight).sum())

    return loss


def _focal_loss(weight: Tensor | None, label_smoothing: float, gamma: float) -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        num_classes = logits.shape[1]
        shares = targets if targets.ndim == 2 else one_hot(targets, num_classes).float()
        total = len(shares) if weight is None else (shares @ weight).sum()
        shares = shares * (1 - label_smoothing) + label_smoothing / num_classes
        if weight is not None:
            shares = shares * weight
        log_p = log_softmax(logits.float(), 1)
        # Without a floor, the gradient of a power below 1 would be infinite where p is 1.
        unsure = (-torch.expm1(log_p)).clamp(min=SMALLEST_DOUBT) ** gamma
        return -(shares * unsure * log_p).sum() / total

    return loss


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the plain cross entropy, comparable between trials of any smoothing or weights."""
    return cross_entropy(logits.float(), labels)
