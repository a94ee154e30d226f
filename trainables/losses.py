"""The loss that is minimised, and the plain one that is reported for val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

EFFECTIVE_BETA = 0.999
SMALLEST_DOUBT = 1e-7


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


@dataclass(frozen=True, eq=False)
class Loss:
    """Cross entropy or focal loss of smoothed targets, a mean over the batch by weight.

    An image weighs as much as its class; of a mixed image, each share as much as the class it is
    of, so that the loss of a blend is the blend of the losses. What label smoothing spreads over
    the other classes weighs as much as the image it is taken from: with the weights of the classes
    it goes to, as torch's own cross entropy has it, rare classes would be favoured on every image.

    Attributes:
        weight: Of each class, (C,) float32, None for equal ones.
        gamma: Exponent of the focal loss, 0 for the cross entropy.
    """

    weight: Tensor | None
    label_smoothing: float
    gamma: float

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean (), float32.

        Args:
            logits: (B, C).
            targets: Labels (B,) int64, or shares (B, C) float32 that sum to 1 per image. Labels
                give the same mean as the shares that say the same.
        """
        if self.weight is None and not self.gamma:
            return cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)
        shares = self._weighted(targets, logits.shape[1])
        masses = shares.sum(1, keepdim=True)
        spread = masses * (self.label_smoothing / logits.shape[1])
        log_p = log_softmax(logits.float(), 1)
        terms = (shares * (1 - self.label_smoothing) + spread) * log_p
        if self.gamma:
            # Without a floor, the gradient of a power below 1 would be infinite where p is 1.
            terms = terms * (-torch.expm1(log_p)).clamp(min=SMALLEST_DOUBT) ** self.gamma
        return -terms.sum() / masses.sum()

    def mass(self, targets: Tensor) -> Tensor | int:
        """Return what the mean divides by: the number of images, or the sum of their weights."""
        if self.weight is None:
            return len(targets)
        return self._weighted(targets, len(self.weight)).sum()

    def _weighted(self, targets: Tensor, num_classes: int) -> Tensor:
        """Return the shares of the classes, each times its class's weight, (B, C) float32."""
        shares = targets if targets.ndim == 2 else one_hot(targets, num_classes).float()
        return shares if self.weight is None else shares * self.weight


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
    return Loss(weight, label_smoothing, focal_gamma if loss == "focal" else 0.0)


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the plain cross entropy, comparable between trials of any smoothing or weights."""
    return cross_entropy(logits.float(), labels)
