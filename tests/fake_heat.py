"""What the explanations of a made-up study say of its heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.records import write_json

SIDE = 16


def write_heat(cam: Path, classes: Sequence[str], rng: np.random.Generator) -> None:
    """Write faithfulness.json, and attention.json with a warm place for each class."""
    write_json(
        cam / "faithfulness.json",
        [
            {"map": name, "num_images": 16, "score": score, "low": score - 0.05,
             "high": score + 0.05, "share_above_zero": 0.5 + score}
            for name, score in (("Grad-CAM", 0.21), ("the middle of the image", 0.03))
        ],
    )  # fmt: skip
    rows, columns = np.mgrid[:SIDE, :SIDE]
    entries = []
    for name in classes:
        y, x = rng.uniform(4, 12, 2)
        grid = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 12)
        grid /= grid.max()
        rim = 1 - grid[2:-2, 2:-2].sum() / grid.sum()
        entries.append(
            {"class": name, "num_images": 5, "grid": grid.round(3).tolist(), "rim_share": rim}
        )
    write_json(cam / "attention.json", entries)
