"""What the explanations of a made-up study say of its heat maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from search.records import write_json

SIDE = 16


def write_cam(cam: Path, table: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """Write what explanations there are of a table of predictions, with pictures made up."""
    cam.mkdir(parents=True, exist_ok=True)
    table = [table[k] for k in rng.permutation(len(table))]
    right = [row for row in table if row["label"] == row["predicted"]]
    wrong = [row for row in table if row["label"] != row["predicted"]]
    sure = sorted(wrong, key=lambda row: -row["confidence"])
    chosen = [("right", r) for r in right[:6]] + [("wrong", r) for r in wrong[:6]]
    entries = []
    chosen += [("confident_wrong", r) for r in sure[:4]]
    kinds = Counter((row["label"], row["predicted"]) for row in wrong)
    first = kinds.most_common(1)[0][0] if kinds else ("", "")
    of_pair = [r for r in sure if {r["label"], r["predicted"]} == {*first}]
    for k, (group, row) in enumerate(chosen + [("confused_pair", r) for r in of_pair[:2]], 1):
        _draw_photo(cam / f"{k:04d}.png", cam / f"{k:04d}_gradcam.png", rng)
        contrast = {"contrast": f"{k:04d}_gradcam.png", "rather_than": row["label"]}
        plain = {name: row[name] for name in ("path", "label", "predicted", "confidence")}
        kind = (row["label"], row["predicted"])
        plain |= {"mixed_up": [kinds[kind], kinds[kind[::-1]]]} if kind in kinds else {}
        note = "Grad-CAM came out blank; HiResCAM shown." if k == 3 else ""
        entries.append(
            {"image": f"{k:04d}.png", "heat": f"{k:04d}_gradcam.png",
             "method": "HiResCAM" if note else "Grad-CAM", "region_share": 0.8, "region_area": 0.1,
             "group": group, "note": note} | plain | (contrast if k != 2 else {})
        )  # fmt: skip
    write_json(cam / "cam.json", entries)
    _write_heat(cam, sorted({row["label"] for row in table}), rng)


def _draw_photo(photo: Path, heat: Path, rng: np.random.Generator) -> None:
    ramp = np.linspace(90, 210, 96)[:, None, None] + rng.normal(0, 8, (96, 96, 3))
    image = Image.fromarray(np.clip(ramp, 0, 255).astype(np.uint8))
    x, y = (int(v) for v in rng.integers(20, 70, 2))
    colour = tuple(int(v) for v in rng.integers(20, 235, 3))
    ImageDraw.Draw(image).ellipse((x - 18, y - 12, x + 18, y + 12), fill=colour)
    image.save(photo)
    far = np.hypot(*np.meshgrid(np.arange(96) - x, np.arange(96) - y)) / 30
    glow = np.exp(-(far**2))[..., None] * np.array([255, 60, 0])
    Image.fromarray(np.clip(np.asarray(image) * 0.5 + glow * 0.5, 0, 255).astype(np.uint8)).save(
        heat
    )


def _write_heat(cam: Path, classes: Sequence[str], rng: np.random.Generator) -> None:
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
