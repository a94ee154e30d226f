"""Draw a data set of car body styles, for when no photos can be had.

Nothing but the car tells the classes apart: paint, view, scale, place, scenery, light and what
stands in front are drawn alike for all. `regions.csv` holds each car's box, so that an explanation
of a prediction can be checked against where the car really is.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock

from search.data.decode import Pixels
from search.data.rendered_body import BODIES, WIDTH, Body, draw_car, vary_body
from search.data.rendered_scene import develop, draw_background, draw_foreground, draw_shadow
from search.data.rendered_shapes import Colour, View
from search.records import write_csv, write_json

CLASSES = tuple(sorted(BODIES))
WIDTH_PX, HEIGHT_PX = 192, 144
PER_CLASS = 90
REGIONS = "regions.csv"
_VERSION = 1  # of the drawing: a folder of another version is drawn anew
_MARK = ".rendered_cars.json"
_OVERSAMPLING = 2
_SPREAD = 0.025  # how far one style's lengths vary
_JPEG_QUALITY = 90

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the last two exclusive."""

_PAINTS: tuple[Colour, ...] = (
    (236, 236, 232), (30, 31, 34), (150, 154, 160), (92, 96, 104), (172, 30, 34), (30, 62, 130),
    (40, 92, 70), (198, 160, 60), (110, 66, 44), (206, 96, 34), (96, 142, 178), (70, 30, 52),
)  # fmt: skip


def draw_cars(folder: Path, *, per_class: int = PER_CLASS, seed: int = 0) -> None:
    """Draw the sample into a folder of one folder per class; a complete one is left as it is.

    Args:
        folder: Written beside and renamed.
        per_class: JPEG files per class, 192 × 144 px.
        seed: The same seed draws the same images.
    """
    about = {"version": _VERSION, "per_class": per_class, "seed": seed}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if _mark(folder) == about:
            return
        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        regions = []
        for style in CLASSES:
            (beside / style).mkdir(parents=True)
            for number in range(per_class):
                image, box = draw_image(style, number, seed)
                name = f"{style}/{style}_{number:03d}.jpg"
                _write_jpeg(beside / name, image)
                regions.append(
                    {"path": name} | dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
                )
        write_csv(beside / REGIONS, ["path", "x0", "y0", "x1", "y1"], regions)
        write_json(beside / _MARK, about)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)


def draw_image(style: str, number: int, seed: int = 0) -> tuple[Pixels, Box]:
    """Draw one car.

    Args:
        style: One of `CLASSES`.
        number: Which image of the class.
        seed: Of the whole set.

    Returns:
        (144, 192, 3) uint8 RGB, and the box of the car inside the image.
    """
    rng = np.random.default_rng((seed, zlib.crc32(style.encode()), number))
    width, height = WIDTH_PX * _OVERSAMPLING, HEIGHT_PX * _OVERSAMPLING
    canvas = np.zeros((height, width, 3), np.uint8)
    body = vary_body(style, _SPREAD, rng)
    view, foot_y = _draw_view(body, width, height, rng)
    draw_background(canvas, foot_y - rng.uniform(0.06, 0.26) * height, rng)
    ends = np.array([(-0.1, 0, -0.1), (body.length + 0.1, 0, -0.1),
                     (body.length + 0.1, 0, WIDTH + 0.1), (-0.1, 0, WIDTH + 0.1)])  # fmt: skip
    draw_shadow(canvas, view.project(ends), rng)
    paint = _PAINTS[rng.integers(len(_PAINTS))]
    varied = np.clip(np.array(paint) * rng.uniform(0.85, 1.15) + rng.normal(0, 6, 3), 8, 245)
    colour = (float(varied[0]), float(varied[1]), float(varied[2]))
    box = draw_car(canvas, style, body, view, colour, rng)
    draw_foreground(canvas, box, rng)
    size = (WIDTH_PX, HEIGHT_PX)
    small = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)
    return develop(small, rng), _inside(box)


def _draw_view(body: Body, width: int, height: int, rng: np.random.Generator) -> tuple[View, float]:
    """Draw where the car stands and from where it is seen; returns its ground line too."""
    across = rng.uniform(0.82, 0.97)  # of the picture's width
    far_x = rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.3)
    squeeze = 1 - 0.28 * abs(far_x)
    far_y = rng.uniform(0.06, 0.16)
    metres = body.length * squeeze + WIDTH * abs(far_x)
    scale = across * width / metres
    scale = min(scale, 0.8 * height / (body.height + WIDTH * far_y))
    flip = rng.choice([-1.0, 1.0])
    angle = np.radians(rng.normal(0, 1.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    oblique = np.array([[flip * squeeze, 0.0, flip * far_x], [0.0, -1.0, -far_y]])
    matrix = scale * turn @ oblique
    room_x = max(0.0, width - metres * scale) / 2
    foot_y = rng.uniform(0.78, 0.91) * height
    foot_y = max(foot_y, (body.height + WIDTH * far_y) * scale + 0.04 * height)
    middle = np.array([body.length / 2, 0.0, WIDTH / 2])
    centre = np.array([width / 2 + rng.uniform(-1.05, 1.05) * room_x, foot_y])
    origin = centre - matrix @ middle
    origin[1] = foot_y
    return View(origin, matrix, (far_x / squeeze, far_y)), foot_y


def _inside(box: tuple[float, float, float, float]) -> Box:
    x0, y0, x1, y1 = (value / _OVERSAMPLING for value in box)
    return (
        max(0, int(x0)),
        max(0, int(y0)),
        min(WIDTH_PX, int(np.ceil(x1))),
        min(HEIGHT_PX, int(np.ceil(y1))),
    )


def _write_jpeg(path: Path, image: Pixels) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    path.write_bytes(coded.tobytes())


def _mark(folder: Path) -> object:
    try:
        return json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
