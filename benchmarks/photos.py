"""Photos to measure with: drawn ones as large and as detailed as real ones, or a real folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from search.data.decode import Pixels
from search.data.rendered_cars import CLASSES, draw_image
from search.records import DatasetIndex

JPEG_QUALITY = 88
# Bits of a JPEG file per pixel decide how long it decodes. The drawn photos come to about 2.4, as
# did four sets of real photos of this quality, reduced to 256 px: 1.8, 2.4, 2.7 and 2.8.
_GRAIN = 13.0  # standard deviation of the texture, in grey levels
_OCTAVES = (1, 2, 4, 8)  # px; each as strong as the others, as in photos


def draw_photos(folder: Path, number: int, width_px: int, height_px: int) -> None:
    """Draw cars with photo-like texture, as JPEG files in one folder per class.

    Args:
        folder: Created; the same number and size always give the same images.
        number: Images in all, over as many classes as there are body styles.
        width_px, height_px: Size of each.
    """
    texture = _texture(2 * height_px, 2 * width_px)
    for i in range(number):
        style = CLASSES[i % len(CLASSES)]
        path = folder / style / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        car, _ = draw_image(style, i)
        rng = np.random.default_rng(i)
        top, left = rng.integers(height_px), rng.integers(width_px)
        grain = texture[top : top + height_px, left : left + width_px] * rng.uniform(0.4, 1.6)
        large = cv2.resize(car, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        _write_jpeg(path, np.clip(large + grain, 0, 255).astype(np.uint8))


def link_photos(folder: Path, index: DatasetIndex, number: int) -> None:
    """Link `number` images of an index, evenly spaced, into one folder per class."""
    for i in np.linspace(0, len(index.rows) - 1, min(number, len(index.rows))).astype(int):
        file = index.file(int(i))
        link = folder / index.rows[i].label / f"{i:06d}{file.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def bits_per_pixel(files: list[Path]) -> float:
    """Return the mean size of image files, in bits per pixel."""
    bits = 0
    pixels = 0
    for file in files:
        image = cv2.imread(str(file))
        bits += 8 * file.stat().st_size
        pixels += image.shape[0] * image.shape[1] if image is not None else 0
    return bits / max(pixels, 1)


def _texture(height_px: int, width_px: int) -> NDArray[np.float32]:
    """Return noise (H, W, 3) with as much detail at every scale, more in light than in colour."""
    rng = np.random.default_rng(0)
    total = np.zeros((height_px, width_px, 3), np.float32)
    for scale in _OCTAVES:
        shape = (height_px // scale + 1, width_px // scale + 1)
        light = rng.normal(0, 1, (*shape, 1)) + rng.normal(0, 0.3, (*shape, 3))
        total += cv2.resize(light.astype(np.float32), (width_px, height_px))
    return total * np.float32(_GRAIN / total.std())


def _write_jpeg(path: Path, image: Pixels) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    path.write_bytes(coded.tobytes())
