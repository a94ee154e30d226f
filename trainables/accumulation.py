"""Gradients of a batch that need not fit in memory at once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.contract import SMALLEST_MICRO_BATCH
from trainables.freezing import norms_for
from trainables.losses import Loss
from trainables.memory import is_out_of_memory


@dataclass
class Gradients:
    """Runs the forward and backward passes of batches, in pieces where they do not fit.

    When a piece runs out of memory its batch begins again in pieces half as large, and so do all
    later ones. The gradient stays that of the whole batch, each piece weighing as much as its
    images do in the loss; only batch norm sees smaller batches.

    Attributes:
        micro_batch: Most images in a piece, None for whole batches.
    """

    model: nn.Module
    loss: Loss
    autocast: AbstractContextManager[None]
    micro_batch: int | None = None

    def add(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch's gradients to the parameters, which have none yet.

        Args:
            images: (B, 3, S, S).
            targets: (B,) int64, or (B, C) float32.

        Returns:
            The batch's mean loss () and logits (B, C), detached.

        Raises:
            RuntimeError: Not even three images fit, or another failure of torch.
        """
        while True:
            try:
                return self._add_pieces(images, targets)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                largest = min(self.micro_batch or len(images), len(images))
                if largest <= SMALLEST_MICRO_BATCH:
                    raise
            # Out of the handler, where the error no longer holds the tensors of its frames.
            self.micro_batch = max(-(-largest // 2), SMALLEST_MICRO_BATCH)
            for parameter in self.model.parameters():
                parameter.grad = None
            if images.is_cuda:
                torch.cuda.empty_cache()

    def _add_pieces(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        num_pieces = -(-len(images) // (self.micro_batch or len(images)))
        mass = self.loss.mass(targets)
        losses, logits = [], []
        pieces = zip(images.tensor_split(num_pieces), targets.tensor_split(num_pieces), strict=True)
        for piece, wanted in pieces:
            with self.autocast, norms_for(self.model, len(piece)):
                found = self.model(piece)
            value = self.loss(found, wanted)
            if num_pieces > 1:
                value = value * (self.loss.mass(wanted) / mass)
            value.backward()
            losses.append(value.detach())
            logits.append(found.detach())
        return torch.stack(losses).sum(), torch.cat(logits)
