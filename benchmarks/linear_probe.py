"""Measure linear probes, which share features, against forwarding the frozen backbone every step.

python -m benchmarks.linear_probe [--weights DIR] [--images 2000] [--json FILE]

Sixteen probes with settings of their own train on one store of features that starts empty, so that
the extraction counts. Of the alternative, `classifier` with `freeze: backbone`, two epochs of one
trial are measured, and taken times what sixteen trials of ten epochs would be. One thread.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost, Figure, cost_of, describe_machine, verdict
from benchmarks.photos import draw_photos
from search.data.cache import build_cache
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.records import write_json
from trainables import classifier, linear_probe
from trainables.contract import TrialInputs
from trainables.parameters import default_params
from trainables.weights import find_weights

AIM = 50.0
NUM_TRIALS, NUM_EPOCHS, NUM_EPOCHS_MEASURED = 16, 10, 2
PHOTO_PX = (256, 192)
VAL_SHARE = 5  # one in five


def main(
    weights: Annotated[
        Path | None, typer.Option(help="Folder with mobilenetv2_100; random weights without it.")
    ] = None,
    images: Annotated[int, typer.Option(min=40, help="Number of drawn photos.")] = 2000,
    size_px: Annotated[int, typer.Option(min=32, help="Side of the images.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, by turns.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
) -> None:
    """Measure linear probes against forwarding the frozen backbone every step."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    backbone = "mobilenetv2_100" if weights else "mobilenetv3_small_100"
    file = find_weights(backbone, weights, download=False) if weights else None
    with tempfile.TemporaryDirectory(prefix="linear_probe ") as folder:
        data = _trial_data(Path(folder), images, size_px)
        _frozen_epochs(data, backbone, file, 1)  # to warm up
        costs = [
            (
                cost_of(lambda: _probes(data, backbone, file)),
                cost_of(lambda: _frozen_epochs(data, backbone, file, NUM_EPOCHS_MEASURED)),
            )
            for _ in range(rounds)
        ]
    figures = _figures(costs) | {"backbone": backbone, "weights": file.name if file else "random"}
    figures |= {"num_images": images, "size_px": size_px, "machine": describe_machine()}
    Console().print(_table(figures))
    if json is not None:
        write_json(json, figures)


def _trial_data(folder: Path, images: int, size_px: int) -> CachedData:
    draw_photos(folder / "photos", images, *PHOTO_PX)
    index = build_index([folder / "photos"])
    cache = build_cache(index, folder / "cache", size_px=size_px, fit="crop", num_workers=1)
    ids = np.arange(len(index.rows))
    return open_trial_data(cache, ids[ids % VAL_SHARE != 0], ids[ids % VAL_SHARE == 0])


def _probes(data: CachedData, backbone: str, weights: Path | None) -> None:
    """Train as many heads as a small study has trials, settings drawn alike every time."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="features ") as store:
        for seed in range(NUM_TRIALS):
            chosen: dict[str, Any] = {
                "backbone": backbone,
                "size_px": data.size_px,
                "lr": float(10 ** rng.uniform(-4, -2)),
                "dropout": float(rng.uniform(0, 0.5)),
                "optimizer": str(rng.choice(["adamw", "sgd"])),
            }
            inputs = TrialInputs(
                default_params("linear_probe") | chosen,
                data,
                max_epochs=NUM_EPOCHS,
                seed=seed,
                weights=weights,
                feature_store=Path(store),
            )
            linear_probe.train(inputs, lambda report, save: None)


def _frozen_epochs(data: CachedData, backbone: str, weights: Path | None, num_epochs: int) -> None:
    chosen: dict[str, Any] = {
        "backbone": backbone,
        "size_px": data.size_px,
        "freeze": "backbone",
        "augment_strength": 0.0,
    }
    inputs = TrialInputs(
        default_params("classifier") | chosen, data, max_epochs=num_epochs, weights=weights
    )
    classifier.train(inputs, lambda report, save: None)


def _figures(costs: list[tuple[Cost, Cost]]) -> dict[str, Any]:
    times = NUM_TRIALS * NUM_EPOCHS / NUM_EPOCHS_MEASURED
    ratio = Figure.of([times * frozen.cpu_seconds / ours.cpu_seconds for ours, frozen in costs])
    return {
        "probes_cpu_seconds": Figure.of([ours.cpu_seconds for ours, _ in costs]),
        "frozen_cpu_seconds": Figure.of([times * frozen.cpu_seconds for _, frozen in costs]),
        "ratio": ratio,
        "aim": AIM,
        "met": ratio.median >= AIM,
    }


def _table(figures: dict[str, Any]) -> Table:
    title = f"{NUM_TRIALS} trials of {NUM_EPOCHS} epochs, {figures['num_images']} images at "
    title += f"{figures['size_px']} px, {figures['backbone']}, CPU seconds"
    table = Table(title=title)
    for heading in ("linear_probe", "backbone forwarded every step", "ratio", f"aim ≥ {AIM:g}×"):
        table.add_column(heading, justify="right")
    ratio = figures["ratio"]
    table.add_row(
        f"{figures['probes_cpu_seconds'].median:.1f}",
        f"{figures['frozen_cpu_seconds'].median:.0f}",
        f"{ratio.median:.0f}× ({ratio.low:.0f}–{ratio.high:.0f})",
        verdict(figures["met"]),
    )
    return table


if __name__ == "__main__":
    typer.run(main)
