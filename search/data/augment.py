"""Random changes to training images, driven by one number.

What `strength` s (0..1) does to each image, drawn anew for every image and epoch:

| change | range |
|---|---|
| zoom | window of 1 - 0.65 s to 1 of the area, anywhere in the image |
| aspect | width : height of the window times exp(±0.3 s) |
| horizontal flip | half of the images, at any s > 0 |
| rotation, shear, shift | ±15° s, ±0.15 s, ±6 % s of the side |
| brightness, contrast | ±20 % s of full scale, 1 ± 0.4 s |
| channel gain, saturation | 1 ± 0.1 s, 1 ± 0.5 s |
| erasing | from s = 0.5: one rectangle of 2 to 20 % of the area, in 50 % s of the images |

Strength 0 is exactly the evaluation transform: the whole square, shrunk. Zoom, aspect, flip,
rotation, shear and shift are one affine warp straight from the stored square to the output; the
colour changes are one 3×4 matrix per image. Everything stays uint8.

References:
    Szegedy et al. 2015, Going deeper with convolutions (random resized crop).
    Zhong et al. 2017, Random erasing data augmentation.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from search.data.decode import Pixels

_LUMA = np.array([0.299, 0.587, 0.114])
_MIDDLE_GREY = 128.0
_NUM_DRAWS = 22
ERASING_FROM = 0.5


def augment(image: Pixels, out: Pixels, strength: float, rng: np.random.Generator) -> None:
    """Write a randomly changed copy of an image.

    Args:
        image: (R, R, 3) uint8 RGB, the stored square.
        out: (S, S, 3) uint8, contiguous; overwritten.
        strength: 0 (none) to 1 (strong).
        rng: Source of this image's randomness.
    """
    if strength <= 0:
        evaluation_transform(image, out)
        return
    draws = rng.random(_NUM_DRAWS)
    cv2.warpAffine(
        image,
        _window(draws, image.shape[0], out.shape[0], strength),
        (out.shape[1], out.shape[0]),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    cv2.transform(out, _colour(draws[9:15], strength), dst=out)
    if strength >= ERASING_FROM and draws[15] < 0.5 * strength:
        _erase(out, draws[16:22])


def evaluation_transform(image: Pixels, out: Pixels) -> None:
    """Shrink the whole stored square (R, R, 3) into `out` (S, S, 3)."""
    if image.shape == out.shape:
        np.copyto(out, image)
    else:
        size = (out.shape[1], out.shape[0])
        cv2.resize(image, size, dst=out, interpolation=cv2.INTER_AREA)


def image_rng(seed: int, epoch: int, image_id: int) -> np.random.Generator:
    """Return the randomness of one image in one epoch: the same in any batch, order or thread."""
    return np.random.default_rng((seed, epoch, image_id))


def _window(draws: NDArray[np.float64], side: int, size: int, s: float) -> NDArray[np.float64]:
    """Return the 2×3 map from output pixels to stored pixels."""
    signed = draws * 2 - 1
    area = 1 - 0.65 * s * draws[0]
    stretch = math.exp(0.15 * s * signed[1])
    width = min(1.0, math.sqrt(area) * stretch) * side
    height = min(1.0, math.sqrt(area) / stretch) * side
    centre_x = side / 2 + (side - width) / 2 * signed[2] + 0.06 * s * side * signed[3]
    centre_y = side / 2 + (side - height) / 2 * signed[4] + 0.06 * s * side * signed[5]
    angle, shear = math.radians(15 * s * signed[6]), 0.15 * s * signed[7]
    flip = -1.0 if draws[8] < 0.5 else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    linear = turn @ np.diag([flip * width / size, height / size])
    # Pixel centres lie at half integers: the windows' centres are mapped onto each other.
    middle = np.array([(size - 1) / 2, (size - 1) / 2])
    shift = np.array([centre_x - 0.5, centre_y - 0.5]) - linear @ middle
    return np.column_stack([linear, shift])


def _colour(draws: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    """Return the 3×4 matrix for saturation, contrast, channel gain and brightness."""
    signed = draws * 2 - 1
    brightness = 0.2 * 255 * s * signed[0]
    contrast = 1 + 0.4 * s * signed[1]
    saturation = 1 + 0.5 * s * signed[2]
    gain = 1 + 0.1 * s * signed[3:6]
    mix = saturation * np.eye(3) + (1 - saturation) * _LUMA
    offset = _MIDDLE_GREY * (1 - contrast) + brightness
    return np.column_stack([gain[:, None] * contrast * mix, gain * offset])


def _erase(out: Pixels, draws: NDArray[np.float64]) -> None:
    """Fill one rectangle with one random colour."""
    size = out.shape[0]
    area = (0.02 + 0.18 * draws[0]) * size * size
    stretch = math.exp(1.2 * draws[1] - 0.6)
    height = max(1, min(size, round(math.sqrt(area) * stretch)))
    width = max(1, min(size, round(math.sqrt(area) / stretch)))
    top, left = int(draws[2] * (size - height + 1)), int(draws[3] * (size - width + 1))
    # Two draws make three channels: colours, not only greys.
    red, blue = draws[4] * 255, draws[5] * 255
    out[top : top + height, left : left + width] = (red, (red + blue) / 2, blue)
