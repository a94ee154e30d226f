"""Which trainings run at once, and which of them do without a GPU; both change with the nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter, Searcher

from search.slots import Slots, is_light
from search.tune.cluster import Cluster, NodeShare, Say
from search.tune.unsaved import Unsaved

SECONDS_BETWEEN_LOOKS = 3.0
MODE_ON_CPU = "float32 channels-last"
"""Of trainings beside a study on GPUs, on whatever CPU: what was measured was measured on a GPU."""


class Places(Unsaved, ConcurrencyLimiter):
    """Give every training a place, and propose none that would have to wait for one.

    A trial is drawn only while a training could begin with what `Slots.count` promises. Should it
    be light, and a node without a GPU have room, it goes there and the next one is drawn. So GPUs
    never wait for a proposal, nor a proposal for a GPU, and each comes when all is known that can
    be.

    Args:
        lends_cpus: Whether light trainings may run beside at all.
    """

    def __init__(self, searcher: Searcher, slots: Slots, *, lends_cpus: bool) -> None:
        super().__init__(searcher, max_concurrent=slots.count)
        self._lends_cpus = lends_cpus
        self._num_beside = slots.beside
        self._beside: set[str] = set()

    def resize(self, slots: Slots) -> None:
        """Go on with other slots: those that run stay where they are."""
        self.max_concurrent, self._num_beside = max(1, slots.count), slots.beside

    def suggest(self, trial_id: str) -> Any:
        config = super().suggest(trial_id)
        if not isinstance(config, dict) or not self._goes_beside(config):
            return config
        self.live_trials.discard(trial_id)
        self._beside.add(trial_id)
        return config | {"on_cpu": True, "mode": MODE_ON_CPU}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id in self._beside:
            self._beside.discard(trial_id)
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
        else:
            super().on_trial_complete(trial_id, result=result, error=error)

    def _goes_beside(self, config: Mapping[str, Any]) -> bool:
        has_room = self._lends_cpus and len(self._beside) < self._num_beside
        return has_room and is_light(config["trainable"], config["params"]["backbone"])


def keep_places_up_to_date() -> None:
    """Have Tune ask anew for places that wait where no node is any more, or a node is left out."""
    from ray.tune.execution.tune_controller import TuneController

    begin_step: Callable[[Any], None] = TuneController.on_step_begin
    if begin_step.__module__ == __name__:
        return

    def begin_step_up_to_date(self: Any) -> None:
        begin_step(self)
        now = time.monotonic()
        if now - getattr(self, "asked_anew_at", 0.0) > SECONDS_BETWEEN_LOOKS:
            self.asked_anew_at = now
            ask_anew(self._actor_manager._resource_manager)

    TuneController.on_step_begin = begin_step_up_to_date  # type: ignore[method-assign]


def ask_anew(manager: Any) -> None:
    """Replace the waiting requests of a Ray `PlacementGroupResourceManager` that are outdated."""
    for share, groups in list(manager._request_to_staged_pgs.items()):
        count = len(groups)
        if isinstance(share, NodeShare) and any(map(share.is_outdated, groups)):
            for _ in range(count):
                manager.cancel_resource_request(share)
            for _ in range(count):
                manager.request_resources(share)


class ClusterWatch(Unsaved, Callback):
    """Let as many trainings run as the nodes hold that are there now, and say who came and went.

    Args:
        count: Returns what the nodes hold.
    """

    def __init__(
        self, cluster: Cluster, places: Places, count: Callable[[], Slots], say: Say
    ) -> None:
        self._cluster, self._places, self._count, self._say = cluster, places, count, say
        self._known = {node.node_id: node.name for node in cluster.nodes()}
        self._last_look = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        if time.monotonic() - self._last_look < SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = time.monotonic()
        now = {node.node_id: node.name for node in self._cluster.nodes()}
        if now == self._known:
            return
        slots = self._count()
        self._places.resize(slots)
        if text := describe_change(self._known, now, self._cluster.excluded):
            self._say(f"{text}: {max(1, slots.at_once)} at once from now on")
        self._known = now


def describe_change(
    before: Mapping[str, str], now: Mapping[str, str], excluded: Collection[str] = ()
) -> str:
    """Say which nodes joined and which were lost; both by node id -> name. Pure.

    Args:
        excluded: Ids of nodes that are there and were left out, as was said then.
    """
    came = [name for key, name in now.items() if key not in before]
    gone = [name for key, name in before.items() if key not in {*now, *excluded}]
    parts = [f"node {', '.join(came)} joined"] if came else []
    if gone:
        parts.append(f"node {', '.join(gone)} was lost, its trainings go on elsewhere")
    return "; ".join(parts)
