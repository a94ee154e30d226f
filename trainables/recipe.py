"""The parts that every trainable builds alike from its hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainables.losses import Loss, make_loss
from trainables.optim import Schedule, make_optimizer

Params = Mapping[str, Any]


def build_optimizer(params: Params, model: nn.Module) -> Optimizer:
    """Build the optimizer of `params` over the parameters that require a gradient."""
    return make_optimizer(
        model,
        params["optimizer"],
        params["lr"],
        params["momentum"],
        params["weight_decay"],
        params.get("layer_decay", 1.0),
    )


def build_schedule(params: Params, optimizer: Optimizer) -> Schedule:
    """Build the learning-rate schedule of `params`."""
    return Schedule(
        optimizer, params["schedule"], params["lr"], params["momentum"], params["warmup_fraction"]
    )


def build_loss(params: Params, train_counts: Sequence[int], device: str) -> Loss:
    """Build the training loss of `params`; classes are weighted by how often they are drawn."""
    is_balanced = params["sampler"] == "balanced"
    return make_loss(
        label_smoothing=params["label_smoothing"],
        class_weights="none" if is_balanced else params["class_weights"],
        train_counts=train_counts,
        device=device,
        loss=params["loss"],
        focal_gamma=params["focal_gamma"],
    )
