"""Draw one car, from a side profile swept across its width: the subject of the drawn sample.

Lengths are metres. A car's own axes are x from its tail (0) to its nose, y up from the ground and
z from the near side (0) to the far one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from search.data.decode import Pixels
from search.data.rendered_shapes import Colour, Points, View, disc, fill, shade, stroke

WIDTH = 1.75
_TYRE: Colour = (24, 24, 27)
_DARK: Colour = (30, 31, 35)
_LAMP: Colour = (244, 240, 214)
_TAIL_LAMP: Colour = (190, 28, 30)


@dataclass(frozen=True)
class Body:
    """Proportions of one body style, in metres from the tail or from the ground."""

    length: float
    height: float
    clearance: float  # under the sill
    belt: float  # lower edge of the side windows
    deck: float  # boot lid or load bed
    hood: float  # front edge of the bonnet
    rear_glass: float  # x of the foot of the rear window
    roof_rear: float
    roof_front: float
    cowl: float  # x of the foot of the windscreen
    wheel: float  # radius
    doors: int = 4
    pillar: float = 0.22  # width of the rear pillar


BODIES: dict[str, Body] = {
    "convertible": Body(4.25, 1.32, 0.20, 0.90, 0.93, 0.78, 1.15, 1.3, 2.05, 2.75, 0.33, 2),
    "coupe": Body(4.5, 1.32, 0.19, 0.90, 0.92, 0.76, 0.42, 1.45, 2.2, 3.05, 0.34, 2, 0.30),
    "hatchback": Body(3.9, 1.50, 0.21, 0.95, 0.97, 0.88, 0.12, 0.5, 2.2, 3.0, 0.32, 4, 0.34),
    "pickup": Body(5.3, 1.80, 0.36, 1.14, 1.12, 1.10, 2.05, 2.2, 3.3, 3.95, 0.40, 4, 0.14),
    "sedan": Body(4.7, 1.46, 0.21, 0.94, 1.00, 0.84, 0.8, 1.45, 2.6, 3.4, 0.33, 4, 0.24),
    "suv": Body(4.6, 1.76, 0.31, 1.12, 1.12, 1.04, 0.08, 0.32, 2.75, 3.4, 0.39, 4, 0.26),
    "van": Body(4.9, 1.96, 0.25, 1.12, 1.05, 0.98, 0.03, 0.16, 3.45, 4.3, 0.34, 4, 0.20),
    "wagon": Body(4.75, 1.49, 0.21, 0.95, 0.98, 0.84, 0.10, 0.48, 2.6, 3.4, 0.33, 4, 0.20),
}


def vary_body(style: str, spread: float, rng: np.random.Generator) -> Body:
    """Return a body of this style with every length changed at random by about `spread`."""
    base = BODIES[style]
    changed: dict[str, Any] = {
        f.name: getattr(base, f.name) * (1 + spread * rng.uniform(-1, 1))
        for f in fields(Body)
        if f.name != "doors"
    }
    stretch = rng.uniform(0.93, 1.07)
    for name in ("length", "rear_glass", "roof_rear", "roof_front", "cowl"):
        changed[name] *= stretch
    changed["height"] = max(changed["height"], changed["belt"] + 0.3)
    changed["roof_rear"] = min(changed["roof_rear"], changed["roof_front"] - 0.5)
    return Body(**changed, doors=base.doors)


def draw_car(
    image: Pixels, style: str, body: Body, view: View, paint: Colour, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a car into an image (H, W, 3).

    Returns:
        The car's box (x0, y0, x1, y1) in pixels; it may reach beyond the image.
    """
    profile, tags = _profile(style, body)
    near, far = view.project(profile), view.project(profile, WIDTH)
    wheels = (0.17 * body.length, (0.80 if style == "van" else 0.81) * body.length)
    for x in wheels:
        disc(image, view, (x, body.wheel), body.wheel, WIDTH - 0.1, _TYRE)
    _sweep(image, profile, tags, view, paint)
    if style == "convertible":
        _draw_cockpit(image, body, view, rng)
    fill(image, near, paint)
    _shade_side(image, near)
    if style != "convertible":
        _draw_windows(image, style, body, view, paint, rng)
    _draw_side_details(image, style, body, view, paint)
    _draw_end(image, body, view, paint)
    for x in wheels:
        _draw_wheel(image, view, x, body.wheel, rng)
    extremes = np.array([(wheels[0], 0.0), (wheels[1], 0.0), (body.cowl - 0.5, body.height)])
    every = np.concatenate([near, far, view.project(extremes), view.project(extremes, WIDTH)])
    low, high = every.min(axis=0), every.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _profile(style: str, b: Body) -> tuple[Points, list[str]]:
    """Return the outline from the tail over the roof to the nose, and what each edge is."""
    low = b.clearance
    corners: list[tuple[float, float, str]] = [
        (0.06, low, "body"),
        (0.0, low + 0.22, "body"),
        (0.03, b.deck, "bed" if style == "pickup" else "body"),
    ]
    if style == "convertible":
        corners += [(b.rear_glass, b.deck, "open"), (b.cowl, b.belt, "body")]
    else:
        corners += [
            (b.rear_glass, b.deck, "glass"),
            (b.roof_rear, b.height, "body"),
            ((b.roof_rear + b.roof_front) / 2, b.height + 0.02, "body"),
            (b.roof_front, b.height - 0.03, "glass"),
            (b.cowl, b.belt + 0.03, "body"),
        ]
    corners += [
        (b.length - 0.22, b.hood, "body"),
        (b.length - 0.02, b.hood - 0.16, "body"),
        (b.length, low + 0.16, "body"),
        (b.length - 0.10, low, "under"),
    ]
    return _round_corners(corners)


def _round_corners(corners: Sequence[tuple[float, float, str]]) -> tuple[Points, list[str]]:
    """Cut every corner of a closed outline twice; the pieces keep what their edge is."""
    points = np.array([(x, y) for x, y, _ in corners])
    tags = [tag for _, _, tag in corners]
    for share in (0.18, 0.25):
        after = np.roll(points, -1, axis=0)
        reach = np.minimum(share, 0.10 / np.maximum(1e-6, np.linalg.norm(after - points, axis=1)))
        start = points + reach[:, None] * (after - points)
        end = after - reach[:, None] * (after - points)
        points = np.stack([start, end], axis=1).reshape(-1, 2)
        # The piece across a corner takes the tag of the edge before it, unless that is glass.
        following = tags[1:] + tags[:1]
        across = [b if a == "glass" else a for a, b in zip(tags, following, strict=True)]
        tags = [tag for pair in zip(tags, across, strict=True) for tag in pair]
    return points, tags


def _sweep(image: Pixels, profile: Points, tags: Sequence[str], view: View, paint: Colour) -> None:
    """Fill what the profile covers on its way to the far side, edge by edge."""
    near, far = view.project(profile), view.project(profile, WIDTH)
    after = np.roll(profile, -1, axis=0) - profile
    normals = np.column_stack([-after[:, 1], after[:, 0]])
    normals /= np.maximum(1e-9, np.linalg.norm(normals, axis=1, keepdims=True))
    fill(image, far, shade(paint, 0.35))
    colours: dict[str, Colour] = {
        "glass": (70, 84, 98), "bed": (40, 40, 44), "open": (46, 40, 38), "under": (18, 18, 20)
    }  # fmt: skip
    for k, (normal, tag) in enumerate(zip(normals, tags, strict=True)):
        if normal @ np.array(view.far) <= 0:
            continue
        light = 0.72 + 0.45 * max(0.0, float(normal[1]))
        following = (k + 1) % len(profile)
        quad = np.array([near[k], near[following], far[following], far[k]])
        fill(image, quad, shade(colours.get(tag, paint), light))


def _shade_side(image: Pixels, near: Points) -> None:
    """Lighten the shoulder of the near side and darken its foot."""
    height, width = image.shape[:2]
    low = np.clip(np.floor(near.min(axis=0)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(near.max(axis=0)), 0, [width, height]).astype(int)
    if (high <= low).any():
        return
    part = image[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(part.shape[:2], np.uint8)
    fill(mask, near - low, (255, 255, 255))
    rows = np.linspace(0, 1, len(part))
    factor = np.interp(rows, [0.0, 0.42, 0.5, 0.62, 1.0], [1.08, 1.12, 1.0, 0.92, 0.62])
    lit = np.minimum(part * factor[:, None, None], 255).astype(np.uint8)
    np.copyto(part, lit, where=(mask > 127)[:, :, None])


def _draw_windows(
    image: Pixels, style: str, b: Body, view: View, paint: Colour, rng: np.random.Generator
) -> None:
    bottom, top = b.belt + 0.05, b.height - 0.11
    rear = _along((b.rear_glass, b.deck), (b.roof_rear, b.height), (bottom, top))
    front = _along((b.cowl, b.belt), (b.roof_front, b.height), (bottom, top))
    rear_x, front_x = rear + b.pillar, front - 0.13
    if style == "van" and rng.random() < 0.35:  # a delivery van has a closed side
        rear_x = front_x - np.array([1.1, 0.9])
    glass = shade((62, 74, 88), rng.uniform(0.7, 1.35))
    pane = np.array(
        [(rear_x[0], bottom), (rear_x[1], top), (front_x[1], top), (front_x[0], bottom)]
    )
    fill(image, view.project(pane), glass)
    middle = (bottom + top) / 2
    bright = np.array([
        ((rear_x[0] + rear_x[1]) / 2, middle), (rear_x[1], top), (front_x[1], top),
        ((front_x[0] + front_x[1]) / 2, middle),
    ])  # fmt: skip
    fill(image, view.project(bright), shade(glass, 1.35))
    for x in _door_seams(b):
        if rear_x[1] + 0.1 < x < front_x[0] - 0.1:
            post = np.array(
                [(x - 0.05, bottom), (x - 0.04, top), (x + 0.04, top), (x + 0.05, bottom)]
            )
            fill(image, view.project(post), shade(paint, 0.35))


def _along(
    foot: tuple[float, float], head: tuple[float, float], heights: tuple[float, float]
) -> Points:
    """Return x at two heights on the line from foot to head."""
    return np.interp(heights, [foot[1], head[1]], [foot[0], head[0]])


def _door_seams(b: Body) -> list[float]:
    first = b.cowl - 0.25
    if b.doors == 2:
        return [first - 1.25]
    return [first - 1.0, first - 1.95]


def _draw_side_details(image: Pixels, style: str, b: Body, view: View, paint: Colour) -> None:
    scale = float(np.linalg.norm(view.matrix[:, 1]))
    seam, line = shade(paint, 0.55), max(1.0, 0.018 * scale)
    sill = b.clearance + 0.14
    for x in [b.cowl - 0.2, *_door_seams(b)]:
        if x > (b.rear_glass if style == "pickup" else 0.35 * b.wheel + 0.6):
            stroke(image, view.project(np.array([(x, b.belt), (x - 0.03, sill)])), seam, line)
    for x in _door_seams(b):
        handle = np.array([(x + 0.08, b.belt - 0.12), (x + 0.26, b.belt - 0.12)])
        stroke(image, view.project(handle), shade(paint, 0.4), 2 * line)
    crease = np.array([(0.15, b.belt - 0.2), (b.length - 0.5, b.hood - 0.17)])
    stroke(image, view.project(crease), shade(paint, 1.25), line)
    foot = np.array([(0.1, b.clearance), (b.length - 0.1, b.clearance)])
    stroke(image, view.project(foot + np.array([0, 0.05])), _DARK, 0.09 * scale)
    if style == "suv":
        rail = np.array(
            [(b.roof_rear + 0.2, b.height + 0.05), (b.roof_front - 0.1, b.height + 0.04)]
        )
        stroke(image, view.project(rail), _DARK, 2 * line)
    if style == "pickup":
        gap = np.array([(b.rear_glass - 0.04, b.deck), (b.rear_glass - 0.04, sill)])
        stroke(image, view.project(gap), _DARK, 2.5 * line)
    mirror = np.array([(b.cowl - 0.38, b.belt + 0.02), (b.cowl - 0.4, b.belt + 0.16),
                       (b.cowl - 0.18, b.belt + 0.14), (b.cowl - 0.2, b.belt + 0.02)])  # fmt: skip
    fill(image, view.project(mirror), shade(paint, 0.75))
    lamp = np.array([(b.length - 0.42, b.hood - 0.17), (b.length - 0.36, b.hood - 0.06),
                     (b.length - 0.10, b.hood - 0.12), (b.length - 0.03, b.hood - 0.24)
    ])  # fmt: skip
    fill(image, view.project(lamp), _LAMP)
    tail = np.array([(0.02, b.deck - 0.28), (0.03, b.deck - 0.08), (0.24, b.deck - 0.1),
                     (0.2, b.deck - 0.26)])  # fmt: skip
    fill(image, view.project(tail), _TAIL_LAMP)


def _draw_end(image: Pixels, b: Body, view: View, paint: Colour) -> None:
    """Draw lamps, grille and number plate on whichever end the view shows."""
    shows_nose = view.far[0] > 0
    x, top = (b.length, b.hood - 0.2) if shows_nose else (0.0, b.deck - 0.1)
    lamp = _LAMP if shows_nose else _TAIL_LAMP

    def panel(z0: float, z1: float, y0: float, y1: float, colour: Colour) -> None:
        box = np.array([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)])
        fill(image, view.project(box), colour)

    panel(0.1, WIDTH - 0.1, b.clearance + 0.02, b.clearance + 0.2, shade(paint, 0.4))
    if shows_nose:
        panel(0.5, WIDTH - 0.5, top - 0.2, top - 0.02, _DARK)
    panel(0.04, 0.38, top - 0.14, top, lamp)
    panel(WIDTH - 0.38, WIDTH - 0.04, top - 0.14, top, lamp)
    panel(0.62, WIDTH - 0.62, top - 0.38, top - 0.26, (228, 228, 222))


def _draw_cockpit(image: Pixels, b: Body, view: View, rng: np.random.Generator) -> None:
    """Draw seats, sometimes a driver, and the windscreen's frame."""
    seat = shade((150, 96, 62), rng.uniform(0.4, 1.3))
    has_driver = rng.random() < 0.5
    for z in (1.25, 0.45):
        for x in (b.rear_glass + 0.15, b.cowl - 0.95):
            back = np.array([(x, b.belt - 0.1), (x - 0.1, b.belt + 0.2), (x + 0.08, b.belt + 0.22),
                             (x + 0.2, b.belt - 0.1)])  # fmt: skip
            fill(image, view.project(back, z), seat)
            if has_driver and z < 1 and x > b.rear_glass + 0.5:
                disc(image, view, (x + 0.2, b.belt + 0.3), 0.13, z, (196, 150, 120))
    scale = float(np.linalg.norm(view.matrix[:, 1]))
    frame = np.array([
        (b.cowl, b.belt, 0.1), (b.cowl - 0.5, b.height, 0.25),
        (b.cowl - 0.5, b.height, WIDTH - 0.25), (b.cowl, b.belt, WIDTH - 0.1),
    ])  # fmt: skip
    pane = image.copy()
    fill(pane, view.project(frame), (150, 170, 185))
    cv2.addWeighted(pane, 0.5, image, 0.5, 0, dst=image)
    stroke(image, view.project(frame), _DARK, 0.06 * scale)


def _draw_wheel(
    image: Pixels, view: View, x: float, radius: float, rng: np.random.Generator
) -> None:
    centre = (x, radius)
    disc(image, view, (x, radius + 0.03), radius * 1.17, 0.0, (16, 16, 18))
    disc(image, view, centre, radius, -0.02, _TYRE)
    rim = shade((176, 178, 184), rng.uniform(0.75, 1.2))
    disc(image, view, centre, radius * 0.66, -0.04, shade(rim, 0.45))
    scale = float(np.linalg.norm(view.matrix[:, 1]))
    start = rng.uniform(0, np.pi)
    for angle in start + np.arange(5) * 2 * np.pi / 5:
        tip = np.array([np.cos(angle), np.sin(angle)]) * radius * 0.62
        spoke = np.array([centre, np.add(centre, tip)])
        stroke(image, view.project(spoke, -0.04), rim, 0.075 * scale)
    disc(image, view, centre, radius * 0.18, -0.05, rim)
