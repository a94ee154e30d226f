"""The nodes that trainings run on: what they have, what they lack, who comes and who goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.records import ImageCache
from search.slots import Slots
from search.tune.home import Home, make_home
from search.tune.node_files import images_here
from search.tune.unsaved import Unsaved

BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where Ray's cluster launcher leaves its description of the cluster, on the head."""
SECONDS_BETWEEN_LOOKS = 3.0
SECONDS_TO_PREPARE = 3600.0

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
    """

    home: Home = field(default_factory=Home)
    is_own: bool = True
    excluded: dict[str, str] = field(default_factory=dict)
    prepared: set[str] = field(default_factory=set)

    @classmethod
    def joined(cls) -> Cluster:
        """Return the cluster that this process has joined."""
        return cls(make_home(), is_own=False)

    def nodes(self) -> list[Node]:
        """Return the nodes that are up and not excluded."""
        found = [_describe(row) for row in ray.nodes() if row["Alive"]]
        return [node for node in found if node.node_id not in self.excluded]

    def sizes(self) -> list[tuple[float, float]]:
        """Return CPUs and GPUs of each node, of those too that would be started when asked for."""
        here = [(node.cpus, node.gpus) for node in self.nodes()]
        to_come = [] if self.is_own else launchable_nodes(BOOTSTRAP_FILE.expanduser())
        missing = len(to_come) - sum(1 for cpus, _ in here if cpus)
        return here + to_come[len(to_come) - max(0, missing) :]

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

    def resources(self, slots: Slots) -> PlacementGroupFactory:
        """Return what one training asks for: its share of a node that is not excluded."""
        bundle = {"CPU": slots.cpus} | ({"GPU": slots.gpus} if slots.gpus else {})
        if not self.excluded:
            return PlacementGroupFactory([bundle])
        return PlacementGroupFactory([bundle], bundle_label_selector=[self.label_selector])

    @property
    def label_selector(self) -> dict[str, str]:
        """Ray's words for the nodes that are not excluded; {} for all."""
        listed = ",".join(sorted(self.excluded))
        return {"ray.io/node-id": f"!in({listed})"} if listed else {}

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
                self.excluded[node.node_id] = reason
                warn(f"node {node.name} is left out: {reason}. The others go on without it")
            else:
                self.prepared.add(node.node_id)
                ready.append(node.name)
        if ready:
            names, seconds = ", ".join(sorted(ready)), time.monotonic() - begin
            say(f"the images are on {names} too ({seconds:.0f} s)")


class ClusterWatch(Unsaved, Callback):
    """Let as many trainings run as the nodes hold that are there now, and say who came and went.

    Args:
        limiter: Of the searcher.
        count: Returns how many trainings the nodes hold.
    """

    def __init__(
        self, cluster: Cluster, limiter: ConcurrencyLimiter, count: Callable[[], int], say: Say
    ) -> None:
        self._cluster, self._limiter, self._count, self._say = cluster, limiter, count, say
        self._known = {node.node_id: node.name for node in cluster.nodes()}
        self._last_look = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        if time.monotonic() - self._last_look < SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = time.monotonic()
        now = {node.node_id: node.name for node in self._cluster.nodes()}
        if now == self._known:
            return
        count = max(1, self._count())
        self._limiter.max_concurrent = count
        if text := describe_change(self._known, now):
            self._say(f"{text}: {count} at once from now on")
        self._known = now


def describe_change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which nodes joined and which were lost; both by node id -> name. Pure."""
    came = [name for key, name in now.items() if key not in before]
    gone = [name for key, name in before.items() if key not in now]
    parts = [f"node {', '.join(came)} joined"] if came else []
    if gone:
        parts.append(f"node {', '.join(gone)} was lost, its trainings go on elsewhere")
    return "; ".join(parts)


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
        return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1]}"
