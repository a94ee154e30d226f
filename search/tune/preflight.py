"""Find out in seconds what would end a search after hours, or leave it pending for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import DatasetError, ResourceError
from search.space import Space
from search.tune.engine import Slots
from trainables.parameters import OWN_BACKBONES

MIN_GPU_SHARE = 0.25


@dataclass(frozen=True)
class Backbone:
    """What one backbone is on this cluster.

    Attributes:
        weights: Pretrained weights file, None for random weights.
        num_parameters: Of backbone and head.
        error: Why it cannot be built, "" if it can.
    """

    name: str
    weights: str | None
    num_parameters: int
    error: str = ""


def plan_slots(
    cpus: float, gpus: float | str, max_concurrent: int | str, have_cpus: float, have_gpus: float
) -> Slots:
    """Decide what each trial gets and how many run at once. Pure.

    With `gpus: auto` the GPUs are shared by as many trials as the CPUs feed, at most four a GPU.

    Raises:
        ResourceError: Not even one trial fits the cluster.
    """
    by_cpu = math.floor(have_cpus / cpus + 1e-9)
    if gpus == "auto":
        gpus = 0.0 if have_gpus == 0 else min(1.0, max(MIN_GPU_SHARE, have_gpus / max(1, by_cpu)))
    share = float(gpus)
    by_gpu = math.floor(have_gpus / share + 1e-9) if share > 0 else by_cpu
    # A trial of half a GPU cannot be put together from two quarters: count per whole GPU.
    if 0 < share < 1:
        by_gpu = math.floor(have_gpus) * math.floor(1 / share + 1e-9)
    count = min(by_cpu, by_gpu)
    if count < 1:
        raise ResourceError(
            f"resources: one trial asks for {cpus:g} CPUs and {share:g} GPUs, must fit the "
            f"cluster, got {have_cpus:g} CPUs and {have_gpus:g} GPUs in all. Ask for less."
        )
    return Slots(
        cpus, share, count if max_concurrent == "auto" else min(count, int(max_concurrent))
    )


def probe_backbones(
    names: Sequence[str],
    pretrained: Sequence[Any],
    num_classes: int,
    size_px: int,
    folder: Path | None,
) -> tuple[Backbone, ...]:
    """Build every backbone once in a worker: weights found, shapes fitting, parameters counted.

    Args:
        names: Backbones the space can ask for.
        pretrained: The values `pretrained` can take there.
        folder: The user's `--weights`, None to look in the local hub cache and the hub.

    Raises:
        DatasetError: A backbone cannot be built at this size, or its weights do not fit, or
            `pretrained: true` and none can be had.
    """
    import ray

    wants = any(bool(value) for value in pretrained)
    probe = ray.remote(num_cpus=1)(_probe)
    where = str(folder) if folder else None
    jobs = [
        probe.remote(name, wants and name not in OWN_BACKBONES, num_classes, size_px, where)
        for name in names
    ]
    found = tuple(Backbone(**value) for value in ray.get(jobs))
    problems = [f"space.backbone: {b.name} cannot be used: {b.error}" for b in found if b.error]
    if True in pretrained:
        problems += [
            f"space.pretrained: true needs weights of {b.name}, got none from "
            f"{folder or 'no --weights folder'}, the local hub cache or the hub. Put "
            f"{b.name}.safetensors into a folder named by --weights, or use pretrained: auto."
            for b in found
            if b.weights is None and b.name not in OWN_BACKBONES and not b.error
        ]
    if problems:
        raise DatasetError("\n".join(problems))
    return found


def _probe(
    name: str, wants_weights: bool, num_classes: int, size_px: int, folder: str | None
) -> dict[str, Any]:
    """Run inside a worker."""
    from trainables.backbones import build_classifier
    from trainables.parameters import default_params
    from trainables.weights import find_weights

    weights: Path | None = None
    try:
        if wants_weights:
            weights = find_weights(name, Path(folder) if folder else None)
        params = default_params("classifier") | {"backbone": name}
        model = build_classifier(params, num_classes, size_px, weights)
        count = sum(p.numel() for p in model.parameters())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return {"name": name, "weights": None, "num_parameters": 0, "error": reason}
    return {"name": name, "weights": str(weights) if weights else None, "num_parameters": count}


def weight_files(backbones: Sequence[Backbone]) -> dict[str, str | None]:
    """Return backbone -> weights file."""
    return {b.name: b.weights for b in backbones}


def missing_weights_warning(backbones: Sequence[Backbone], pretrained: Sequence[Any]) -> str:
    """Say which backbones start from random weights although pretrained ones were wanted."""
    if not any(bool(value) for value in pretrained):
        return ""
    names = [b.name for b in backbones if b.weights is None and b.name not in OWN_BACKBONES]
    if not names:
        return ""
    return (
        f"no pretrained weights for {', '.join(names)}: trained from random weights, and what "
        "`freeze` keeps stays random (name a folder of <model>.safetensors with --weights)"
    )


def possible_values(space: Space, name: str, default: Any) -> tuple[Any, ...]:
    """Return the values a choice or fixed value can take in a space; its default if left out."""
    for parameter in space.parameters:
        if parameter.name == name:
            return tuple(parameter.values or ())
    return (default,)
