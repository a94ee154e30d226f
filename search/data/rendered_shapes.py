"""Polygons, lines and circles with smooth edges, and the oblique view they are seen in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from search.data.decode import Pixels

Points = NDArray[np.float64]
Colour = tuple[float, float, float]
"""Red, green, blue in 0..255."""

_FRACTION_BITS = 4  # of a pixel, in the coordinates given to cv2


@dataclass(frozen=True)
class View:
    """An oblique view: screen = origin + matrix @ (x, y, z)."""

    origin: Points  # (2,) px
    matrix: Points  # (2, 3) px per metre
    far: tuple[float, float]  # where the far side lies, in the profile's plane, per metre of z

    def project(self, points: Points, z: float = 0.0) -> Points:
        """Map (N, 2) points of the profile at depth z, or (N, 3) points, to pixels (N, 2)."""
        if points.shape[1] == 2:
            points = np.column_stack([points, np.full(len(points), z)])
        return points @ self.matrix.T + self.origin


def fill(image: Pixels, points: Points, colour: Colour) -> None:
    """Fill a polygon (N, 2) px with smooth edges."""
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _FRACTION_BITS)


def stroke(image: Pixels, points: Points, colour: Colour, width_px: float) -> None:
    """Draw an open line through points (N, 2) px."""
    cv2.polylines(
        image, [_fixed(points)], False, colour, max(1, round(width_px)), cv2.LINE_AA, _FRACTION_BITS
    )


def shade(colour: Colour, factor: float) -> Colour:
    """Return a lighter (> 1) or darker (< 1) colour."""
    red, green, blue = (min(255.0, max(0.0, channel * factor)) for channel in colour)
    return red, green, blue


def disc(
    image: Pixels, view: View, centre: tuple[float, float], radius: float, z: float, colour: Colour
) -> None:
    """Fill a circle of the profile's plane at depth z; radius in metres."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) * radius + centre
    fill(image, view.project(ring, z), colour)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _FRACTION_BITS)).astype(np.int32)
