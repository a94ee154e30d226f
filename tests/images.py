"""Draws tiny image folders for tests: classes differ in colour and shape, no two images alike."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = ((220, 60, 40), (40, 90, 220), (60, 190, 70), (230, 190, 40), (160, 60, 200))


def make_folder(
    path: Path,
    classes: Sequence[str] = ("a", "b"),
    per_class: int = 12,
    size: tuple[int, int] = (40, 48),
    seed: int = 0,
    splits: Mapping[str, int] | None = None,
) -> Path:
    """Draw one folder of PNG files per class.

    Args:
        path: The root to create.
        classes: Folder names; the k-th class has the k-th colour, and shapes take turns.
        per_class: Images per class, without splits.
        size: Width and height in pixels.
        seed: Draws other images.
        splits: Split folder name -> images per class, such as {"train": 8, "test": 4}.

    Returns:
        `path`.
    """
    for split, number in (splits or {"": per_class}).items():
        for k, name in enumerate(classes):
            folder = path / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(number):
                rng = np.random.default_rng((seed, zlib.crc32(split.encode()), k, i))
                Image.fromarray(draw_image(k, size, rng)).save(folder / f"image_{i:03d}.png")
    return path


def draw_image(number: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image (H, W, 3) of class `number`: a coloured shape on coarse grey noise."""
    coarse = rng.integers(40, 200, (6, 6), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    width, height = size
    side = min(size) * rng.uniform(0.45, 0.7)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    box = (left, top, left + side, top + side)
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if number % 2 else draw.rectangle
    shape(box, fill=COLOURS[number % len(COLOURS)])
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
