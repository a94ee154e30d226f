"""Networks that take raw images: an own CNN or any timm model, with its normalisation and head."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from inspect import isfunction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.contract import WeightsError
from trainables.heads import build_head
from trainables.lean import replace_relu6
from trainables.own_cnns import OwnCNN
from trainables.parameters import OWN_BACKBONES
from trainables.pointwise import replace_strided_pointwise
from trainables.quick_timm import timm

HALF = (0.5, 0.5, 0.5)
NUM_KEYS_SHOWN = 5


class Classifier(nn.Module):
    """A backbone and a head behind their own normalisation.

    Training, prediction, export and Grad-CAM all call this module, so none of them can normalise
    differently.

    Args:
        backbone: Maps normalised images (B, 3, S, S) to features (B, F).
        head: Maps features to logits (B, C); its last layer is linear.
        mean, std: Per channel, of images scaled to 0..1.
        keeps_statistics: Whether the backbone's batch norms keep their statistics in training
            (trainables/freezing.py).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Sequential,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        keeps_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.keeps_statistics = keeps_statistics
        last = head[-1]
        assert isinstance(last, nn.Linear)
        self.num_classes = last.out_features
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S), uint8 or float in 0..255, to what the backbone expects."""
        return torch.addcmul(-self.mean / self.std, images.float(), 1 / (255 * self.std))

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, F) of images (B, 3, S, S), uint8 or float in 0..255."""
        features: Tensor = self.backbone(self.normalise(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, C) of images (B, 3, S, S), uint8 or float in 0..255."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build_classifier(
    params: Mapping[str, Any], num_classes: int, size_px: int, weights: Path | None = None
) -> Classifier:
    """Build the network that `params` describes, in channels-last memory order.

    Args:
        params: Complete hyperparameters; backbone, hidden_units and dropout are read here, depth,
            width and kernel_size for the own CNNs, drop_path and norm_statistics for others.
        num_classes: Number of logits C.
        size_px: Side S of the square images.
        weights: Pretrained weights of a timm backbone, None for random ones.

    Raises:
        ValueError: The backbone is unknown, or cannot take images of this size.
        WeightsError: The weights are damaged, or of another architecture.
    """
    name = str(params["backbone"])
    keeps_statistics = False
    backbone: Any
    if name in OWN_BACKBONES:
        backbone = OwnCNN(
            depth=params["depth"],
            width=params["width"],
            kernel_size=params["kernel_size"],
            size_px=size_px,
            separable=name == "separable_cnn",
        )
        num_features = backbone.num_features
        mean = std = HALF
    else:
        backbone, num_features = _timm_backbone(name, size_px, params.get("drop_path", 0.0))
        mean, std = backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"]
        keeps_statistics = params.get("norm_statistics") == "frozen"
        if weights is not None:
            load_backbone_weights(backbone, name, weights)
    head = build_head(
        num_features, num_classes, hidden_units=params["hidden_units"], dropout=params["dropout"]
    )
    model = Classifier(backbone, head, mean, std, keeps_statistics)
    return model.to(memory_format=torch.channels_last)


def _timm_backbone(name: str, size_px: int, drop_path: float) -> tuple[Any, int]:
    """Create a timm model without its classifier; return it and its number of features."""
    if drop_path and not has_drop_path(name):
        raise ValueError(
            f"drop_path: must be 0 with {name}, which has no paths to drop, got {drop_path}. "
            "Leave it out there: a space file does so by `when: {backbone: …}`."
        )
    try:
        cfg = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:
        cfg = None
    if cfg is None:
        raise ValueError(
            f"backbone: must be {', '.join(OWN_BACKBONES)} or a timm model name, got {name!r}. "
            "timm.list_models() lists the names, timm.list_pretrained() those with tags."
        )
    # Models with position tables are built for one size; the others find out from the image.
    options: dict[str, Any] = {"img_size": size_px} if cfg.fixed_input_size else {}
    if drop_path:
        options["drop_path_rate"] = drop_path
    try:
        backbone = timm.create_model(name, num_classes=0, **options).eval()
        with torch.inference_mode():
            features = backbone(torch.zeros(1, 3, size_px, size_px))
    except (RuntimeError, ValueError, AssertionError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"backbone {name}: cannot take images of {size_px} × {size_px} px ({_brief(error)}). "
            f"Use {cfg.input_size[-1]} px, or another backbone."
        ) from error
    if features.ndim != 2:
        raise ValueError(
            f"backbone {name}: must give one feature vector per image, got an output of shape "
            f"{tuple(features.shape)}. Use another backbone."
        )
    replace_relu6(backbone)
    replace_strided_pointwise(backbone)
    return backbone, features.shape[1]


@cache
def has_drop_path(name: str) -> bool:
    """Tell whether a timm model has residual paths that can be dropped."""
    try:
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0, drop_path_rate=0.5)
    except (TypeError, RuntimeError, AssertionError):
        return False
    return any(getattr(module, "drop_prob", None) for module in model.modules())


def load_backbone_weights(backbone: Any, name: str, path: Path) -> None:
    """Load a weights file of the whole network into a timm backbone; its classifier is left out.

    Position tables are resampled to the backbone's image size by timm's own filters.

    Args:
        backbone: A timm model built with num_classes=0.
        name: Its name, for messages.
        path: A .safetensors file or a torch checkpoint, with timm key names.

    Raises:
        WeightsError: The file is missing, damaged, or has other keys or shapes than the backbone.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path}: must be a file, found none. Check the folder.")
    try:
        state = timm.models.load_state_dict(str(path), device="cpu")
    except Exception as error:  # safetensors, zip and pickle readers each raise their own kinds
        raise WeightsError(
            f"weights {path}: must be a safetensors file or a torch checkpoint of plain tensors, "
            f"could not be read ({_brief(error)}). Fetch it again."
        ) from error
    state = _fitting(backbone, state, path, name)
    backbone.load_state_dict(state)


def _fitting(backbone: Any, state: dict[str, Tensor], path: Path, name: str) -> dict[str, Tensor]:
    """Return the state without its classifiers, converted by timm where it does not fit as it is.

    Raises:
        WeightsError: Converted or not, it is not this backbone's.
    """
    expected = backbone.state_dict()
    closest: list[str] | None = None
    for fitting in _readings(backbone, state, name):
        kept = {k: v for k, v in fitting.items() if k in expected or k not in _whole_keys(name)}
        differences = _differences(expected, kept)
        if not differences:
            return kept
        if closest is None or len(differences) <= len(closest):
            closest = differences
    assert closest is not None
    shown = "; ".join(closest[:NUM_KEYS_SHOWN])
    more = len(closest) - NUM_KEYS_SHOWN
    raise WeightsError(
        f"weights {path}: must be of the architecture {name}, differs in {shown}"
        + (f" and {more} more" if more > 0 else "")
        + f". Put the weights of {name} there, or choose another backbone."
    )


def _readings(backbone: Any, state: dict[str, Tensor], name: str) -> Iterator[dict[str, Tensor]]:
    """Yield a state as it is, then as each of the family's own filters converts it."""
    yield state
    homes = (type(backbone).__module__, timm.model_entrypoint(name.partition(".")[0]).__module__)
    filters = {
        function: None
        for home in homes
        for key, function in vars(sys.modules[home]).items()
        if "filter" in key and isfunction(function)
    }
    for convert in filters:
        converted = None
        # They assume keys of their own architecture: on others they raise anything.
        with suppress(Exception):
            converted = convert(dict(state), backbone)
        if converted is not None:
            yield converted


@cache
def _whole_keys(name: str) -> frozenset[str]:
    """Return the keys of a timm model with its own classifiers, of which some have several."""
    try:
        with torch.device("meta"):
            whole = timm.create_model(name, num_classes=2)
    except RuntimeError:  # it computes with its weights while it is built
        whole = timm.create_model(name, num_classes=2)
    return frozenset(whole.state_dict())


def _differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Name every key that is missing, unexpected or of another shape, in network order."""
    missing = [f"no {key}" for key in expected if key not in state]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    return missing + shapes + [f"unexpected {key}" for key in state if key not in expected]


def _brief(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
