"""Optimizers, and learning-rate schedules as pure functions of a training's progress."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

from trainables.parameters import OPTIMIZERS, OPTIMIZERS_WITH_MOMENTUM
from trainables.quick_timm import timm

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_MOMENTUM_DROP = 0.1
LEAST_MOMENTUM = 0.1  # of what it is at its highest
STEP_AT = (0.5, 0.75)


def make_optimizer(
    model: nn.Module,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    layer_decay: float = 1.0,
) -> Optimizer:
    """Build an optimizer over the parameters that require a gradient.

    Biases, norm layers and what the backbone itself exempts (position tables, class tokens) are
    not decayed. `momentum` counts for sgd (Nesterov when > 0), rmsprop, lars and sgdw. Weight
    decay is decoupled in adamw; elsewhere mostly an L2 term of the gradient, as these optimizers
    were published, so its good values differ from one to the other.

    Args:
        model: The network, frozen parameters already marked.
        optimizer: One of OPTIMIZERS: torch's sgd, adam, adamw, rmsprop and nadam, others of timm.
        lr: Peak learning rate.
        momentum: In 0..1.
        weight_decay: Of the decayed parameters.
        layer_decay: Each layer of a timm backbone learns at this share of the rate of the one after
            it; the head at the full rate.

    References:
        Clark et al., "ELECTRA", ICLR 2020, and Bao et al., "BEiT", ICLR 2022, for layer_decay.
        He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks",
        CVPR 2019, section 3.1, for not decaying biases and norm layers.
    """
    groups = _groups(model, weight_decay, layer_decay)
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
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: must be {', '.join(OPTIMIZERS)}, got {optimizer!r}.")
    # It configures torch's compiler as it is imported, and with that imports it.
    from timm.optim._optim_factory import create_optimizer_v2

    own: dict[str, Any] = {"momentum": momentum} if optimizer in OPTIMIZERS_WITH_MOMENTUM else {}
    if optimizer == "sgdw":
        own["nesterov"] = momentum > 0
    return create_optimizer_v2(groups, opt=optimizer, lr=lr, weight_decay=0.0, **own)


def _groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Group the trainable parameters by weight decay and rate, the decayed ones first."""
    scales = _layer_scales(getattr(model, "backbone", None), layer_decay)
    backbone = getattr(model, "backbone", None)
    own: set[str] = getattr(backbone, "no_weight_decay", set)()
    exempt = {f"backbone.{name}" for name in own}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            skip = parameter.ndim <= 1 or name.endswith(".bias") or name in exempt
            groups[skip, scales.get(name.removeprefix("backbone."), 1.0)].append(parameter)
    # By falling rate, so that the first group's rate is the head's.
    return [
        {"params": params, "weight_decay": 0.0 if skip else weight_decay, "lr_scale": scale}
        for (skip, scale), params in sorted(groups.items(), key=lambda item: (-item[0][1], item[0]))
    ]


def _layer_scales(backbone: Any, layer_decay: float) -> dict[str, float]:
    """Return each backbone parameter's share of the learning rate; those left out have 1."""
    if layer_decay == 1.0 or not hasattr(backbone, "group_matcher"):
        return {}
    matcher = backbone.group_matcher(coarse=False)
    layers = timm.models.group_parameters(backbone, matcher, reverse=True)
    num_layers = max(layers.values()) + 1
    return {name: layer_decay ** (num_layers - layer) for name, layer in layers.items()}


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
            group["lr"] = self.lr * factor * group["lr_scale"]
            if self.schedule == "one_cycle":
                self._cycle_momentum(group, factor)

    def _cycle_momentum(self, group: dict[str, Any], factor: float) -> None:
        drop = ONE_CYCLE_MOMENTUM_DROP * factor
        if "betas" in group:
            group["betas"] = (0.95 - drop, *group["betas"][1:])  # Adan has three
        elif self.momentum > 0:
            # Never to zero: optimizers keep no buffer without momentum, and miss it afterwards.
            group["momentum"] = max(self.momentum - drop, LEAST_MOMENTUM * self.momentum)


def clip_gradients(parameters: Iterable[nn.Parameter], largest_norm: float) -> None:
    """Scale the gradients down so that their norm is at most `largest_norm`; 0 leaves them."""
    if largest_norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, largest_norm)
