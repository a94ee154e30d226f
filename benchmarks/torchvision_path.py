"""The alternative: torchvision's ImageFolder, Pillow and transforms.v2, as their docs combine them.

It is given every advantage that costs no quality: the crop comes first, so that all else works on
few pixels; images stay uint8, as ours do, and are normalised by neither. Where CPU is measured its
DataLoader has no worker, which would cost a tenth more; where waiting is, it has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from search.data.augment import ERASING_FROM


def torchvision_loader(
    folder: Path, *, size_px: int, strength: float, batch_size: int, num_workers: int
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Return shuffled batches (B, 3, S, S) uint8 of a folder per class, augmented like ours."""
    transform = v2.Compose(transforms(size_px, strength))
    return DataLoader(
        ImageFolder(folder, transform),
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
    )


def transforms(size_px: int, strength: float) -> list[torch.nn.Module]:
    """Return the transforms nearest to ours at a strength; the ranges are those of augment.py."""
    s, smooth = strength, InterpolationMode.BILINEAR
    if s == 0:
        return [v2.Resize(size_px), v2.CenterCrop(size_px), v2.PILToTensor()]
    changes: list[torch.nn.Module] = [
        v2.RandomResizedCrop(
            size_px, scale=(1 - 0.65 * s, 1), ratio=(math.exp(-0.3 * s), math.exp(0.3 * s))
        ),
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(
            degrees=15 * s,
            translate=(0.06 * s, 0.06 * s),
            shear=math.degrees(math.atan(0.15 * s)),
            interpolation=smooth,
        ),
        v2.ColorJitter(brightness=0.2 * s, contrast=0.4 * s, saturation=0.5 * s),
        v2.PILToTensor(),
    ]
    if s >= ERASING_FROM:
        changes.append(v2.RandomErasing(p=0.5 * s, scale=(0.02, 0.2), ratio=(0.3, 3.3)))
    return changes


def build_with_pillow(
    files: Sequence[Path], store: Path, side_px: int, *, resample: Resampling, draft: bool
) -> None:
    """Decode, resize and store squares the plain way.

    Args:
        files: Images.
        store: File of (N, S, S, 3) uint8 to write.
        side_px: Side S.
        resample: Filter; `Image.resize` alone takes BICUBIC, torchvision BILINEAR.
        draft: Let libjpeg decode at reduced scale, which few people know to ask Pillow for.
    """
    shape = (len(files), side_px, side_px, 3)
    squares = np.lib.format.open_memmap(store, "w+", np.uint8, shape)
    for k, file in enumerate(files):
        with Image.open(file) as image:
            if draft:
                image.draft("RGB", (side_px, side_px))
            rgb = image.convert("RGB")
        side = min(rgb.size)
        left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
        box = (left, top, left + side, top + side)
        squares[k] = rgb.resize((side_px, side_px), resample, box)
    squares.flush()
