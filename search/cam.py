"""Class activation maps of any backbone: which part of the image made the model say its class.

References:
    Selvaraju et al., Grad-CAM, ICCV 2017. Draelos & Carin, HiResCAM, 2020. Muhammad & Yeasin,
    Eigen-CAM, IJCNN 2020. The first two come from the grad-cam library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Heat = NDArray[np.float32]

MIN_MAP_SIDE = 3  # cells; a coarser map cannot show a place
_MIN_RANGE = 0.1  # of a map scaled to 0..1; a healthy one spans all of it


@dataclass(frozen=True)
class TargetLayer:
    """The layer whose output is read as a map, and how.

    Attributes:
        to_maps: Turns the layer's output into (B, C, h, w).
        maps: What the probed image gave, (C, h, w) float32.
    """

    layer: nn.Module
    to_maps: Callable[[Tensor], Tensor]
    maps: NDArray[np.float32]


def cam_heat(
    model: nn.Module, image: NDArray[np.uint8], class_index: int | None = None
) -> tuple[Heat, str]:
    """Return where the model looked for a class.

    Grad-CAM first; when its map comes out blank or constant, HiResCAM, then Eigen-CAM, which shows
    the strongest pattern whatever the class.

    Args:
        model: A classifier with `.backbone`, taking (B, 3, S, S) images in 0..255.
        image: (S, S, 3) RGB.
        class_index: The class to explain; the predicted one when None.

    Returns:
        (S, S) heat in 0..1, and the method that gave it: "Grad-CAM", "HiResCAM", "Eigen-CAM", or
        "none" with zero heat when every map is blank.
    """
    # Slow to import (it brings torchvision and matplotlib), and only this stage needs it.
    from pytorch_grad_cam import GradCAM, HiResCAM

    model.eval()
    device = next(model.parameters()).device
    images = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().to(device)
    target = find_target(model, images)
    if target is None:
        return np.zeros(image.shape[:2], dtype=np.float32), "none"
    for name, method in (("Grad-CAM", GradCAM), ("HiResCAM", HiResCAM)):
        heat = _gradient_heat(method, model, target, images, class_index)
        if not is_blank(heat):
            return heat, name
    heat = _eigen_heat(target.maps, len(image))
    if not is_blank(heat):
        return heat, "Eigen-CAM"
    return np.zeros(image.shape[:2], dtype=np.float32), "none"


def is_blank(heat: Heat) -> bool:
    """Tell whether a map shows no place: not finite, or the same everywhere."""
    return not bool(np.isfinite(heat).all()) or float(np.ptp(heat)) < _MIN_RANGE


def find_target(model: nn.Module, images: Tensor) -> TargetLayer | None:
    """Find the deepest layer of the backbone whose output is a map of the image.

    timm and our own CNNs name their stages in `feature_info`; the last is the rule, an earlier one
    when small images leave it too coarse. Token models are read before the last attention, where
    every token still counts. Without `feature_info`, the deepest module with a map is taken.

    Args:
        images: (1, 3, S, S) in 0..255, to probe the output shapes with.

    Returns:
        None when no layer gives a map of at least 3 × 3 cells.
    """
    backbone: Any = getattr(model, "backbone", model)
    candidates = list(_candidates(backbone))
    outputs = _probe(model, [layer for layer, _ in candidates], images)
    for (layer, num_channels), output in zip(candidates, outputs, strict=True):
        to_maps = _map_reader(backbone, output, num_channels)
        if to_maps is None or output is None:
            continue
        maps = to_maps(output)[0].float().cpu().numpy()
        if min(maps.shape[1:]) >= MIN_MAP_SIDE:
            return TargetLayer(layer, to_maps, maps)
    return None


def _candidates(backbone: Any) -> Iterator[tuple[nn.Module, int | None]]:
    """Yield layers that may give a map, best first, each with its number of channels if known."""
    blocks = getattr(backbone, "blocks", None)
    last: Any = blocks[-1] if isinstance(blocks, nn.Sequential | nn.ModuleList) else None
    if hasattr(last, "norm1"):
        yield last.norm1, getattr(backbone, "num_features", None)
    stages = getattr(backbone, "feature_info", None)
    if stages:
        for stage in reversed(list(stages)):
            yield backbone.get_submodule(stage["module"]), stage["num_chs"]
    else:
        for layer in reversed(list(backbone.modules())):
            yield layer, None


def _probe(model: nn.Module, layers: list[nn.Module], images: Tensor) -> list[Tensor | None]:
    """Run one image and return each layer's last output, None where it is not one tensor."""
    outputs: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[layer] = output.detach().clone()  # an in-place layer may follow

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [outputs.get(layer) for layer in layers]


def _map_reader(
    backbone: Any, output: Tensor | None, num_channels: int | None
) -> Callable[[Tensor], Tensor] | None:
    """Tell how to read a layer's output as (B, C, h, w), None when it is not a map."""
    if output is None:
        return None
    shape = tuple(output.shape)
    if len(shape) == 4:
        if shape[1] != num_channels and shape[3] == num_channels:
            return lambda maps: maps.permute(0, 3, 1, 2)
        return lambda maps: maps
    if len(shape) != 3:
        return None
    num_prefix = int(getattr(backbone, "num_prefix_tokens", 0))  # class and register tokens
    side = int((shape[1] - num_prefix) ** 0.5)
    if side == 0 or side * side != shape[1] - num_prefix:
        return None
    return lambda tokens: tokens[:, num_prefix:].transpose(1, 2).unflatten(2, (side, side))


def _gradient_heat(
    method: Callable[..., Any],
    model: nn.Module,
    target: TargetLayer,
    images: Tensor,
    class_index: int | None,
) -> Heat:
    """Run one method of the grad-cam library."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = method(model, [target.layer], reshape_transform=target.to_maps)
    targets = None if class_index is None else [ClassifierOutputTarget(class_index)]
    # A gradient must reach the layer even when every weight before it is frozen.
    try:
        heat = cam(images.clone().requires_grad_(), targets)[0]
    finally:
        cam.activations_and_grads.release()
        model.zero_grad(set_to_none=True)
    return np.asarray(heat, dtype=np.float32)


def _eigen_heat(maps: NDArray[np.float32], size_px: int) -> Heat:
    """Return the first principal component of the activations over places, (S, S) in 0..1."""
    flat = np.nan_to_num(maps.reshape(len(maps), -1).astype(np.float64))
    flat -= flat.mean(axis=1, keepdims=True)
    first = np.linalg.svd(flat, full_matrices=False)[2][0]
    if np.ptp(flat) < 1e-6:  # the same everywhere: its first component is rounding noise
        first = np.zeros_like(first)
    if -first.min() > first.max():  # the sign of a component is arbitrary: let the peak be warm
        first = -first
    heat = np.maximum(first, 0.0).reshape(maps.shape[1:])
    heat = cv2.resize(heat.astype(np.float32), (size_px, size_px))
    return np.asarray(heat / max(float(heat.max()), 1e-7), dtype=np.float32)
