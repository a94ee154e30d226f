"""The loss that is minimised, and the plain one that is reported for val."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (B, C) and labels (B,) int64; returns the batch mean, float32."""


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return N / (C · n_c) per class, (C,) float32: every class weighs the same in total.

    References:
        King & Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001.
    """
    present = torch.tensor(counts, dtype=torch.float32)
    return present.sum() / (len(counts) * present.clamp(min=1))


def make_loss(
    *, label_smoothing: float, class_weights: str, train_counts: Sequence[int], device: str
) -> Loss:
    """Build the training loss: cross entropy with label smoothing and class weights.

    Args:
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: "none" or "balanced".
        train_counts: Training images per class.
        device: Where the logits are.

    References:
        Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
    """
    weight = balanced_weights(train_counts).to(device) if class_weights == "balanced" else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits.float(), labels, weight=weight, label_smoothing=label_smoothing)

    return loss


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the plain cross entropy, comparable between trials of any smoothing or weights."""
    return cross_entropy(logits.float(), labels)
