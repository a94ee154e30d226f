"""What a network costs whoever uses it: the time of one image, its parameters, its size on disk.

All of it follows from the architecture, so it is measured before the training, with random weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch

from trainables.backbones import Classifier, build_classifier
from trainables.contract import Footprint
from trainables.process import borrowed_process

NUM_RUNS = 15
SECONDS_OF_RUNS = 0.1  # a network that is slower than that runs three times
FEWEST_RUNS = 3


def measure_footprint(
    params: Mapping[str, Any], num_classes: int, *, device: str = "cpu"
) -> Footprint:
    """Build the network that `params` describes as the exported model is, and classify one image.

    The image goes through in float32 with one thread, as `search.predict` does it. On a CPU its
    time is that of the thread, so that other processes matter less; the median of several runs.

    Args:
        params: Complete hyperparameters; size_px is the side of the image.
        num_classes: Number of logits.
        device: "cpu", "cuda" or "cuda:1".

    Raises:
        ValueError: The network cannot be built.
    """
    size_px = int(params["size_px"])
    with borrowed_process(device, 1):
        model = build_classifier(params, num_classes, size_px).to(device).eval()
        milliseconds = 1000 * _seconds_an_image(model, size_px, device)
    stored = model.state_dict().values()
    return Footprint(
        latency_ms=round(milliseconds, 3),
        num_parameters=sum(p.numel() for p in model.parameters()),
        model_mb=round(sum(t.numel() * t.element_size() for t in stored) / 1e6, 3),
    )


@torch.inference_mode()
def _seconds_an_image(model: Classifier, size_px: int, device: str) -> float:
    image = torch.randint(0, 256, (1, size_px, size_px, 3), dtype=torch.uint8)
    image = image.permute(0, 3, 1, 2).to(device)
    model(image)  # oneDNN compiles its kernels in the first run, cuDNN chooses them
    seconds: list[float] = []
    while len(seconds) < FEWEST_RUNS or (
        len(seconds) < NUM_RUNS and sum(seconds) < SECONDS_OF_RUNS
    ):
        begin = _now(device)
        model(image)
        seconds.append(_now(device) - begin)
    return statistics.median(seconds)


def _now(device: str) -> float:
    """Return the seconds that this thread computed until now, or that a GPU worked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time()
