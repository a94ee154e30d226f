"""Gradient spectra of parts of images, and moving and scaling a part to fit another image best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.data.hashes import MIRROR, WAVES, Spectra, Thumbs, Window, waves

Unit = NDArray[np.float32]
"""(N, WAVES²) gradient spectra of length 1: their products are similarities in -1..1."""
Windows = NDArray[np.float32]
"""(N, 4): top, left, height and width of a window for each image, or (1, 4): for all."""

FREQUENCY = np.hypot(np.arange(WAVES)[:, None], np.arange(WAVES))
_SHARE = np.where(np.arange(WAVES) == 0, np.sqrt(0.5), 1.0)  # the constant wave has half the weight
# Amplitude times frequency: the amplitude of the gradient.
_GRADIENT = (FREQUENCY * _SHARE[:, None] * _SHARE).astype(np.float32)
_FIT_STEPS = 3
_FIT_MOVE = 0.03  # longest step of a window's edge, in shares of the image
_DELTA = 0.01
_DAMPING = 1e-6


def normalised(spectra: Spectra, flip: bool = False) -> Unit:
    """Return the gradient spectra at length 1, of the mirror images with `flip`."""
    weights = _GRADIENT * MIRROR if flip else _GRADIENT
    gradient = (spectra * weights).reshape(len(spectra), WAVES * WAVES)
    norm = np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.asarray(gradient / np.maximum(norm, 1e-6), np.float32)


def slopes_of(thumbs: Thumbs, window: Window, flip: bool) -> NDArray[np.float32]:
    """Return where each spectrum goes as the window's edges move, (N, 4, WAVES²): an orthonormal
    basis, at right angles to the spectrum itself."""
    slopes = _slopes(thumbs, np.array([window], np.float32), flip)
    return np.ascontiguousarray(np.linalg.qr(slopes)[0].transpose(0, 2, 1), np.float32)


def fitted(thumbs: Thumbs, window: Window, theirs: Unit, flip: bool) -> NDArray[np.float32]:
    """Move and scale a window of each image to where it looks most like its partner.

    Gauss-Newton steps on the four edges.

    Returns:
        The similarity there, (P,).
    """
    windows = np.tile(np.array(window, np.float32), (len(thumbs), 1))
    best = _seen_through(thumbs, windows, flip)
    score: NDArray[np.float32] = np.einsum("ij,ij->i", best, theirs)
    for _ in range(_FIT_STEPS):
        slopes = _slopes(thumbs, windows, flip)
        missing = theirs - best * score[:, None]
        turned = slopes.transpose(0, 2, 1)
        step = np.linalg.solve(turned @ slopes + _DAMPING * np.eye(4), turned @ missing[..., None])
        moved = windows + np.clip(step[..., 0], -_FIT_MOVE, _FIT_MOVE).astype(np.float32)
        seen = _seen_through(thumbs, moved, flip)
        new = np.einsum("ij,ij->i", seen, theirs)
        better = new > score
        windows[better], best[better], score[better] = moved[better], seen[better], new[better]
    return score


def _slopes(thumbs: Thumbs, windows: Windows, flip: bool) -> NDArray[np.float32]:
    """Return how each spectrum changes with the four edges of its window, (N, WAVES², 4)."""
    pixels = thumbs.astype(np.float32)
    down, across = _waves_of(windows, 0), _waves_of(windows, 1)
    rows, columns = down @ pixels, pixels @ across.transpose(0, 2, 1)
    slopes = np.empty((len(thumbs), WAVES * WAVES, 4), np.float32)
    for k, edge in enumerate(np.eye(4, dtype=np.float32) * _DELTA):
        ends = []
        for moved in (windows + edge, windows - edge):  # up and down, or left and right
            waved = _waves_of(moved, k % 2)
            seen = rows @ waved.transpose(0, 2, 1) if k % 2 else waved @ columns
            ends.append(normalised(np.asarray(seen, np.float32), flip))
        slopes[..., k] = (ends[0] - ends[1]) / (2 * _DELTA)
    return slopes


def _seen_through(thumbs: Thumbs, windows: Windows, flip: bool) -> Unit:
    """Return the normalised spectrum of a window of its own for each image."""
    down, across = _waves_of(windows, 0), _waves_of(windows, 1)
    return normalised(down @ thumbs.astype(np.float32) @ across.transpose(0, 2, 1), flip)


def _waves_of(windows: Windows, axis: int) -> Spectra:
    """Return the waves down (0) or across (1) each window, (N, WAVES, THUMB_PX)."""
    return np.asarray(waves(windows[:, axis], windows[:, 2 + axis]), np.float32)
