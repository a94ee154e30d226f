"""Mixup and CutMix: training on blends of two images, with targets blended alike.

References:
    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", ICCV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class Mixing:
    """Mixes the images of each training batch with one another.

    Attributes:
        mixup: α of the Beta(α, α) that mixup draws its share from; 0 is off.
        cutmix: Likewise of CutMix. With both on, each batch goes through one of them, by a coin.
        num_classes: C of the targets.
        seed: Of the training. What happens to a batch follows from (seed, epoch, step) alone, so
            that a resumed training mixes as it would have.
    """

    mixup: float
    cutmix: float
    num_classes: int
    seed: int

    def mix(self, images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return a mixed batch, on the device where it is.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            labels: (B,) int64.

        Returns:
            The arguments themselves when both are off; else images (B, 3, S, S), uint8 after
            CutMix and float32 in 0..255 after mixup, and targets (B, C) float32 summing to 1.
        """
        if not (self.mixup or self.cutmix):
            return images, labels
        # The 1 keeps it apart from what (seed, epoch, image) draws for the augmentation.
        rng = np.random.default_rng((self.seed, epoch, step, 1))
        cuts = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = rng.beta(alpha, alpha)
        partner = torch.from_numpy(rng.permutation(len(labels))).to(images.device)
        if cuts:
            top, bottom, left, right = cut_box(images.shape[2], share, rng)
            images = images.clone()
            images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / images.shape[2] ** 2
        else:
            pixels = images.float()
            images = pixels.lerp(pixels[partner], 1 - share)
        targets = one_hot(labels, self.num_classes).float()
        return images, targets.lerp(targets[partner], 1 - share)


def cut_box(size_px: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Place the square that CutMix takes from the partner: its centre is anywhere in the image.

    What hangs over the edge is cut off, so that it covers at most 1 - share of the area.

    Returns:
        Top, bottom, left and right in pixels, bottom and right exclusive.
    """
    half = np.sqrt(1 - share) * size_px / 2
    y, x = rng.uniform(0, size_px, 2)
    ends = np.rint([y - half, y + half, x - half, x + half]).clip(0, size_px)
    top, bottom, left, right = ends.astype(int).tolist()
    return top, bottom, left, right
