"""Ray's own impatience at its start, and ours; who gets a worker that has become free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from search.tune.workers import (
    NUM_STARTS,
    keep_workers_of_both_kinds,
    let_workers_start,
    retry_what_was_handed_over,
    start_servers,
)

SLOW = "The current node timed out during startup. This could happen because"


def starts(*outcomes: Exception | None) -> int:
    """Start servers that end like this, one try after another; return the number of tries."""
    waiting = list(outcomes)

    def start() -> None:
        if error := waiting.pop(0):
            raise error

    start_servers(start)
    return len(outcomes) - len(waiting)


def test_servers_that_were_too_slow_are_started_again() -> None:
    assert starts(None) == 1
    assert starts(Exception(SLOW), Exception(SLOW), None, None) == 3


@pytest.mark.parametrize("error", [Exception(SLOW), ConnectionError("no cluster at this address")])
def test_servers_that_do_not_start_are_given_up(error: Exception) -> None:
    outcomes = [error] * (NUM_STARTS if "timed out" in str(error) else 1)
    with pytest.raises(type(error), match=str(error)[:12]):
        starts(*outcomes, *([] if len(outcomes) > 1 else [None]))


@dataclass(unsafe_hash=True)
class FakeTrial:
    """As much of Ray's trial as is looked at."""

    number: int
    placement_group_factory: str = "1 CPU"

    @property
    def config(self) -> dict[str, Any]:
        return {"number": self.number}


@dataclass
class FakeController:
    """Where trial 1 waits for its own worker, while "idle" has been left by another trial."""

    is_over: bool = False
    given: list[int] = field(default_factory=list)
    with_folder: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._actor_cache = _ObjectCache()
        self._trial_to_actor = {FakeTrial(1): "starting"}
        self._pending_trials = {FakeTrial(1)}
        self._staged_trials = {FakeTrial(1)}
        self._resetting_trials: set[FakeTrial] = set()
        self._actor_cache.increase_max("1 CPU")
        self._actor_cache.cache_object("1 CPU", "idle")
        self._search_alg = self

    def is_finished(self) -> bool:
        return self.is_over

    def _schedule_trial_actor(self, trial: FakeTrial) -> None:
        self.with_folder.append(trial.number)
        assert TuneController._maybe_reuse_cached_actor(self, trial)  # type: ignore[arg-type]


@pytest.fixture
def reuse(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(controller: FakeController, trial: FakeTrial) -> bool:
        if not controller._actor_cache.has_cached_object("1 CPU"):
            return False
        controller._actor_cache.pop_cached_object("1 CPU")
        controller.given.append(trial.number)
        return True

    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", give)
    let_workers_start()
    let_workers_start()  # of a second session in one process
    return TuneController._maybe_reuse_cached_actor


def test_a_trial_whose_worker_starts_takes_no_other(reuse: Any) -> None:
    controller = FakeController()
    assert not reuse(controller, FakeTrial(1))
    assert controller.given == []


def test_a_free_worker_goes_to_the_first_trial_without_one(reuse: Any) -> None:
    controller = FakeController()
    controller._pending_trials |= {FakeTrial(3), FakeTrial(2)}
    assert not reuse(controller, FakeTrial(1)), "it still waits for its own"
    assert controller.given == controller.with_folder == [2]
    assert FakeTrial(2) in controller._staged_trials
    assert controller._actor_cache.total_max_objects == 2
    assert not reuse(controller, FakeTrial(1))
    assert controller.given == [2], "there was one to give"


def test_where_no_trial_will_come_the_last_one_takes_it(reuse: Any) -> None:
    controller = FakeController(is_over=True)
    assert reuse(controller, FakeTrial(1))
    assert controller.given == [1]


def test_a_trial_without_a_worker_takes_it_as_ever(reuse: Any) -> None:
    controller = FakeController()
    assert reuse(controller, FakeTrial(2))
    assert controller.given == [2]


@pytest.fixture
def _keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cache_object", "flush_cached_objects"):
        monkeypatch.setattr(_ObjectCache, name, getattr(_ObjectCache, name))
    keep_workers_of_both_kinds()
    keep_workers_of_both_kinds()


@pytest.mark.usefixtures("_keeping")
def test_a_free_worker_stays_while_a_trial_of_the_other_size_waits() -> None:
    cache = _ObjectCache()
    for size in ("1 CPU", "1 CPU, a GPU"):  # both have been asked for; one waits for its worker
        cache.increase_max(size)
    cache.decrease_max("1 CPU")
    assert cache.cache_object("1 CPU", "idle")
    assert cache.cache_object("1 CPU", "idle too")
    assert list(cache.flush_cached_objects()) == []
    assert cache.pop_cached_object("1 CPU") == "idle"
    assert list(cache.flush_cached_objects(force_all=True)) == ["idle too"]
    assert cache.num_cached_objects == 0


@pytest.mark.usefixtures("_keeping")
def test_where_all_trials_are_of_one_size_tune_decides() -> None:
    cache = _ObjectCache()
    assert cache.cache_object("1 CPU", "idle")
    assert not cache.cache_object("1 CPU", "idle too")
    cache.increase_max("1 CPU")
    assert cache.cache_object("1 CPU", "idle too") is False
    cache.increase_max("1 CPU")
    assert cache.cache_object("1 CPU", "idle too")
    cache.decrease_max("1 CPU", 2)
    assert list(cache.flush_cached_objects()) == ["idle", "idle too"]


@dataclass(unsafe_hash=True)
class Running(FakeTrial):
    """A trial that runs, or that is about to."""

    status: str = field(default="PENDING", hash=False)


class HandedOver:
    """As much of Tune's controller as is looked at: a free worker is being reset for trial 1."""

    def __init__(self) -> None:
        self.trial = Running(1)
        self._resetting_trials = {self.trial}
        self._trial_to_actor = {self.trial: "idle"}
        self.staged = [self.trial]

    def _set_trial_status(self, trial: Running, status: str) -> None:
        trial.status = status

    def _unstage_trial_with_resources(self, trial: Running) -> None:
        self.staged.remove(trial)


def test_a_trial_whose_worker_is_lost_as_it_is_handed_over_is_retried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def fail(self: HandedOver, trial: Running, exception: Exception) -> None:
        seen.append(trial.status)
        self._trial_to_actor.clear()
        trial.status = "PENDING"  # retried, and waits for a worker

    monkeypatch.setattr(TuneController, "_trial_task_failure", fail)
    retry_what_was_handed_over()
    retry_what_was_handed_over()
    controller: Any = HandedOver()
    for _ in range(2):  # of the worker, and of what it was to do
        TuneController._trial_task_failure(controller, controller.trial, OSError())
    assert seen == ["RUNNING"]
    assert controller.staged == []
    assert not controller._resetting_trials
