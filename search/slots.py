"""How many trials run at once, and what each of them gets. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.errors import ResourceError
from trainables.contract import SMALLEST_MICRO_BATCH, StepCost
from trainables.parameters import OWN_BACKBONES

MIN_GPU_SHARE = 0.25
BYTES_OF_LIBRARIES = 900_000_000
"""Resident in a worker before its first trial: torch built for CUDA, timm and ray."""
SMALLEST_MEMORY = 300_000_000
GOOD_MICRO_BATCH = 8
"""Images forwarded at once for which a slot is given up: smaller pieces train poorly and slowly."""


@dataclass(frozen=True)
class Slots:
    """What one training gets, and how many run at once.

    Attributes:
        memory_bytes: Of the CPU's memory beside the libraries, None for no limit.
        most_on_a_node: How many run at once on the node with most room; 0 where there is one node.
        beside: How many light trainings run besides, without a GPU, on nodes that have none.
    """

    cpus: float
    gpus: float
    count: int
    memory_bytes: int | None = None
    most_on_a_node: int = 0
    beside: int = 0

    @classmethod
    def none(cls) -> Slots:
        """Return those of no node at all."""
        return cls(1, 0, 0)

    @property
    def at_once(self) -> int:
        return self.count + self.beside

    @property
    def num_threads(self) -> int:
        return max(1, int(self.cpus))

    def merged(self) -> Slots:
        """Return one slot with all the CPUs of a node, for a training that runs alone."""
        count = min(self.count, self.most_on_a_node or self.count)
        memory = None if self.memory_bytes is None else self.memory_bytes * count
        return Slots(self.cpus * count, self.gpus, 1, memory)


def plan_slots(
    cpus: float,
    gpus: float | str,
    max_concurrent: int | str,
    nodes: Sequence[tuple[float, float]],
) -> Slots:
    """Decide what each trial gets and how many run at once.

    With `gpus: auto` the GPUs are shared by as many trials as the CPUs feed, at most four a GPU.

    Args:
        nodes: CPUs and GPUs of each node; a trial runs on one of them.

    Raises:
        ResourceError: Not even one trial fits a node.
    """
    have_cpus, have_gpus = (sum(have) for have in zip(*nodes, strict=True)) if nodes else (0, 0)
    if gpus == "auto":
        by_cpu = max(1, math.floor(have_cpus / cpus + 1e-9))
        gpus = 0.0 if have_gpus == 0 else min(1.0, max(MIN_GPU_SHARE, have_gpus / by_cpu))
    share = float(gpus)
    counts = [_trials_at_once(cpus, share, *node) for node in nodes]
    if not any(counts):
        where = "this machine" if len(nodes) == 1 else f"one of {len(nodes)} nodes"
        raise ResourceError(
            f"resources: one trial asks for {cpus:g} CPUs and {share:g} GPUs, must fit {where}, "
            f"got {have_cpus:g} CPUs and {have_gpus:g} GPUs in all. Ask for less."
        )
    count = sum(counts)
    if max_concurrent != "auto":
        count = min(count, int(max_concurrent))
    return Slots(cpus, share, count, most_on_a_node=max(counts) if len(nodes) > 1 else 0)


def _trials_at_once(cpus: float, share: float, have_cpus: float, have_gpus: float) -> int:
    """Return how many trials fit a node."""
    by_cpu = math.floor(have_cpus / cpus + 1e-9)
    if share == 0:
        return by_cpu
    # A trial of half a GPU cannot be put together from two quarters: count per whole GPU.
    by_gpu = math.floor(have_gpus / share + 1e-9)
    if share < 1:
        by_gpu = math.floor(have_gpus) * math.floor(1 / share + 1e-9)
    return min(by_cpu, by_gpu)


def count_again(
    slots: Slots, max_concurrent: int | str, nodes: Sequence[tuple[float, float]]
) -> Slots:
    """Return how many run on the nodes that are there now, perhaps none; each gets what it got."""
    count = sum(_trials_at_once(slots.cpus, slots.gpus, *node) for node in nodes)
    if max_concurrent != "auto":
        count = min(count, int(max_concurrent))
    return replace(slots, count=count)


def is_light(trainable: str, backbone: str) -> bool:
    """Tell a training that a CPU can take off a GPU: a head on frozen features, or an own CNN."""
    return trainable == "linear_probe" or backbone in OWN_BACKBONES


def light_names(trainables: Sequence[str], backbones: Sequence[str]) -> list[str]:
    """Return what `is_light` among the trials of a space."""
    probes = [name for name in trainables if is_light(name, "")]
    trained = backbones if len(probes) < len(trainables) else ()
    return probes + [name for name in trained if is_light("", name)]


def lend_cpus(
    slots: Slots,
    gpus: float | str,
    max_concurrent: int | str,
    nodes: Sequence[tuple[float, float]],
    light: Sequence[str],
) -> tuple[Slots, str]:
    """Let light trainings run on nodes without a GPU, where the others need a share of one.

    Args:
        gpus: As the user wants it; a number is meant for every trial.
        nodes: CPUs and GPUs of each node that is up: an autoscaler is not made to start others.
        light: See `light_names`.

    Returns:
        The slots, and what to say of the nodes without a GPU; "" where all nodes are alike.
    """
    without = [node for node in nodes if not node[1] and _trials_at_once(slots.cpus, 0, *node)]
    if not slots.gpus or not without:
        return replace(slots, beside=0), ""
    where = f"{len(without)} without a GPU"
    if gpus != "auto":
        return slots, f"{where} stay idle: resources.gpus is for every trial; try gpus: auto"
    if not light:
        return slots, f"{where} stay idle: no trial of this space is a linear_probe or an own CNN"
    beside = sum(_trials_at_once(slots.cpus, 0, *node) for node in without)
    if max_concurrent != "auto":
        beside = min(beside, int(max_concurrent) - slots.count)
    if not beside:
        return slots, f"{where} stay idle: resources.max_concurrent leaves them no trial"
    return replace(slots, beside=beside), (
        f"{where} take {', '.join(light)}, {beside} at once; all else, and light trials when they "
        f"are full, {slots.gpus:g} of a GPU each, {slots.count} at once"
    )


def memory_of_a_slot(cluster_bytes: float, num_slots: int) -> int | None:
    """Return what a training may take beside the libraries that every worker loads.

    Args:
        cluster_bytes: Of all nodes; 0 where it is not known, and then there is no limit.
    """
    if not cluster_bytes:
        return None
    return max(SMALLEST_MEMORY, int(cluster_bytes / num_slots) - BYTES_OF_LIBRARIES)


def fit_memory(
    slots: Slots, costs: Mapping[str, StepCost], cluster_bytes: float
) -> tuple[Slots, str]:
    """Give each slot its share of the memory, of fewer slots where the largest network needs it.

    Batches that do not fit are forwarded in pieces, so only the smallest piece has to.

    Args:
        costs: What the largest configuration of each backbone takes.

    Returns:
        The slots, and a sentence on those that were given up ("" for none).

    Raises:
        ResourceError: Not even one trial of some backbone fits the memory.
    """
    if not slots.at_once:
        return slots, ""
    if slots.gpus or not cluster_bytes or not costs:  # a GPU says by itself when it is full
        return replace(slots, memory_bytes=memory_of_a_slot(cluster_bytes, slots.at_once)), ""
    name = max(costs, key=lambda backbone: costs[backbone].memory_bytes(GOOD_MICRO_BATCH))
    cost, whole = costs[name], cluster_bytes - BYTES_OF_LIBRARIES
    if (least := cost.memory_bytes(SMALLEST_MICRO_BATCH)) > max(whole, SMALLEST_MEMORY):
        raise ResourceError(
            f"space.backbone: a trial of {name} ({cost.num_parameters / 1e6:,.1f} M parameters, "
            f"{cost.params['size_px']} px) needs {(least + BYTES_OF_LIBRARIES) / 1e9:.1f} GB of "
            f"memory even for {SMALLEST_MICRO_BATCH} images at once, must fit this machine, got "
            f"{cluster_bytes / 1e9:.1f} GB. Lower size_px, or choose a smaller backbone."
        )
    count, wanted = slots.count, cost.memory_bytes(GOOD_MICRO_BATCH)
    while count > 1 and wanted > (memory_of_a_slot(cluster_bytes, count) or 0):
        count -= 1
    fitted = replace(slots, count=count, memory_bytes=memory_of_a_slot(cluster_bytes, count))
    if count == slots.count:
        return fitted, ""
    return fitted, (
        f"{count} instead of {slots.count} trials at once: {name} needs "
        f"{(wanted + BYTES_OF_LIBRARIES) / 1e9:.1f} GB each at {cost.params['size_px']} px, of "
        f"{cluster_bytes / 1e9:.1f} GB in all"
    )
