"""The temperature that would make a model's confidences true, found while val is judged."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-6, 7))
"""1/8 to 8, at which the loss is summed."""


class TemperatureFit:
    """Sums the loss of val at several temperatures, batch by batch: no logits are kept.

    Temperature scaling divides all logits by one number: which class is likeliest stays, how sure
    the model is of it changes.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """

    def __init__(self, device: str) -> None:
        self._norms = torch.zeros(len(TEMPERATURES), device=device)
        self._own = torch.zeros((), device=device)
        self._mean = torch.zeros((), device=device)
        self._num_images = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (B, C), labels (B,) int64."""
        rows = logits.float()
        # Logits that lie far from 0 all together would lose digits in the sums.
        rows = rows - rows.max(dim=1, keepdim=True).values
        self._norms += torch.stack([(rows / t).logsumexp(1).sum() for t in TEMPERATURES])
        self._own += rows.gather(1, labels[:, None]).sum()
        self._mean += rows.mean(1).sum()
        self._num_images += len(labels)

    def best(self) -> float:
        """Return the temperature with the least loss, between those tried by a parabola.

        One image more is counted whose class is anybody's guess (Laplace's rule of succession), so
        that a model without a mistake on few images is not told to be certain.
        """
        wanted = float(self._own) + float(self._mean) / max(self._num_images, 1)
        share = 1 + 1 / max(self._num_images, 1)
        norms = self._norms.double().tolist()
        losses = [share * n - wanted / t for n, t in zip(norms, TEMPERATURES, strict=True)]
        k = min(max(min(range(len(losses)), key=losses.__getitem__), 1), len(losses) - 2)
        left, middle, right = losses[k - 1 : k + 2]
        bend = left - 2 * middle + right
        shift = (left - right) / (2 * bend) if bend > 0 else 0.0
        step = math.log(TEMPERATURES[1] / TEMPERATURES[0])
        best: float = TEMPERATURES[k] * math.exp(step * min(max(shift, -1.0), 1.0))
        return best
