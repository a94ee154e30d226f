"""The nodes that trainings run on: what they have, what they lack, who comes and who goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import ray
import yaml
from ray.tune import PlacementGroupFactory
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.records import ImageCache
from search.slots import Slots, count_again
from search.tune.home import Home, make_home
from search.tune.node_files import images_here

BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where Ray's cluster launcher leaves its description of the cluster, on the head."""
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head alone."""
SECONDS_TO_PREPARE = 3600.0
NUM_TRIES = 3
"""Trainings that a node which came late may fail to begin, before it is left out."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    Attributes:
        node_id: Ray's.
        memory_bytes: What Ray lends to workers.
    """

    node_id: str
    name: str
    cpus: float
    gpus: float
    memory_bytes: float


@dataclass
class Cluster:
    """The nodes a study may use.

    Attributes:
        home: Where its files are.
        is_own: Started by this command, on this machine alone.
        excluded: Node id -> why no training may run there.
        prepared: Ids of the nodes that have the images.
        refused: Node id -> trainings that could not begin there.
    """

    home: Home = field(default_factory=Home)
    is_own: bool = True
    excluded: dict[str, str] = field(default_factory=dict)
    prepared: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        _OF_THIS_PROCESS[id(self)] = self

    def __reduce__(self) -> Any:
        """Pickle to the same object in this process: Tune keeps what holds it in pickled form."""
        return _of_this_process, (id(self),)

    @classmethod
    def joined(cls) -> Cluster:
        """Return the cluster that this process has joined."""
        return cls(make_home(), is_own=False)

    def nodes(self) -> list[Node]:
        """Return the nodes that are up and not excluded."""
        found = [_describe(row) for row in ray.nodes() if row["Alive"]]
        return [node for node in found if node.node_id not in self.excluded]

    def sizes_up(self) -> list[tuple[float, float]]:
        """Return CPUs and GPUs of each node that is up."""
        return [(node.cpus, node.gpus) for node in self.nodes()]

    def sizes(self) -> list[tuple[float, float]]:
        """Return CPUs and GPUs of each node, of those too that would be started when asked for."""
        here = self.sizes_up()
        to_come = [] if self.is_own else launchable_nodes(BOOTSTRAP_FILE.expanduser())
        missing = len(to_come) - self._num_workers_up()
        return here + to_come[len(to_come) - max(0, missing) :]

    def _num_workers_up(self) -> int:
        """Count what the autoscaler would count: not the head, but what is excluded too."""
        rows = (row["Resources"] for row in ray.nodes() if row["Alive"])
        return sum(1 for have in rows if have.get("CPU") and HEAD not in have)

    @property
    def may_grow(self) -> bool:
        """Whether an autoscaler would start more machines now."""
        return len(self.sizes()) > len(self.nodes())

    def describe(self) -> str:
        """Say what there is, and what would be started when asked for."""
        here = Counter((node.cpus, node.gpus) for node in self.nodes())
        extra = Counter(self.sizes()) - here
        text = f"{sum(here.values())} up ({_show_sizes(here)})"
        return f"{text}; the autoscaler may add {_show_sizes(extra)}" if extra else text

    def memory_bytes(self) -> float:
        """Return what Ray lends to workers on all nodes; 0 where it is not known."""
        return sum(node.memory_bytes for node in self.nodes() if node.cpus)

    def resources(self, slots: Slots, *, on_cpu: bool = False) -> PlacementGroupFactory:
        """Return what one training asks for.

        Args:
            on_cpu: Without a GPU though the others have a share of one, on a node that has none.
        """
        gpus = 0.0 if on_cpu else slots.gpus
        return NodeShare({"CPU": slots.cpus} | ({"GPU": gpus} if gpus else {}), self, on_cpu)

    def label_selector(self, *, on_cpu: bool = False) -> dict[str, str]:
        """Return Ray's words for the nodes that a training may be on now; {} for all."""
        left_out = set(self.excluded)
        if on_cpu:
            nodes = self.nodes()
            with_gpu = {node.node_id for node in nodes if node.gpus}
            # Where no other is left it may be there: better than to wait for ever.
            left_out |= with_gpu if any(n.cpus and not n.gpus for n in nodes) else set()
        return {"ray.io/node-id": f"!in({','.join(sorted(left_out))})"} if left_out else {}

    def refuse(self, node_id: str, reason: str, slots: Slots, warn: Say) -> bool:
        """Count a training that could not begin on a node, and leave the node out after a few.

        Returns:
            Whether trainings can go on elsewhere.
        """
        others = [node for node in self.nodes() if node.node_id != node_id]
        sizes = [(node.cpus, node.gpus) for node in others]
        if not count_again(slots, "auto", sizes).count:
            return False
        self.refused[node_id] += 1
        if self.refused[node_id] >= NUM_TRIES and node_id not in self.excluded:
            names = {row["NodeID"]: row["NodeManagerHostname"] for row in ray.nodes()}
            self._leave_out(node_id, names.get(node_id, node_id[:8]), reason, warn)
        return True

    def _leave_out(self, node_id: str, name: str, reason: str, warn: Say) -> None:
        self.excluded[node_id] = reason
        warn(f"node {name} is left out: {reason}. The others go on without it")

    def prepare(self, cache: ImageCache, say: Say, warn: Say) -> None:
        """Send the decoded images to nodes that lack them; exclude those that cannot take them.

        A node that joins later is sent them by its first training.

        Args:
            say: Told where they are.
            warn: Told which nodes are excluded, and why.
        """
        known = {self.home.node_id, *self.prepared}
        nodes = [node for node in self.nodes() if node.cpus and node.node_id not in known]
        if self.is_own or not nodes:
            return
        begin = time.monotonic()
        jobs = {node: _prepare_on(node, cache, self.home) for node in nodes}
        ray.wait(list(jobs.values()), num_returns=len(jobs), timeout=SECONDS_TO_PREPARE)
        ready = []
        for node, job in jobs.items():
            if reason := _why_not(job):
                self._leave_out(node.node_id, node.name, reason, warn)
            else:
                self.prepared.add(node.node_id)
                ready.append(node.name)
        if ready:
            names, seconds = ", ".join(sorted(ready)), time.monotonic() - begin
            say(f"the images are on {names} too ({seconds:.0f} s)")


_OF_THIS_PROCESS: WeakValueDictionary[int, Cluster] = WeakValueDictionary()


def _of_this_process(key: int) -> Cluster | None:
    return _OF_THIS_PROCESS.get(key)


class NodeShare(PlacementGroupFactory):
    """A share of one node, and of none that is left out when it is asked for.

    Two of the same size are equal wherever they may be, so that Tune hands on a worker that has
    become free; and a node may be left out while a study runs.
    """

    def __init__(self, bundle: Mapping[str, float], cluster: Cluster, on_cpu: bool) -> None:
        super().__init__([dict(bundle)])
        self._cluster, self._on_cpu = cluster, on_cpu

    def to_placement_group(self) -> Any:
        selector = self._selector()
        group: Any = placement_group(
            self.bundles, self.strategy, bundle_label_selector=[selector] if selector else None
        )
        group.selector = selector
        return group

    def is_outdated(self, group: Any) -> bool:
        """Tell whether a group of this share that waits was asked for when the nodes were others.

        Ray tells of a lost worker before it tells of a lost node, and would have it wait there.
        """
        return bool(group.selector != self._selector())

    def _selector(self) -> dict[str, str]:
        return self._cluster.label_selector(on_cpu=self._on_cpu)


def launchable_nodes(description: Path) -> list[tuple[float, float]]:
    """Return CPUs and GPUs of the workers that Ray's autoscaler may start, all of them.

    Args:
        description: The launcher's file on the head; not there in a cluster without an autoscaler.
    """
    try:
        cluster = yaml.safe_load(description.read_text(encoding="utf-8"))
        if cluster["provider"]["type"] == "local":  # its machines are up, or are not
            return []
        head, found = cluster["head_node_type"], []
        for name, kind in cluster["available_node_types"].items():
            have = kind.get("resources", {})
            size = (float(have.get("CPU", 0)), float(have.get("GPU", 0)))
            found += [size] * (kind.get("max_workers", 0) if name != head and size[0] else 0)
        return found[: int(cluster.get("max_workers", len(found)))]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return []


def _show_sizes(sizes: Counter[tuple[float, float]]) -> str:
    shown = []
    for (cpus, gpus), count in sorted(sizes.items()):
        what = f"{cpus:g} CPU" + (f", {gpus:g} GPU" if gpus else "")
        shown.append(f"{count} × {what}")
    return "; ".join(shown)


def _describe(row: Mapping[str, Any]) -> Node:
    have = row["Resources"]
    return Node(
        row["NodeID"],
        row["NodeManagerHostname"],
        float(have.get("CPU", 0)),
        float(have.get("GPU", 0)),
        float(have.get("memory", 0)),
    )


def _prepare_on(node: Node, cache: ImageCache, home: Home) -> Any:
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    job: Any = ray.remote(_prepare)
    job = job.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return job.remote(cache, home)


def _prepare(cache: ImageCache, home: Home) -> str:
    """Fetch what is not there yet; returns why that cannot be, "" if it could."""
    try:
        images_here(cache, home)
    except OSError as error:
        return str(error).replace("\n", " ")
    return ""


def _why_not(job: Any) -> str:
    try:
        return str(ray.get(job, timeout=0))
    except ray.exceptions.GetTimeoutError:
        return f"it did not get the images within {SECONDS_TO_PREPARE / 60:.0f} min"
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        return f"{type(cause).__name__}: {(str(cause).strip().splitlines() or ['no reason'])[-1]}"
