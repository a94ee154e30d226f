"""Freeze policies: what of a pretrained backbone stays as it came, and how long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from trainables.own_cnns import OwnCNN
from trainables.quick_timm import timm

NUM_STAGES = 4


def freeze_layers(backbone: nn.Module, policy: str, trained_stages: int = 1) -> None:
    """Stop the gradients of the layers that a policy keeps for good.

    Args:
        backbone: A timm model without classifier; own CNNs come with nothing worth keeping, so
            no policy applies to them.
        policy: "none", "early_stages" (train the last stages only), "backbone" (train nothing of
            it, only the head), or "gradual", which keeps nothing for good.
        trained_stages: How many "early_stages" trains, of four.
    """
    if policy in ("none", "gradual") or isinstance(backbone, OwnCNN):
        return
    keeps_some = policy == "early_stages"
    trained = last_stages(backbone, trained_stages) if keeps_some else frozenset()
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in trained)


def thawing_parameters(backbone: nn.Module, policy: str) -> tuple[nn.Parameter, ...]:
    """Return the parameters that "gradual" keeps at first and trains later, none for the others."""
    if policy != "gradual" or isinstance(backbone, OwnCNN):
        return ()
    return tuple(parameter for parameter in backbone.parameters() if parameter.requires_grad)


def last_stages(backbone: Any, count: int = 1) -> frozenset[str]:
    """Return the names of the parameters in the last quarters of a timm model's layer groups.

    One is the last of four stages in ResNet, ConvNeXt or Swin, the blocks at the lowest
    resolution in MobileNet and EfficientNet, and the last three of twelve blocks in a ViT-Tiny;
    in each case with the norms and convolutions after them. The stem is never among them.

    Args:
        count: Quarters, 1 to 3.
    """
    matcher = backbone.group_matcher(coarse=True)
    groups = timm.models.group_parameters(backbone, matcher, reverse=True)
    num_groups = max(groups.values())  # not counting group 0, the stem
    first = num_groups - math.ceil(num_groups * count / NUM_STAGES) + 1
    return frozenset(name for name, group in groups.items() if group >= first)


def set_training_mode(model: nn.Module) -> None:
    """Put a model into training mode, except its frozen parts.

    A frozen module stays in eval mode with everything inside, so its batch-norm statistics do not
    move and its dropout and drop-path are off. Where the model says `keeps_statistics`, all batch
    norms of its backbone normalise by the statistics they came with; their scales and shifts train.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not _any_trained(parameters):
            module.eval()
    if getattr(model, "keeps_statistics", False):
        for module in model.get_submodule("backbone").modules():
            if _has_statistics(module):
                module.eval()


@contextmanager
def norms_for(model: nn.Module, num_images: int) -> Iterator[None]:
    """Forward this many images in training mode; a lone one is normalised by running statistics.

    It has none of its own: batch norm refuses it where its map is one cell.
    """
    moved = [m for m in model.modules() if num_images == 1 and m.training and _has_statistics(m)]
    for module in moved:
        module.eval()
    try:
        yield
    finally:
        for module in moved:
            module.train()


def _has_statistics(module: nn.Module) -> bool:
    """Tell whether a layer itself keeps a running average: batch norm of any kind, EvoNorm-B."""
    own = dict(module.named_buffers(recurse=False))
    return "running_var" in own


def _any_trained(parameters: Iterable[nn.Parameter]) -> bool:
    return any(parameter.requires_grad for parameter in parameters)
