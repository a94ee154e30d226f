"""Optimizers, and learning-rate schedules as pure functions of a training's progress."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_MOMENTUM_DROP = 0.1
STEP_AT = (0.5, 0.75)


def make_optimizer(
    model: nn.Module, optimizer: str, lr: float, momentum: float, weight_decay: float
) -> Optimizer:
    """Build an optimizer over the parameters that require a gradient.

    Biases, norm layers and what the backbone itself exempts (position tables, class tokens) are
    not decayed. `momentum` counts for sgd (Nesterov when > 0) and rmsprop. Weight decay is
    decoupled in adamw; elsewhere it is an L2 term of the gradient, as these optimizers were
    published, so its good values differ from one to the other.

    Args:
        model: The network, frozen parameters already marked.
        optimizer: "sgd", "adam", "adamw", "rmsprop" or "nadam".
        lr: Peak learning rate.
        momentum: In 0..1.
        weight_decay: Of the decayed parameters.

    References:
        He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks",
        CVPR 2019, section 3.1, for not decaying biases and norm layers.
    """
    groups = [
        {"params": params, "weight_decay": decay}
        for params, decay in zip(_split_by_decay(model), (weight_decay, 0.0), strict=True)
        if params
    ]
    match optimizer:
        case "sgd":
            return SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)
        case "adam":
            return Adam(groups, lr=lr, fused=True)
        case "adamw":
            return AdamW(groups, lr=lr, fused=True)
        case "rmsprop":
            return RMSprop(groups, lr=lr, momentum=momentum)
        case "nadam":
            return NAdam(groups, lr=lr)
    raise ValueError(f"optimizer: must be sgd, adam, adamw, rmsprop or nadam, got {optimizer!r}.")


def _split_by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters that are decayed, and those that are not."""
    backbone = getattr(model, "backbone", None)
    own: set[str] = getattr(backbone, "no_weight_decay", set)()
    exempt = {f"backbone.{name}" for name in own}
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            skip = parameter.ndim <= 1 or name.endswith(".bias") or name in exempt
            (plain if skip else decayed).append(parameter)
    return decayed, plain


def lr_factor(progress: float, schedule: str, warmup_fraction: float) -> float:
    """Return the learning rate at a moment of the training, as a share of its peak.

    Args:
        progress: Share of the schedule that is done, 0..1.
        schedule: "cosine", "one_cycle", "step" (a tenth from 50 %, a hundredth from 75 %) or
            "constant", each after its warm-up.
        warmup_fraction: Share spent rising: linearly from 0, or by a cosine from 1/25 in
            one_cycle.

    References:
        cosine: Loshchilov & Hutter, "SGDR", ICLR 2017. one_cycle: Smith & Topin,
        "Super-Convergence", 2018, in the two-cosine form fastai gave it. step: He et al., "Deep
        Residual Learning", CVPR 2016, section 4.2. Warm-up: Goyal et al., "Accurate, Large
        Minibatch SGD", 2017.
    """
    if progress < warmup_fraction:
        risen = progress / warmup_fraction
        if schedule == "one_cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - _cosine(risen))
        return risen
    match schedule:
        case "cosine" | "one_cycle":
            return _cosine((progress - warmup_fraction) / (1 - warmup_fraction))
        case "step":
            return math.prod(0.1 for at in STEP_AT if progress >= at)
        case "constant":
            return 1.0
    raise ValueError(f"schedule: must be cosine, one_cycle, step or constant, got {schedule!r}.")


def _cosine(share: float) -> float:
    """Fall from 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass(frozen=True)
class Schedule:
    """Sets the learning rate of every step. It has no state: a resumed training just goes on.

    Attributes:
        lr: Peak learning rate.
        momentum: Of sgd and rmsprop, at its highest; one_cycle lowers it by up to 0.1 while the
            learning rate is high. Adam's and its kin's first beta is cycled from 0.95 instead.
    """

    optimizer: Optimizer
    schedule: str
    lr: float
    momentum: float
    warmup_fraction: float

    def set(self, progress: float) -> None:
        """Set learning rate (and momentum) for `progress` in 0..1."""
        factor = lr_factor(progress, self.schedule, self.warmup_fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
            if self.schedule == "one_cycle":
                self._cycle_momentum(group, factor)

    def _cycle_momentum(self, group: dict[str, Any], factor: float) -> None:
        drop = ONE_CYCLE_MOMENTUM_DROP * factor
        if "betas" in group:
            group["betas"] = (0.95 - drop, group["betas"][1])
        elif self.momentum > 0:
            group["momentum"] = max(self.momentum - drop, 0.0)


def clip_gradients(parameters: Iterable[nn.Parameter], largest_norm: float) -> None:
    """Scale the gradients down so that their norm is at most `largest_norm`; 0 leaves them."""
    if largest_norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, largest_norm)
