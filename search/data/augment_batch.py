"""The policy of `augment.py` on a whole batch at once, where the batch is: on a GPU.

The same draws give the same images as there, up to rounding: OpenCV rounds after each change.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from search.data.augment import Floats, plan_changes, shrink_filter
from trainables.contract import Augmentation


def augment_batch(
    images: Tensor, size_px: int, augmentation: Augmentation, draws: Floats
) -> Tensor:
    """Return randomly changed copies of stored squares, on the device where those are.

    Args:
        images: (B, R, R, 3) uint8 RGB.
        size_px: Side S of the output.
        draws: (B, n) in 0..1, from `augment.image_draws`.

    Returns:
        (B, 3, S, S) uint8 RGB in channels-last memory order.
    """
    changes = plan_changes(augmentation, draws, images.shape[1], size_px)
    side_px = size_px if changes.windows is None else changes.side_px
    pixels = _shrink(images.float(), side_px).permute(0, 3, 1, 2)
    if changes.windows is not None:
        pixels = _warp(pixels, size_px, changes.windows)
    if changes.colours is not None:
        pixels = _recolour(pixels, _send(changes.colours, images))
    pixels = pixels.round().clamp(0, 255).to(torch.uint8)
    if changes.patches is not None:
        _erase(pixels, _send(changes.patches, images), _send(changes.fills, images))
    return pixels.contiguous(memory_format=torch.channels_last)


def _send(values: NDArray[np.generic], images: Tensor) -> Tensor:
    kind = np.float32 if values.dtype == np.float64 else values.dtype
    return torch.from_numpy(values.astype(kind)).to(images.device, non_blocking=True)


def _shrink(pixels: Tensor, side_px: int) -> Tensor:
    """Shrink (B, R, R, 3) to (B, S, S, 3) with `augment.shrink_filter`, and round."""
    stored_px = pixels.shape[1]
    if stored_px == side_px:
        return pixels
    weights = _send(_filter_weights(stored_px, side_px), pixels)
    rows = (weights @ pixels.flatten(2)).unflatten(2, (stored_px, 3))
    return torch.matmul(weights, rows).round()


def _filter_weights(stored_px: int, side_px: int) -> Floats:
    """Return what each of R pixels in a row gives to each of S, (S, R)."""
    scale = stored_px / side_px
    cells = np.arange(stored_px)
    if shrink_filter(scale) == cv2.INTER_AREA:
        edges = np.arange(side_px + 1) * scale
        overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.asarray(overlap.clip(0) / scale)
    centres = (np.arange(side_px) + 0.5) * scale - 0.5
    return np.asarray((1 - np.abs(centres[:, None] - cells)).clip(0))


def _warp(pixels: Tensor, size_px: int, windows: Floats) -> Tensor:
    """Warp (B, 3, R, R) by maps in pixels (B, 2, 3) into (B, 3, S, S)."""
    # From pixel numbers to torch's -1 (centre of the first pixel) to 1 (of the last).
    side_px = pixels.shape[2]
    theta = windows * (size_px - 1) / (side_px - 1)
    middle = windows[:, :, :2].sum(axis=2) * (size_px - 1) / 2 + windows[:, :, 2]
    theta[:, :, 2] = middle * 2 / (side_px - 1) - 1
    shape = [len(pixels), 3, size_px, size_px]
    grid = affine_grid(_send(theta, pixels), shape, align_corners=True)
    # Reflection about the centres of the outermost pixels is OpenCV's BORDER_REFLECT_101.
    return grid_sample(pixels, grid, "bilinear", "reflection", align_corners=True)


def _recolour(pixels: Tensor, matrices: Tensor) -> Tensor:
    mixed = torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], pixels.flatten(2))
    return mixed.view_as(pixels)


def _erase(pixels: Tensor, patches: Tensor, fills: Tensor) -> None:
    place = torch.arange(pixels.shape[2], device=pixels.device)
    top, bottom, left, right = patches[:, :, None].unbind(1)
    rows = (place >= top) & (place < bottom)
    columns = (place >= left) & (place < right)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    torch.where(inside, fills[:, :, None, None], pixels, out=pixels)
