"""A cluster of many of Ray's nodes on this machine, searched as it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engine import noop_config, noop_images, search_noop
from benchmarks.load import FIRST_GUESS_MB, Load, Steady, affordable, delays, load_of, shared_mb
from benchmarks.noop import NoopSet
from search.slots import plan_slots
from search.tune.cluster import Cluster
from search.tune.home import Home
from search.tune.session import RaySession
from search.tune.workers import start_servers

OBJECT_STORE_BYTES = 80_000_000
CHECKPOINT_BYTES = 100_000_000
CLAIMED_CPUS = 200
_NUM_LOOKS = 20
_IDLE_SECONDS = 5.0
_NUM_TRIALS = 100_000  # more than there is time for


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        counts: Nodes, or trials at once on the one node; ascending.
        one_node: Which claims `CLAIMED_CPUS`.
        seconds: Of measuring at each size.
    """

    counts: Sequence[int]
    one_node: bool
    seconds: float
    epoch_seconds: float


def measure_loads(folder: Path, plan: Plan) -> list[Load]:
    """Bring up a cluster, grow it, and search at each size, in a process of its own.

    Returns:
        One for each size that memory allowed.
    """
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache of nodes")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Raylets

    config = {"prestart_worker_first_driver": False}  # idle ones that a joined cluster never uses
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": config}
    raylets: Any = Raylets(True, head_node_args=head | {"object_store_memory": OBJECT_STORE_BYTES})
    session = RaySession(raylets.address)
    try:
        session.start()
        images = replace(noop_images(folder), home=session.cluster.home)
        return _grow(raylets, session.cluster, images, folder, plan)
    finally:
        session.stop()
        raylets.shutdown()


def _grow(raylets: Any, cluster: Cluster, images: NoopSet, folder: Path, plan: Plan) -> list[Load]:
    loads: list[Load] = []
    mb_each, running = FIRST_GUESS_MB, 0
    for wanted in plan.counts:
        free_mb = psutil.virtual_memory().available / 1e6
        count = affordable(wanted, running, free_mb, mb_each)
        if loads and count <= loads[-1].at_once:
            break
        while len(raylets.worker_nodes) < (1 if plan.one_node else count):
            _add_node(raylets, CLAIMED_CPUS if plan.one_node else 1)
        about = _look_at(raylets, cluster) | {"sent_mb_s": _sent_mb_s(cluster, folder)}
        load = _search(folder / f"{count} at once", images, cluster, count, plan, about)
        loads.append(load)
        # Workers end with a search, servers stay.
        servers_mb = load.servers_mb * load.nodes
        mb_each = 1.1 * (load.worker_mb + (0 if plan.one_node else load.servers_mb))
        running = 0 if plan.one_node else int(servers_mb / mb_each)
    return loads


def _add_node(raylets: Any, cpus: int) -> None:
    limits = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
    start_servers(lambda: raylets.add_node(**limits))


def _look_at(raylets: Any, cluster: Cluster) -> dict[str, Any]:
    """Measure a look at the nodes, and what their servers cost while nothing runs."""
    pids = [p.pid for node in raylets.worker_nodes for p in _servers(node)]
    begin = time.perf_counter()
    for _ in range(_NUM_LOOKS):
        cluster.nodes()
    look_seconds = (time.perf_counter() - begin) / _NUM_LOOKS
    begin, before = time.perf_counter(), sum(map(_cpu_seconds, pids))
    time.sleep(_IDLE_SECONDS)
    share = (sum(map(_cpu_seconds, pids)) - before) / (time.perf_counter() - begin)
    count = len(raylets.worker_nodes)
    return {
        "nodes": count,
        "look_ms": 1000 * look_seconds,
        "servers_mb": sum(map(shared_mb, pids)) / count,
        "idle_share": share / count,
    }


def _sent_mb_s(cluster: Cluster, folder: Path) -> float:
    """Return the speed at which another node's checkpoint reaches the driver's, no wire between."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = next(node for node in cluster.nodes() if node.cpus)
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    file, target = folder / "checkpoint.pt", folder / "arrived.pt"
    file.write_bytes(os.urandom(CHECKPOINT_BYTES))
    job: Any = ray.remote(_seconds_to_send)
    job = job.options(num_cpus=0, scheduling_strategy=there)
    return CHECKPOINT_BYTES / 1e6 / float(ray.get(job.remote(cluster.home, file, target)))


def _seconds_to_send(home: Home, file: Path, target: Path) -> float:
    home.store(file, target)  # the first one pays for the acquaintance
    begin = time.perf_counter()
    home.store(file, target)
    return time.perf_counter() - begin


def _servers(node: Any) -> list[psutil.Process]:
    """Return the raylet of a node and its agents, its workers left out."""
    found = []
    for entries in node.all_processes.values():
        for entry in entries:
            with suppress(psutil.Error):
                process = psutil.Process(entry.process.pid)
                below = process.children(recursive=True)
                found += [process, *(p for p in below if "Agent" in "".join(p.cmdline()[:1]))]
    return found


def _cpu_seconds(pid: int) -> float:
    with suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def _search(
    folder: Path,
    images: NoopSet,
    cluster: Cluster,
    at_once: int,
    plan: Plan,
    about: dict[str, Any],
) -> Load:
    folder.mkdir()
    watch = Steady(plan.seconds, at_once=at_once)
    slots = plan_slots(1, 0, at_once, cluster.sizes())
    config = noop_config(folder, _NUM_TRIALS)
    runs = {
        "cluster": cluster,
        "epoch_seconds": plan.epoch_seconds,
        "count_slots": lambda: plan_slots(1, 0, at_once, cluster.sizes()),
    }
    runner = search_noop(folder, config, images, slots, watch, **runs)
    waits = delays(runner.proposed, watch.reports, plan.epoch_seconds)
    return load_of(watch, waits, plan.epoch_seconds, about)
