"""Draw what stands around the car: sky, buildings, trees, ground, things in front, light."""

from __future__ import annotations

import cv2
import numpy as np

from search.data.decode import Pixels
from search.data.rendered_shapes import Colour, Points, fill, shade, stroke

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 152, 214), (206, 224, 240)),  # clear
    ((150, 158, 168), (214, 216, 218)),  # overcast
    ((74, 84, 140), (240, 176, 120)),  # dusk
    ((120, 180, 226), (236, 238, 232)),  # haze
    ((22, 26, 46), (58, 62, 92)),  # night
)
_WALLS: tuple[Colour, ...] = (
    (172, 122, 96), (188, 178, 160), (140, 146, 152), (206, 196, 176), (112, 92, 84),
    (160, 168, 150),
)  # fmt: skip
_GREENS: tuple[Colour, ...] = ((58, 98, 48), (84, 120, 56), (44, 78, 50), (118, 126, 62))
_GROUNDS: tuple[Colour, ...] = ((92, 93, 97), (118, 116, 112), (104, 112, 74), (164, 146, 112))
_NEAR_COLOURS: tuple[Colour, ...] = (
    (60, 60, 64), (214, 120, 30), (190, 40, 40), (40, 80, 150), (210, 206, 196), (66, 92, 54)
)  # fmt: skip


def draw_background(image: Pixels, horizon: float, rng: np.random.Generator) -> None:
    """Fill an image (H, W, 3) with a scene whose ground begins at the row `horizon`."""
    height, width = image.shape[:2]
    top, bottom = _SKIES[rng.choice(len(_SKIES), p=[0.3, 0.27, 0.16, 0.21, 0.06])]
    rows = np.clip(np.arange(height) / max(1.0, horizon), 0, 1)[:, None]
    image[:] = (np.array(top) * (1 - rows) + np.array(bottom) * rows)[:, None, :].astype(np.uint8)
    night = sum(top) < 150
    if rng.random() < 0.5:
        _draw_hills(image, horizon, rng)
    kind = rng.random()
    for _ in range(rng.integers(2, 6) if kind < 0.65 else 0):
        _draw_building(image, horizon, rng, night=night)
    for _ in range(rng.integers(1, 7) if kind > 0.4 else 0):
        _draw_tree(image, rng.uniform(0, width), horizon + rng.uniform(-2, 8), rng)
    _draw_distance(image, horizon, bottom, rng)
    _draw_ground(image, horizon, rng, night=night)


def draw_shadow(image: Pixels, foot: Points, rng: np.random.Generator) -> None:
    """Darken the ground inside a polygon (N, 2) px, with a soft edge."""
    mask = np.zeros(image.shape[:2], np.uint8)
    fill(mask, foot, (255, 255, 255))
    mask = np.asarray(cv2.blur(mask, (21, 9)), np.uint8)
    strength = rng.uniform(0.45, 0.75)
    low, high = int(max(0, foot[:, 1].min() - 12)), int(foot[:, 1].max() + 12)
    part = image[low:high]
    part[:] = (part * (1 - strength / 255 * mask[low:high, :, None])).astype(np.uint8)


def draw_foreground(
    image: Pixels, box: tuple[float, float, float, float], rng: np.random.Generator
) -> None:
    """Put one or two things in front of the car; each hides a small part of it."""
    x0, _, x1, y1 = box
    makers = (_draw_post, _draw_person, _draw_bush, _draw_cone, _draw_fence, _draw_sign)
    for _ in range(rng.choice(3, p=[0.6, 0.32, 0.08])):
        maker = makers[rng.integers(len(makers))]
        x = rng.uniform(x0 - 0.05 * (x1 - x0), x1 + 0.05 * (x1 - x0))
        maker(image, x, y1 + rng.uniform(4, 22), (x1 - x0) / 4.5, rng)


def develop(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Give a finished drawing (H, W, 3) the light, haze, blur and noise of a photo."""
    height, width = image.shape[:2]
    values = image.astype(np.float32)
    exposure = np.exp(rng.normal(0, 0.16))
    tint = 1 + rng.normal(0, 0.04, 3)
    contrast = rng.uniform(0.75, 1.15)
    mean = float(values.mean())
    values = (mean + (values - mean) * contrast) * (exposure * tint).astype(np.float32)
    if rng.random() < 0.4:  # light from one side
        ramp = np.linspace(rng.uniform(0.55, 0.95), rng.uniform(0.9, 1.25), width)
        values *= ramp[None, :, None].astype(np.float32)
    if rng.random() < 0.35:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.1))
    values += rng.standard_normal((height, width, 3), np.float32) * rng.uniform(1, 6)
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def _box(x0: float, y0: float, x1: float, y1: float) -> Points:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return shade(colours[rng.integers(len(colours))], rng.uniform(0.75, 1.2))


def _draw_hills(image: Pixels, horizon: float, rng: np.random.Generator) -> None:
    width = image.shape[1]
    x = np.linspace(0, width, 12)
    y = horizon - rng.uniform(8, 46) * (
        0.6 + 0.4 * np.sin(x / width * rng.uniform(3, 9) + rng.uniform(0, 6))
    )
    outline = np.column_stack([np.r_[0, x, width], np.r_[horizon + 2, y, horizon + 2]])
    fill(image, outline, shade((112, 128, 132), rng.uniform(0.7, 1.1)))


def _draw_building(image: Pixels, horizon: float, rng: np.random.Generator, *, night: bool) -> None:
    width = image.shape[1]
    x, wide, tall = rng.uniform(-40, width), rng.uniform(40, 130), rng.uniform(40, 150)
    wall = shade(_pick(_WALLS, rng), 0.4 if night else 1.0)
    fill(image, _box(x, horizon - tall, x + wide, horizon + 3), wall)
    step_x, step_y = rng.uniform(13, 24), rng.uniform(15, 26)
    lit: Colour = (236, 206, 130)
    dark = shade(wall, 0.5)
    for wx in np.arange(x + 5, x + wide - step_x * 0.6, step_x):
        for wy in np.arange(horizon - tall + 7, horizon - 12, step_y):
            colour = lit if rng.random() < (0.5 if night else 0.06) else dark
            fill(image, _box(wx, wy, wx + step_x * 0.55, wy + step_y * 0.55), colour)
    fill(image, _box(x - 2, horizon - tall - 4, x + wide + 2, horizon - tall), shade(wall, 0.7))


def _draw_tree(image: Pixels, x: float, foot: float, rng: np.random.Generator) -> None:
    tall = rng.uniform(40, 110)
    fill(image, _box(x - 3, foot - tall * 0.6, x + 3, foot), (84, 66, 50))
    leaves = _pick(_GREENS, rng)
    for _ in range(7):
        centre = (x + rng.normal(0, tall * 0.16), foot - tall * rng.uniform(0.5, 0.95))
        _blob(image, centre, tall * rng.uniform(0.12, 0.22), shade(leaves, rng.uniform(0.75, 1.2)))


def _blob(image: Pixels, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    middle = (round(centre[0]), round(centre[1]))
    cv2.circle(image, middle, max(1, round(radius)), colour, -1, cv2.LINE_AA)


def _draw_ground(image: Pixels, horizon: float, rng: np.random.Generator, *, night: bool) -> None:
    height, width = image.shape[:2]
    ground = shade(_pick(_GROUNDS, rng), 0.45 if night else 1.0)
    first = int(horizon)
    rows = np.linspace(0.85, 1.12, height - first)[:, None, None]
    image[first:] = np.clip(np.array(ground) * rows, 0, 255).astype(np.uint8)
    kind = rng.random()
    if kind < 0.45:  # a kerb and a lane
        kerb = horizon + rng.uniform(4, 18)
        fill(image, _box(0, horizon, width, kerb), shade(ground, rng.uniform(1.1, 1.5)))
        fill(image, _box(0, kerb, width, kerb + 3), shade(ground, 0.6))
        y, dash = height - rng.uniform(8, 40), rng.uniform(40, 80)
        for x in np.arange(-rng.uniform(0, dash), width, dash * 1.7):
            fill(image, _box(x, y, x + dash, y + 5), shade((222, 220, 208), 0.5 if night else 1))
    elif kind < 0.7:  # parking bays
        lean, gap = rng.uniform(-50, 50), rng.uniform(70, 130)
        for x in np.arange(-gap, width + gap, gap):
            line = np.array([(x, horizon + 6), (x + lean, height)], np.float64)
            stroke(image, line, shade((214, 212, 204), 0.5 if night else 1), 3)
    speckle = rng.integers(-9, 10, ((height - first) // 3 + 1, width // 3 + 1), dtype=np.int16)
    grain = np.repeat(np.repeat(speckle, 3, 0), 3, 1)[: height - first, :width, None]
    image[first:] = np.clip(image[first:].astype(np.int16) + grain, 0, 255).astype(np.uint8)


def _draw_distance(image: Pixels, horizon: float, air: Colour, rng: np.random.Generator) -> None:
    """Haze and blur what is far away, as air and a lens do."""
    part = image[: int(horizon) + 2]
    haze = rng.uniform(0.3, 0.65)
    soft = cv2.GaussianBlur(part, (0, 0), rng.uniform(1.0, 3.0))
    part[:] = (soft * (1 - haze) + np.array(air) * haze).astype(np.uint8)


def _draw_post(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    wide = metre * rng.uniform(0.06, 0.12)
    fill(image, _box(x - wide, 0, x + wide, foot), _pick(_NEAR_COLOURS, rng))


def _draw_person(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    coat, legs = _pick(_NEAR_COLOURS, rng), _pick(((40, 44, 60), (70, 60, 52)), rng)
    wide = 0.2 * metre
    fill(image, _box(x - wide * 0.8, foot - 0.85 * metre, x - 1, foot), legs)
    fill(image, _box(x + 1, foot - 0.85 * metre, x + wide * 0.8, foot), shade(legs, 0.85))
    body = np.array([(x - wide, foot - 0.8 * metre), (x - wide * 1.2, foot - 1.4 * metre),
                     (x + wide * 1.2, foot - 1.4 * metre), (x + wide, foot - 0.8 * metre)
    ])  # fmt: skip
    fill(image, body, coat)
    _blob(image, (x, foot - 1.56 * metre), 0.13 * metre, (198, 156, 128))


def _draw_bush(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    leaves = _pick(_GREENS, rng)
    for _ in range(9):
        centre = (x + rng.normal(0, 0.35 * metre), foot - metre * rng.uniform(0.05, 0.5))
        _blob(image, centre, metre * rng.uniform(0.12, 0.25), shade(leaves, rng.uniform(0.7, 1.2)))


def _draw_cone(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    tall, wide = metre * rng.uniform(0.5, 0.75), 0.2 * metre
    fill(image, np.array([(x - wide, foot), (x, foot - tall), (x + wide, foot)]), (226, 104, 30))
    band = np.array([(x - wide * 0.6, foot - tall * 0.4), (x - wide * 0.4, foot - tall * 0.6),
                     (x + wide * 0.4, foot - tall * 0.6), (x + wide * 0.6, foot - tall * 0.4)
    ])  # fmt: skip
    fill(image, band, (236, 234, 226))


def _draw_fence(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    colour, gap = _pick(_NEAR_COLOURS, rng), metre * rng.uniform(0.35, 0.6)
    ends = x - metre * rng.uniform(0.5, 1.5), x + metre * rng.uniform(0.5, 1.5)
    for post in np.arange(ends[0], ends[1], gap):
        fill(image, _box(post - 2, foot - 0.75 * metre, post + 2, foot), colour)
    for y in (0.68, 0.3):
        fill(image, _box(ends[0], foot - y * metre - 2, ends[1], foot - y * metre + 2), colour)


def _draw_sign(
    image: Pixels, x: float, foot: float, metre: float, rng: np.random.Generator
) -> None:
    tall = metre * rng.uniform(1.4, 2.2)
    fill(image, _box(x - 2, foot - tall, x + 2, foot), (120, 122, 126))
    colour = _pick(_NEAR_COLOURS, rng)
    _blob(image, (x, foot - tall), 0.27 * metre, (238, 238, 234))
    _blob(image, (x, foot - tall), 0.21 * metre, colour)
