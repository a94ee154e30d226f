"""Find out in seconds what would end a search after hours, or leave it pending for ever."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import DatasetError, ResourceError
from search.tune.engine import Slots
from trainables.parameters import OWN_BACKBONES

MIN_GPU_SHARE = 0.25
MAX_SIZES_TRIED = 4
DROP_PATH_TRIED = 0.1
BYTES_OF_LIBRARIES = 900_000_000
"""Resident in a worker before its first trial: torch built for CUDA, timm and ray."""
SMALLEST_MEMORY = 300_000_000


@dataclass(frozen=True)
class Backbone:
    """What one backbone is on this cluster.

    Attributes:
        weights: Pretrained weights file, None for random weights.
        num_parameters: Of backbone and head.
        error: Why it cannot be built, "" if it can.
        mode: Arithmetic in which its trials train, a name of trainables/precision.py; "" for the
            rule there.
    """

    name: str
    weights: str | None
    num_parameters: int
    error: str = ""
    mode: str = ""


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


def memory_of_a_slot(cluster_bytes: float, num_slots: int) -> int | None:
    """Return what a training may take beside the libraries that every worker loads. Pure.

    Args:
        cluster_bytes: Of all nodes; 0 where it is not known, and then there is no limit.
    """
    if not cluster_bytes:
        return None
    return max(SMALLEST_MEMORY, int(cluster_bytes / num_slots) - BYTES_OF_LIBRARIES)


def probe_backbones(
    names: Sequence[str],
    pretrained: Sequence[Any],
    num_classes: int,
    sizes_px: Sequence[int],
    folder: Path | None,
    *,
    slots: Slots,
    dropping_paths: Collection[str] = (),
    measure: bool = True,
) -> tuple[Backbone, ...]:
    """Build every backbone once in a worker: weights, shapes, size, and its fastest arithmetic.

    Args:
        names: Backbones the space can ask for.
        pretrained: The values `pretrained` can take there.
        sizes_px: The sides of the images it can ask for, smallest first; of many, the ends are
            tried.
        folder: The user's `--weights`, None to look in the local hub cache and the hub.
        slots: What one trial gets.
        dropping_paths: Backbones that can be asked for drop_path.
        measure: Whether some trials train the backbone.

    Raises:
        DatasetError: A backbone cannot be built at a size, or its weights do not fit, or
            `pretrained: true` and none can be had.
    """
    import ray

    wants = any(bool(value) for value in pretrained)
    probe = ray.remote(num_cpus=slots.cpus, num_gpus=slots.gpus)(_probe)
    threads = slots.num_threads if measure else 0
    where = str(folder) if folder else None
    sizes = list(sizes_px) if len(sizes_px) <= MAX_SIZES_TRIED else [sizes_px[0], sizes_px[-1]]
    jobs = [
        probe.remote(
            {"backbone": name, "drop_path": DROP_PATH_TRIED if name in dropping_paths else 0.0},
            wants and name not in OWN_BACKBONES,
            num_classes,
            sizes,
            where,
            threads,
        )
        for name in names
    ]
    found = tuple(Backbone(**value) for value in ray.get(jobs))
    if problems := _problems(found, True in pretrained, folder):
        raise DatasetError("\n".join(problems))
    return found


def _problems(found: Sequence[Backbone], insists: bool, folder: Path | None) -> list[str]:
    """Name the backbones that cannot be built, and those without weights if it insists on them."""
    problems = [f"space.backbone: {b.name} cannot be used: {b.error}" for b in found if b.error]
    if insists:
        problems += [
            f"space.pretrained: true needs weights of {b.name}, got none from "
            f"{folder or 'no --weights folder'}, the local hub cache or the hub. Put "
            f"{b.name}.safetensors into a folder named by --weights, or use pretrained: auto."
            for b in found
            if b.weights is None and b.name not in OWN_BACKBONES and not b.error
        ]
    return problems


def _probe(
    chosen: dict[str, Any],
    wants_weights: bool,
    num_classes: int,
    sizes_px: list[int],
    folder: str | None,
    num_threads: int,
) -> dict[str, Any]:
    """Run inside a worker; without threads the arithmetic is not measured."""
    import ray

    from trainables.backbones import build_classifier
    from trainables.fastest import fastest_mode
    from trainables.parameters import default_params
    from trainables.weights import find_weights

    weights: Path | None = None
    mode, name = "", chosen["backbone"]
    try:
        if wants_weights:
            weights = find_weights(name, Path(folder) if folder else None)
        params = default_params("classifier") | chosen
        for size_px in sizes_px:
            model = build_classifier(params, num_classes, size_px, weights)
            count = sum(p.numel() for p in model.parameters())
        if num_threads:
            device = "cuda" if ray.get_gpu_ids() else "cpu"
            mode = str(fastest_mode(params, sizes_px[-1], device, num_threads, _user_cache()))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return {"name": name, "weights": None, "num_parameters": 0, "error": reason}
    found = str(weights) if weights else None
    return {"name": name, "weights": found, "num_parameters": count, "mode": mode}


def _user_cache() -> Path:
    """Return where this machine's user keeps what can be measured again."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "seed-search"


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
