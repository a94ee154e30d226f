"""Say why a trial waits for its worker: nothing stays pending without a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from search.slots import Slots
from search.tune.unsaved import Unsaved

PATIENCE_SECONDS = 30.0
"""A worker imports torch, timm and ray in some 10 seconds; on a busy machine in twice as many."""
SECONDS_BETWEEN_LOOKS = 2.0

Say = Callable[[str], None]


class PendingWatch(Unsaved, Callback):
    """Look at waiting trials while Tune runs, and say once a wait what they wait for.

    Args:
        numbered: They are trials of the search, which people know by their numbers.
        may_grow: An autoscaler starts machines for those that wait.
    """

    def __init__(
        self, slots: Slots, say: Say, numbered: bool = True, may_grow: bool = False
    ) -> None:
        self._slots = slots
        self._may_grow = may_grow
        self._say = say
        self._numbered = numbered
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._last_look = 0.0

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        now = time.monotonic()
        if now - self._last_look < SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = now
        waiting = {t.trial_id: t for t in trials if t.status == Trial.PENDING}
        self._since = {key: self._since.get(key, now) for key in waiting}
        self._told &= waiting.keys()
        late = [key for key, since in self._since.items() if now - since > PATIENCE_SECONDS]
        if late and not self._told:
            numbers = [waiting[key].config["number"] for key in late]
            num_live = len(waiting) + sum(t.status == Trial.RUNNING for t in trials)
            if all(waiting[key].config.get("on_cpu") for key in late):
                why = explain_waiting_beside(self._slots)
            else:
                why = explain_waiting(self._slots, num_live, self._may_grow)
            self._say(f"{self._who(numbers)} {why}")
        self._told |= set(late)

    def _who(self, numbers: Sequence[int]) -> str:
        several = len(numbers) > 1
        if not self._numbered:
            return f"{len(numbers)} trainings wait" if several else "a training waits"
        listed = ", ".join(map(str, numbers))
        return f"trials {listed} wait" if several else f"trial {listed} waits"


def wait_for_a_worker(slots: Slots, say: Say, may_grow: bool = False) -> None:
    """Wait until one worker of this size has started; say once why, if that takes long."""
    job = ray.remote(num_cpus=slots.cpus, num_gpus=slots.gpus)(_do_nothing).remote()
    started, _ = ray.wait([job], timeout=PATIENCE_SECONDS)
    if not started:
        say(f"the probe of the backbones waits {explain_waiting(slots, 1, may_grow)}")
    ray.get(job)


def _do_nothing() -> None:
    """Prove by being called that a worker is there."""


def explain_waiting(slots: Slots, num_own: int, may_grow: bool = False) -> str:
    """Return what a worker of this size waits for, as the cluster stands."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    free, total = ray.available_resources(), ray.cluster_resources()
    return describe_waiting(slots, num_own, free, total, len(nodes), may_grow)


def explain_waiting_beside(slots: Slots) -> str:
    """Return what a light training waits for that was to do without a GPU."""
    nodes = [row["Resources"] for row in ray.nodes() if row["Alive"]]
    without = sum(1 for have in nodes if have.get("CPU", 0) and not have.get("GPU", 0))
    return describe_waiting_beside(slots.cpus, without)


def describe_waiting_beside(cpus: float, num_without: int) -> str:
    """Say why a light training has not started. Pure.

    Args:
        num_without: Nodes without a GPU that are up.
    """
    text = f"for a worker with {cpus:g} CPU on a machine without a GPU, of {num_without} up"
    if num_without:
        return f"{text}. The worker is starting, or other work holds them"
    return f"{text}: it starts when one is back. Ctrl-C and the same command give it a GPU instead"


def describe_waiting(
    slots: Slots,
    num_own: int,
    free: Mapping[str, float],
    total: Mapping[str, float],
    num_nodes: int,
    may_grow: bool = False,
) -> str:
    """Say why a worker has not started. Pure.

    Args:
        num_own: Workers of this study that run or start: what they hold is no other work.
        free, total: Resources of the cluster by Ray's names.
        may_grow: An autoscaler starts machines for those that wait.
    """
    wanted = {"CPU": slots.cpus, "GPU": slots.gpus}
    wanted = {name: number for name, number in wanted.items() if number}
    asked = " and ".join(f"{number:g} {name}" for name, number in wanted.items())
    have = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}" for name in wanted)
    where = "1 node" if num_nodes == 1 else f"{num_nodes} nodes"
    text = f"for a worker with {asked}; free now: {have} ({where})"
    if may_grow:
        return f"{text}. The autoscaler has been asked for a machine, which takes minutes to start"
    if any(total.get(name, 0) < number for name, number in wanted.items()):
        return f"{text}. The cluster has become too small: a node has left it, or was stopped"
    held = {name: total.get(name, 0) - free.get(name, 0) for name in wanted}
    if any(
        free.get(name, 0) < number and held[name] > num_own * number + 1e-6
        for name, number in wanted.items()
    ):
        return f"{text}. Other work holds the rest; it starts as soon as enough is free"
    if num_nodes == 1:
        return f"{text}. The worker is starting; the machine is slow or busy"
    return f"{text}. The worker is starting, or no single node has all of it free"
