"""Measure in a second what training a configuration takes: time an image, and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from trainables.backbones import Classifier, build_classifier
from trainables.contract import StepCost
from trainables.fastest import NUM_CLASSES, affordable_batch, now, train_steps
from trainables.memory import memory_of_a_step
from trainables.precision import Mode

COST_PARAMS = ("backbone", "size_px", "depth", "width", "kernel_size", "batch_size")
LARGEST_BATCH_OF_A_GPU = 64
NUM_EVAL_STEPS = 3  # the first one is not counted


def measure_cost(
    params: Mapping[str, Any],
    mode: Mode,
    *,
    device: str = "cpu",
    num_threads: int = 1,
    trains: bool = True,
    images_per_second: float | None = None,
) -> StepCost:
    """Train and judge a few random images.

    Seconds of a CPU are its own divided by the threads, so that other processes matter less.

    Args:
        params: Complete hyperparameters of a classifier, size_px among them.
        trains: Whether trials train the backbone, or only ask it for features.
        images_per_second: That the configuration trains, where it is known; measured otherwise.

    Raises:
        RuntimeError: Not even a few images fit in memory.
        ValueError: The backbone cannot be built.
    """
    size_px = int(params["size_px"])
    threads = num_threads if torch.device(device).type == "cpu" else 1
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with torch.random.fork_rng(devices=[device] if threads != num_threads else []):
            model = build_classifier(params, NUM_CLASSES, size_px)
            fixed, per_image = memory_of_a_step(model, size_px, mode) if trains else (0, 0)
            num_features = next(m for m in model.head if isinstance(m, torch.nn.Linear)).in_features
            model.to(device)
            if trains and images_per_second is None:
                images_per_second = threads / _train_seconds(model, size_px, mode, device, params)
            seconds = _eval_seconds(model, size_px, mode, device) / threads
    finally:
        torch.set_num_threads(before)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return StepCost(
        params={name: params[name] for name in COST_PARAMS if name in params},
        train_seconds=1 / images_per_second if trains and images_per_second else 0.0,
        eval_seconds=seconds,
        fixed_bytes=fixed + (weights if params.get("ema") else 0),
        bytes_per_image=per_image,
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_features=num_features,
    )


def _train_seconds(
    model: Classifier, size_px: int, mode: Mode, device: str, params: Mapping[str, Any]
) -> float:
    """Return the seconds a step takes for each of its images."""
    count = affordable_batch(model, size_px, mode, device)
    if torch.device(device).type == "cuda":  # a GPU is no slower with a batch as trials have it
        count = min(int(params["batch_size"]), LARGEST_BATCH_OF_A_GPU)
    labels = torch.arange(count) % NUM_CLASSES
    batch = _images(count, size_px).to(device), labels.to(device)
    _, seconds = train_steps(model, batch, mode, device, num_steps=3)
    return seconds / count


@torch.inference_mode()
def _eval_seconds(model: Classifier, size_px: int, mode: Mode, device: str) -> float:
    model.eval().to(memory_format=mode.memory_format)
    images = _images(8, size_px).to(device).contiguous(memory_format=mode.memory_format)
    times = []
    for _ in range(NUM_EVAL_STEPS):
        begin = now(device)
        with mode.autocast(device):
            model(images)
        times.append(now(device) - begin)
    return min(times[1:]) / len(images)


def _images(count: int, size_px: int) -> torch.Tensor:
    shape = (count, size_px, size_px, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
