"""Random changes to training images, driven by one number and two switches.

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

Off unless asked for, and then at any s: `vertical_flip` mirrors half of the images top to bottom,
`hue` turns the colours of each by up to that share of the colour circle, either way.

Nothing asked for is exactly the evaluation transform: the whole square, shrunk. Zoom, aspect,
flips, rotation, shear and shift are one affine warp straight from the stored square to the output;
the colour changes are one 3×4 matrix per image. Everything stays uint8. `augment_batch.py` does the
same to a batch on a GPU, from the same draws.

References:
    Szegedy et al. 2015, Going deeper with convolutions (random resized crop).
    Zhong et al. 2017, Random erasing data augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from search.data.decode import Pixels
from search.records import Ids
from trainables.contract import Augmentation

Floats = NDArray[np.float64]

NUM_DRAWS = 24
ERASING_FROM = 0.5
_MIDDLE_GREY = 128.0
# A warp reads 2×2 pixels: from squares more than this times the output it would skip some, and
# alias. They are shrunk first, to as much more than the output as the store has at its own size.
_MOST_LINEAR = 1.25
_MOST_WARPED, _WARPED_FROM = 1.5, 1.125

# YIQ: a turn of its chroma plane leaves every grey, and every luma, where it was.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_LUMA = np.tile(_TO_YIQ[0], (3, 1))
_CHROMA = np.eye(3) - _LUMA
_CHROMA_ASKEW = np.linalg.solve(_TO_YIQ, np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _TO_YIQ)


@dataclass(frozen=True, eq=False)
class Changes:
    """What is done to each of B images, in this order.

    Attributes:
        side_px: Side to which the stored squares are shrunk first, by area averaging.
        windows: (B, 2, 3) maps from output pixels to pixels of that side; None: nothing moves.
        colours: (B, 3, 4) matrices on RGB; None: no colour changes.
        patches: (B, 4) int64: top, bottom, left, right of the erased rectangle, all 0 for none;
            None: no image has one.
        fills: (B, 3) uint8, the colours of the rectangles.
    """

    side_px: int
    windows: Floats | None
    colours: Floats | None
    patches: Ids | None
    fills: NDArray[np.uint8]


def augment(
    image: Pixels, out: Pixels, augmentation: Augmentation, rng: np.random.Generator
) -> None:
    """Write a randomly changed copy of an image.

    Args:
        image: (R, R, 3) uint8 RGB, the stored square.
        out: (S, S, 3) uint8, contiguous; overwritten.
        rng: Source of this image's randomness.
    """
    draws = rng.random((1, NUM_DRAWS))
    changes = plan_changes(augmentation, draws, image.shape[0], out.shape[0])
    apply_changes(image, out, changes, 0)


def evaluation_transform(image: Pixels, out: Pixels) -> None:
    """Shrink the whole stored square (R, R, 3) into `out` (S, S, 3)."""
    if image.shape == out.shape:
        np.copyto(out, image)
    else:
        size = (out.shape[1], out.shape[0])
        method = shrink_filter(image.shape[0] / out.shape[0])
        cv2.resize(image, size, dst=out, interpolation=method)


def shrink_filter(shrink: float) -> int:
    """Return cv2's interpolation from a square to one `shrink` times smaller.

    For the store's eighth, two neighbours are as close to a Lanczos filter as the area is (37.8 to
    37.4 dB on photos, 144 to 128 px) in a fifth of the time; further down they would alias.
    """
    return cv2.INTER_LINEAR if shrink <= _MOST_LINEAR else cv2.INTER_AREA


def image_rng(seed: int, epoch: int, image_id: int, turn: int = 0) -> np.random.Generator:
    """Return the randomness of one image in one epoch: the same in any batch, order or thread.

    Args:
        turn: How often the epoch has shown the image before.
    """
    return np.random.default_rng((seed, epoch, image_id, turn) if turn else (seed, epoch, image_id))


def image_draws(seed: int, epoch: int, image_ids: Ids, turns: Ids | None = None) -> Floats:
    """Return what `augment` would draw for each image, (B, n) in 0..1.

    Args:
        turns: How often the epoch has shown each image before, (B,); never when None.
    """
    turns = np.zeros_like(image_ids) if turns is None else turns
    pairs = zip(image_ids.tolist(), turns.tolist(), strict=True)
    return np.stack([image_rng(seed, epoch, *pair).random(NUM_DRAWS) for pair in pairs])


def plan_changes(
    augmentation: Augmentation, draws: Floats, stored_px: int, size_px: int
) -> Changes:
    """Turn draws (B, n) into what is done to each image.

    Args:
        stored_px: Side R of the stored squares.
        size_px: Side S of the output.
    """
    strength = augmentation.strength
    if strength <= 0:
        side_px = size_px
    else:
        is_near = stored_px <= _MOST_WARPED * size_px
        side_px = stored_px if is_near else round(_WARPED_FROM * size_px)
    moves = strength > 0 or augmentation.vertical_flip
    recolours = strength > 0 or augmentation.hue > 0
    patches, fills = _patches(draws[:, 15:22], size_px, strength)
    return Changes(
        side_px,
        _windows(draws, side_px, size_px, augmentation) if moves else None,
        _colours(draws, augmentation) if recolours else None,
        patches if strength >= ERASING_FROM else None,
        fills,
    )


def apply_changes(image: Pixels, out: Pixels, changes: Changes, k: int) -> None:
    """Write image (R, R, 3) into `out` (S, S, 3), changed as the plan says of its place k."""
    if changes.windows is None:
        evaluation_transform(image, out)
    else:
        if image.shape[0] != changes.side_px:
            square = np.empty((changes.side_px, changes.side_px, 3), np.uint8)
            evaluation_transform(image, square)
            image = square
        cv2.warpAffine(
            image,
            changes.windows[k],
            (out.shape[1], out.shape[0]),
            dst=out,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    if changes.colours is not None:
        cv2.transform(out, changes.colours[k], dst=out)
    if changes.patches is not None:
        top, bottom, left, right = changes.patches[k]
        out[top:bottom, left:right] = changes.fills[k]


def _windows(draws: Floats, side: int, size: int, augmentation: Augmentation) -> Floats:
    """Return (B, 2, 3) maps from output pixels to source pixels."""
    s, signed = augmentation.strength, draws * 2 - 1
    root = np.sqrt(1 - 0.65 * s * draws[:, 0])
    stretch = np.exp(0.15 * s * signed[:, 1])
    width = np.minimum(1.0, root * stretch) * side
    height = np.minimum(1.0, root / stretch) * side
    centre_x = side / 2 + (side - width) / 2 * signed[:, 2] + 0.06 * s * side * signed[:, 3]
    centre_y = side / 2 + (side - height) / 2 * signed[:, 4] + 0.06 * s * side * signed[:, 5]
    angle, shear = np.radians(15 * s * signed[:, 6]), 0.15 * s * signed[:, 7]
    across = np.where((draws[:, 8] < 0.5) & (s > 0), -width, width) / size
    down = np.where((draws[:, 22] < 0.5) & augmentation.vertical_flip, -height, height) / size
    cos, sin = np.cos(angle), np.sin(angle)
    windows = np.empty((len(draws), 2, 3))
    windows[:, 0, 0], windows[:, 0, 1] = cos * across, (cos * shear - sin) * down
    windows[:, 1, 0], windows[:, 1, 1] = sin * across, (sin * shear + cos) * down
    # Pixel centres lie at half integers: the windows' centres are mapped onto each other.
    middle = windows[:, :, :2].sum(axis=2) * (size - 1) / 2
    windows[:, :, 2] = np.column_stack([centre_x - 0.5, centre_y - 0.5]) - middle
    return windows


def _colours(draws: Floats, augmentation: Augmentation) -> Floats:
    """Return (B, 3, 4) matrices for saturation, hue, contrast, channel gain and brightness."""
    s, signed = augmentation.strength, draws[:, :, None, None] * 2 - 1
    brightness = 0.2 * 255 * s * signed[:, 9]
    contrast = 1 + 0.4 * s * signed[:, 10]
    saturation = 1 + 0.5 * s * signed[:, 11]
    gain = 1 + 0.1 * s * signed[:, 12:15, 0]
    turn = 2 * np.pi * augmentation.hue * signed[:, 23]
    mix = _LUMA + saturation * (np.cos(turn) * _CHROMA + np.sin(turn) * _CHROMA_ASKEW)
    offset = _MIDDLE_GREY * (1 - contrast) + brightness
    return np.concatenate([gain * contrast * mix, gain * offset], axis=2)


def _patches(draws: Floats, size: int, strength: float) -> tuple[Ids, NDArray[np.uint8]]:
    """Return one rectangle (B, 4) and its colour (B, 3) per image, of which most are empty."""
    root = np.sqrt((0.02 + 0.18 * draws[:, 1]) * size * size)
    stretch = np.exp(1.2 * draws[:, 2] - 0.6)
    height = np.clip(np.rint(root * stretch), 1, size)
    width = np.clip(np.rint(root / stretch), 1, size)
    top = np.floor(draws[:, 3] * (size - height + 1))
    left = np.floor(draws[:, 4] * (size - width + 1))
    patches = np.column_stack([top, top + height, left, left + width]).astype(np.int64)
    # Two draws make three channels: colours, not only greys.
    red, blue = draws[:, 5] * 255, draws[:, 6] * 255
    fills = np.column_stack([red, (red + blue) / 2, blue]).astype(np.uint8)
    return patches * (draws[:, :1] < 0.5 * strength), fills
