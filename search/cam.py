"""Class activation maps of any backbone: which part of the image made the model say its class.

References:
    Selvaraju et al., Grad-CAM, ICCV 2017. Draelos & Carin, HiResCAM, 2020. Zhang et al., Finer-CAM,
    CVPR 2025. Muhammad & Yeasin, Eigen-CAM, IJCNN 2020. All but the last come from the grad-cam
    library, or are made with it.
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
_MIN_SHARE_REACHED = 0.5  # of a map's places, by the gradient
_MIN_RANGE = 0.1  # of a map scaled to 0..1; a healthy one spans all of it
_CONTRAST = 0.6  # how much of the other class counts; Finer-CAM's own choice


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
    wanted = None if class_index is None else (lambda logits: logits[class_index])
    for name, method in (("Grad-CAM", GradCAM), ("HiResCAM", HiResCAM)):
        heat = _gradient_heat(method, model, target, images, wanted)
        if not is_blank(heat):
            return heat, name
    heat = _eigen_heat(target.maps, len(image))
    if not is_blank(heat):
        return heat, "Eigen-CAM"
    return np.zeros(image.shape[:2], dtype=np.float32), "none"


def contrast_heat(
    model: nn.Module, image: NDArray[np.uint8], class_index: int, other_index: int
) -> Heat | None:
    """Return where the model saw one class rather than another that it might have been.

    Finer-CAM: Grad-CAM of the difference of two logits, so that what look-alikes share drops out.

    Args:
        image: (S, S, 3) RGB.

    Returns:
        (S, S) heat in 0..1, None when the map is blank.
    """
    from pytorch_grad_cam import GradCAM

    model.eval()
    device = next(model.parameters()).device
    images = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().to(device)
    target = find_target(model, images)
    if target is None:
        return None

    def difference(logits: Tensor) -> Tensor:
        return logits[class_index] - _CONTRAST * logits[other_index]

    heat = _gradient_heat(GradCAM, model, target, images, difference)
    return None if is_blank(heat) else heat


def is_blank(heat: Heat) -> bool:
    """Tell whether a map shows no place: not finite, or the same everywhere."""
    return not bool(np.isfinite(heat).all()) or float(np.ptp(heat)) < _MIN_RANGE


def find_target(model: nn.Module, images: Tensor) -> TargetLayer | None:
    """Find the deepest layer of the backbone whose output is a map of the image.

    timm and our own CNNs name their stages in `feature_info`; the last is the rule, an earlier one
    when small images leave it too coarse. Token models are read before the last attention, where
    every token still counts. Where none of these gives a map (stages that hand on lists or token
    counts, none named at all), it is the last layer run whose places the answer hangs on.

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
    return _last_map(model, backbone, images)


def _candidates(backbone: Any) -> Iterator[tuple[nn.Module, int | None]]:
    """Yield layers that may give a map, best first, each with its number of channels if known."""
    blocks = getattr(backbone, "blocks", None)
    last: Any = blocks[-1] if isinstance(blocks, nn.Sequential | nn.ModuleList) else None
    if hasattr(last, "norm1"):
        yield last.norm1, getattr(backbone, "num_features", None)
    layers = dict(backbone.named_modules())
    for stage in reversed(list(getattr(backbone, "feature_info", None) or ())):
        if stage["module"] in layers:  # some name stages that only timm's own wrappers have
            yield layers[stage["module"]], stage["num_chs"]


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


def _last_map(model: nn.Module, backbone: nn.Module, images: Tensor) -> TargetLayer | None:
    """Find the last layer run that gives a map to whose places a gradient flows.

    Behind the last mixing of places it does not: a class token has left the others behind there.
    """
    found: list[tuple[nn.Module, Callable[[Tensor], Tensor], Tensor]] = []

    def keep(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            to_maps = _map_reader(backbone, output, None)
            if to_maps is not None and min(to_maps(output).shape[2:]) >= MIN_MAP_SIDE:
                found.append((layer, to_maps, output))

    handles = [layer.register_forward_hook(keep) for layer in backbone.modules()]
    try:
        with torch.enable_grad():
            best = model(images.clone().requires_grad_()).max()
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return None
    gradients = torch.autograd.grad(best, [output for *_, output in found], allow_unused=True)
    reached = [
        one
        for one, gradient in zip(found, gradients, strict=True)
        if gradient is not None and _share_reached(one[1](gradient)[0]) >= _MIN_SHARE_REACHED
    ]
    layer, to_maps, output = (reached or found)[-1]
    return TargetLayer(layer, to_maps, to_maps(output.detach())[0].float().cpu().numpy())


def _share_reached(gradient: Tensor) -> float:
    """Return the share of the places of a gradient (C, h, w) that it is not zero at."""
    return float((gradient != 0).any(0).float().mean())


def _map_reader(
    backbone: Any, output: Tensor | None, num_channels: int | None
) -> Callable[[Tensor], Tensor] | None:
    """Tell how to read the output for one square image as (1, C, h, w), None if it is no map.

    Args:
        num_channels: C where it is known; else it is the side that differs from two equal ones.
    """
    if output is None or len(output) != 1:  # windows come as so many images
        return None
    shape = tuple(output.shape)
    if len(shape) == 4:
        if num_channels is None:
            is_last = shape[1] == shape[2] != shape[3]
        else:
            is_last = shape[1] != num_channels and shape[3] == num_channels
        height, width = shape[1:3] if is_last else shape[2:]
        if height != width:  # heads of an attention, for one
            return None
        return (lambda maps: maps.permute(0, 3, 1, 2)) if is_last else (lambda maps: maps)
    if len(shape) != 3:
        return None
    known = int(getattr(backbone, "num_prefix_tokens", 0))  # class and register tokens
    for num_prefix in (known, 0, 1):  # some add theirs late, and some do not count it
        side = max(int(shape[1] - num_prefix), 0) ** 0.5
        if side >= 1 and side == int(side):
            return _token_reader(num_prefix, int(side))
    return None


def _token_reader(num_prefix: int, side: int) -> Callable[[Tensor], Tensor]:
    return lambda tokens: tokens[:, num_prefix:].transpose(1, 2).unflatten(2, (side, side))


def _gradient_heat(
    method: Callable[..., Any],
    model: nn.Module,
    target: TargetLayer,
    images: Tensor,
    wanted: Callable[[Tensor], Tensor] | None,
) -> Heat:
    """Run one method of the grad-cam library.

    Args:
        wanted: Of the logits (C,), what is explained; None for the largest.
    """
    cam = method(model, [target.layer], reshape_transform=target.to_maps)
    targets = None if wanted is None else [wanted]
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
