"""Where the heat of each class lies on average: at the object, or at something beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from search.cam import Heat, cam_heat
from search.records import Evaluation

GRID = 16
"""Cells along each side of an average."""
RIM = 2
"""Of them, how many from each edge count as the rim."""
RIM_AREA = 1 - ((GRID - 2 * RIM) / GRID) ** 2
"""What share of an image the rim is."""
_NUM_IMAGES = 120  # of all classes together
_FEWEST, _MOST = 3, 12  # of each class


def class_attention(
    model: nn.Module,
    evaluation: Evaluation,
    images_at: Callable[[Sequence[int]], list[NDArray[np.uint8]]],
) -> list[dict[str, Any]]:
    """Average the heat over test images that the model says are of a class, for each class.

    Args:
        images_at: Returns the images, (S, S, 3) each, at positions of the evaluation.

    Returns:
        An entry for each class that the model names: "class", "num_images", "grid" (GRID rows of
        GRID means, the largest 1) and "rim_share", the part of the heat that lies at the rim.
    """
    entries = []
    for number, places in enumerate(_places_by_class(evaluation)):
        if not places:
            continue
        grids = [_shrink(cam_heat(model, image, number)[0]) for image in images_at(places)]
        mean = np.mean(grids, axis=0)
        entries.append(
            {
                "class": evaluation.classes[number],
                "num_images": len(places),
                "grid": (mean / max(float(mean.max()), 1e-9)).round(3).tolist(),
                "rim_share": rim_share(mean),
            }
        )
    return entries


def rim_share(grid: NDArray[np.float64]) -> float:
    """Return the part of the heat of a grid (GRID, GRID) that lies at the rim, 0 without heat."""
    total = float(grid.sum())
    inside = float(grid[RIM:-RIM, RIM:-RIM].sum())
    return 1 - inside / total if total > 0 else 0.0


def _places_by_class(evaluation: Evaluation) -> list[list[int]]:
    """Choose test images for each class that is predicted: evenly, from sure to unsure."""
    predicted = evaluation.probabilities.argmax(axis=1)
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    each = int(np.clip(_NUM_IMAGES // len(evaluation.classes), _FEWEST, _MOST))
    chosen = []
    for number in range(len(evaluation.classes)):
        own = surest[predicted[surest] == number]
        steps = np.linspace(0, len(own) - 1, min(each, len(own)))
        chosen.append([int(own[round(step)]) for step in steps])
    return chosen


def _shrink(heat: Heat) -> NDArray[np.float64]:
    small = cv2.resize(heat, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return small.astype(np.float64)
