"""Worker processes that have imported what they need before anyone needs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

HEAVY_MODULES = ("ray.tune", "trainables.quick_timm", "cv2")
"""What a training imports: seconds of CPU for each process, torch among them."""

SYSTEM_CONFIG: dict[str, Any] = {
    "preload_python_modules": list(HEAVY_MODULES),
    "idle_worker_killing_time_threshold_ms": 600_000,  # by default after one second
}
"""Of a cluster of our own."""

_SECONDS_TO_ASK = 0.2  # a request arrives sooner, a worker starts later
NUM_STARTS = 3
SECONDS_TO_START = 60.0
"""After which a worker is no longer starting, but has no room."""


def start_servers(start: Callable[[], object]) -> None:
    """Start a cluster of our own, and again where Ray found the machine too slow.

    Ray's server ends itself when its helpers, which import Python modules for some ten CPU seconds,
    are not up after 15 seconds, and Ray gives up. Later tries find the modules in memory, and often
    a machine that is less busy.
    """
    for num_left in reversed(range(NUM_STARTS)):
        try:
            start()
            return
        except Exception as error:
            if not num_left or "timed out" not in str(error):
                raise


def share_idle_workers() -> None:
    """Let Tune's trials run in the workers that a cluster of our own has started beforehand.

    Ray hands those out only to who asks for no environment of their own. Tune asks for variables
    that the workers have inherited from this process anyway.
    """
    from ray.tune.execution import class_cache

    class_cache.DEFAULT_ENV_VARS.clear()
    class_cache.ENV_VARS_TO_PROPAGATE.clear()


def let_workers_start() -> None:
    """Keep a trial whose own worker is starting from taking the one that another trial leaves.

    Tune would give it that, and send the new worker away as soon as it is up. Where trials are
    shorter than the start of a process, one worker did all of them, and the other cores nothing.
    The free worker goes to a trial without one; where none will come, it may be taken after all,
    likewise where a trial waits so long that its own has no room, as when a node was lost.
    """
    from ray.tune.execution.tune_controller import TuneController

    # Trial -> when a free worker was first refused to it.
    waiting: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
    reuse = TuneController._maybe_reuse_cached_actor
    if reuse.__module__ == __name__:
        return

    def reuse_unless_one_starts(self: Any, trial: Any) -> bool:
        if trial not in self._trial_to_actor or trial in self._resetting_trials:
            return bool(reuse(self, trial))
        others = [t for t in self._pending_trials if t not in self._trial_to_actor]
        if not others:
            asked = waiting.setdefault(trial, time.monotonic())
            is_late = time.monotonic() - asked > SECONDS_TO_START
            return (is_late or self._search_alg.is_finished()) and bool(reuse(self, trial))
        other = min(others, key=lambda t: t.config["number"])
        if self._actor_cache.has_cached_object(other.placement_group_factory):
            if other in self._staged_trials:
                reuse(self, other)
            else:
                self._staged_trials.add(other)
                self._actor_cache.increase_max(other.placement_group_factory)
                self._schedule_trial_actor(other)  # makes its folder, and takes what is free
        return False  # of the trial that was asked about

    TuneController._maybe_reuse_cached_actor = reuse_unless_one_starts  # type: ignore[method-assign]


def keep_workers_of_both_kinds() -> None:
    """Keep the free workers of a study whose trials are of two sizes, on GPUs and beside them.

    Tune sends a free worker away while a trial of another size waits for its own to start, which is
    most of the time where trials are short: then no worker lives longer than a trial. Those that
    are kept are never more than a study has slots, and end with its search.
    """
    from ray.tune.utils.object_cache import _ObjectCache

    keep, flush = _ObjectCache.cache_object, _ObjectCache.flush_cached_objects
    if keep.__module__ == __name__:
        return

    def keep_of_two_kinds(self: Any, key: Any, obj: Any) -> bool:
        if len(self._max_num_objects) < 2:
            return bool(keep(self, key, obj))
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_of_two_kinds(self: Any, force_all: bool = False) -> Iterator[Any]:
        if force_all or len(self._max_num_objects) < 2:
            yield from flush(self, force_all)

    _ObjectCache.cache_object = keep_of_two_kinds  # type: ignore[method-assign]
    _ObjectCache.flush_cached_objects = flush_of_two_kinds  # type: ignore[method-assign,assignment]


def retry_what_was_handed_over() -> None:
    """Have Tune retry a trial whose worker was lost between two trials, as it does any other.

    It hears of that loss twice, of the worker and of what the worker was to do, takes the trial
    that waits again for one that failed while it waited, and drops it: the search would end with
    one trial less.
    """
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    fail = TuneController._trial_task_failure
    if fail.__module__ == __name__:
        return

    def fail_once(self: Any, trial: Any, exception: Exception) -> None:
        is_waiting = trial.status == Trial.PENDING
        if is_waiting and trial not in self._trial_to_actor:
            return  # what has no worker cannot lose it
        if is_waiting and trial in self._resetting_trials:
            self._set_trial_status(trial, Trial.RUNNING)
            self._unstage_trial_with_resources(trial)
        self._resetting_trials.discard(trial)
        fail(self, trial, exception)

    TuneController._trial_task_failure = fail_once  # type: ignore[method-assign]


def start_workers(count: int) -> None:
    """Have Ray start workers for the trials to come, where none is idle, and return at once.

    Ray has no call for it, but starts a process for whoever asks, and keeps it for the next one if
    the first has withdrawn meanwhile. Trials are actors, and those are only put into processes that
    have never run a task.
    """
    import ray

    ask = ray.remote(num_cpus=0)(_do_nothing)
    asked = [ask.remote() for _ in range(count)]
    time.sleep(_SECONDS_TO_ASK)
    for job in asked:
        ray.cancel(job)


def _do_nothing() -> None:
    """Stand for the work that is withdrawn."""
