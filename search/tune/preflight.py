"""Find out in seconds what would end a search after hours, or leave it pending for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from search.config import StudyConfig
from search.errors import DatasetError
from search.goals import architecture_of
from search.slots import Slots
from search.tune.home import Home
from search.tune.node_files import file_here, user_cache
from trainables.contract import Augmentation, StepCost
from trainables.parameters import OWN_BACKBONES, default_params

if TYPE_CHECKING:
    from search.tune.cluster import Cluster

MAX_SIZES_TRIED = 4
DROP_PATH_TRIED = 0.1
NUM_IMAGES_LOADED = 24
KEEPING_NOTHING = {"freeze": "none", "norm_statistics": "train"}


@dataclass(frozen=True)
class Backbone:
    """What one backbone is on this cluster.

    Attributes:
        weights: Pretrained weights file, None for random weights.
        num_parameters: Of backbone and head.
        error: Why it cannot be built, "" if it can.
        mode: Arithmetic in which its trials train, a name of trainables/precision.py; "" for the
            rule there.
        costs: What its cheapest and its dearest configuration take; () where it was not measured.
        footprints: Architecture -> footprint, of the default recipe if it is of this backbone.
    """

    name: str
    weights: str | None
    num_parameters: int
    error: str = ""
    mode: str = ""
    costs: tuple[StepCost, ...] = ()
    footprints: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a stage's marker."""
        return vars(self) | {"costs": [vars(cost) for cost in self.costs]}

    def describe(self) -> str:
        """Say in a line what it is, where it comes from and how fast it trains."""
        source = Path(self.weights).name if self.weights else "random weights"
        parts = [f"{self.num_parameters / 1e6:.1f} M parameters", source]
        speeds = sorted(1 / (c.train_seconds or c.eval_seconds) for c in self.costs)
        if speeds:
            low, high = f"{speeds[0]:,.0f}", f"{speeds[-1]:,.0f}"
            verb = "trains" if self.costs[-1].train_seconds else "judges"
            parts.append(f"{verb} {low if low == high else f'{low} to {high}'} images/s")
        return ", ".join([*parts, *([self.mode] if self.mode else [])])

    def trained_as(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return complete params as they can be trained: random weights are not worth keeping.

        A space that keeps early stages or statistics is written for pretrained weights; where
        there are none, features that nobody ever trained would stay.
        """
        if self.weights and params["pretrained"]:
            return params
        return {name: KEEPING_NOTHING.get(name, value) for name, value in params.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Backbone:
        """Read what `to_json` returned."""
        costs = tuple(StepCost(**cost) for cost in row.get("costs", ()))
        return cls(**{**row, "costs": costs})


def probe_backbones(
    ends: Mapping[str, Sequence[Mapping[str, Any]]],
    pretrained: Sequence[Any],
    num_classes: int,
    sizes_px: Sequence[int],
    folder: Path | None,
    *,
    slots: Slots,
    cluster: Cluster,
    dropping_paths: Collection[str] = (),
    trains: bool = True,
    default: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Backbone, ...]:
    """Build every backbone once in a worker: weights, shapes, fastest arithmetic, time and memory.

    Args:
        ends: Complete params of each backbone's cheapest and dearest configuration.
        pretrained: The values `pretrained` can take in the space.
        sizes_px: The sides of the images there, smallest first; of many, the ends are tried.
        folder: The user's `--weights`, None to look in the local hub cache and the hub.
        slots: What one trial gets.
        cluster: On whose nodes they run.
        dropping_paths: Backbones that can be asked for drop_path.
        trains: Whether some trials train the backbone.
        default: Complete params of the default recipe, to measure its footprint.

    Raises:
        DatasetError: A backbone cannot be built at a size, or its weights do not fit, or
            `pretrained: true` and none can be had.
    """
    wants = any(bool(value) for value in pretrained)
    sizes = list(sizes_px) if len(sizes_px) <= MAX_SIZES_TRIED else [sizes_px[0], sizes_px[-1]]
    shared: dict[str, Any] = {"num_threads": slots.num_threads, "folder": folder, "trains": trains}
    shared |= {"home": cluster.home, "latency_on_cpu": bool(slots.beside)}
    calls = []
    for name, points in ends.items():
        drop_path = DROP_PATH_TRIED if name in dropping_paths else 0.0
        own: dict[str, Any] = {
            "wants_weights": wants and name not in OWN_BACKBONES,
            "drop_path": drop_path,
        }
        given = {"name": name, "points": list(points), "num_classes": num_classes}
        own["default"] = dict(default) if default.get("backbone") == name else {}
        calls.append(given | {"sizes_px": sizes} | own | shared)
    found = _run_probes(calls, slots, cluster.label_selector())
    if problems := _problems(found, True in pretrained, folder):
        raise DatasetError("\n".join(problems))
    return found


def _run_probes(
    calls: Sequence[dict[str, Any]], slots: Slots, nodes: Mapping[str, str]
) -> tuple[Backbone, ...]:
    """Run `_probe` with these arguments in workers, and give their memory back."""
    import ray

    # A worker that has probed takes no trial: unless there is much to do, half of them only wait.
    num_probers = max(1, slots.count // 2) if len(calls) <= 2 * slots.count else slots.count
    run: Any = _probe  # Ray's types know no keywords
    probe = ray.remote(
        num_cpus=slots.cpus,
        num_gpus=slots.gpus,
        max_calls=math.ceil(len(calls) / num_probers),  # then its worker gives its memory back
        label_selector=dict(nodes),
    )(run)
    jobs: list[Any] = []
    for call in calls:
        if len(jobs) >= num_probers:
            ray.wait(jobs, num_returns=len(jobs) - num_probers + 1)
        jobs.append(probe.remote(**call))
    return tuple(ray.get(jobs))


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
    name: str,
    points: list[Mapping[str, Any]],
    num_classes: int,
    sizes_px: list[int],
    *,
    num_threads: int,
    wants_weights: bool,
    folder: Path | None,
    home: Home,
    drop_path: float,
    trains: bool,
    default: Mapping[str, Any],
    latency_on_cpu: bool,
) -> Backbone:
    """Run inside a worker."""
    import ray

    from trainables.backbones import build_classifier

    device = "cuda" if ray.get_gpu_ids() else "cpu"
    try:
        source = home.find_weights(name, folder) if wants_weights else None
        weights = file_here(source, home) if source else None
        params = default_params("classifier") | dict(points[-1]) | {"drop_path": drop_path}
        for size_px in sizes_px:
            build_classifier(params, num_classes, size_px, weights)
        mode, costs = measure_backbone(points, device, num_threads, trains=trains)
        measured_on = "cpu" if latency_on_cpu else device
        footprints = footprints_of(default, num_classes, measured_on) if default else {}
    except Exception as error:
        return Backbone(name, None, 0, f"{type(error).__name__}: {error}")
    kept = str(source) if source else None
    return Backbone(name, kept, costs[-1].num_parameters, "", mode, costs, footprints)


def footprints_of(
    params: Mapping[str, Any], num_classes: int, device: str
) -> dict[str, dict[str, float]]:
    """Measure the footprint of complete params in this process, and name their architecture."""
    from trainables.footprint import measure_footprint

    measured = measure_footprint(params, num_classes, device=device)
    return {architecture_of(params): asdict(measured)}


def measure_backbone(
    points: Sequence[Mapping[str, Any]],
    device: str,
    num_threads: int,
    *,
    trains: bool = True,
    thorough: bool = True,
) -> tuple[str, tuple[StepCost, ...]]:
    """Measure one backbone in this process, with random weights.

    Args:
        points: Complete params of its cheapest and its dearest configuration, or of one.
        trains: Whether some trials train the backbone.
        thorough: Find out the fastest arithmetic; if not, take what is known or ruled.

    Returns:
        The arithmetic's name ("" if no trial trains it), and what each configuration takes.

    Raises:
        ValueError: The backbone cannot be built.
    """
    from trainables.cost import measure_cost
    from trainables.fastest import fastest_mode, known_mode

    ends = [default_params("classifier") | dict(point) for point in points]
    question = (ends[-1], ends[-1]["size_px"], device, num_threads, user_cache())
    arithmetic = fastest_mode(*question) if trains and thorough else known_mode(*question)
    costs = []
    for params in ends:
        known = arithmetic.images_per_second if params is ends[-1] and device == "cpu" else None
        cost = measure_cost(
            params,
            arithmetic.mode,
            device=device,
            num_threads=num_threads,
            trains=trains,
            images_per_second=known,
        )
        seconds = _seconds_to_load(params["size_px"]) if device == "cpu" else 0.0
        costs.append(replace(cost, load_seconds=seconds / num_threads))
    return (str(arithmetic.mode) if trains else ""), tuple(costs)


def _seconds_to_load(size_px: int) -> float:
    """Return the seconds of one CPU that one augmented image takes."""
    from search.data.augment import augment, image_rng
    from search.data.cache import stored_side

    side = stored_side(size_px)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = np.empty((size_px, size_px, 3), np.uint8)
    begin = time.process_time()
    for k in range(NUM_IMAGES_LOADED):
        augment(image, out, Augmentation(0.5), image_rng(0, 0, k))
    return (time.process_time() - begin) / NUM_IMAGES_LOADED


def missing_weights_warning(backbones: Sequence[Backbone], pretrained: Sequence[Any]) -> str:
    """Say which backbones start from random weights although pretrained ones were wanted."""
    if not any(bool(value) for value in pretrained):
        return ""
    names = [b.name for b in backbones if b.weights is None and b.name not in OWN_BACKBONES]
    if not names:
        return ""
    return (
        f"no pretrained weights for {', '.join(names)}: trained from random weights, all layers "
        "whatever `freeze` says (name a folder of <model>.safetensors with --weights)"
    )


def default_recipe(config: StudyConfig) -> dict[str, Any]:
    """Return the complete params of trial 0, those that the space fixes among them."""
    return config.recipe | config.search_space.complete({}, config.recipe)


def default_warning(config: StudyConfig, footprints: Mapping[str, Mapping[str, float]]) -> str:
    """Say which constraints the default recipe breaks, "" if none, or none that can be told yet.

    Args:
        footprints: Those that are known, by architecture.
    """
    network = architecture_of(default_recipe(config))
    faults = config.goals.faults(footprints.get(network, {}))
    if not faults:
        return ""
    return (
        f"the default recipe breaks the constraints: {faults}. Trial 0 is not trained, and nothing "
        "is compared with it: give the space another default, or loosen the constraint"
    )
