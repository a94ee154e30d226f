"""Run trainings through Ray Tune: the one place that calls it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune import (
    Callback,
    FailureConfig,
    RunConfig,
    Stopper,
    TuneConfig,
    Tuner,
)
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search.records import TrialState
from search.results import ResultsFolder
from search.rungs import decide_state
from search.slots import Slots
from search.tune.checkpoints import Checkpoints
from search.tune.cluster import Cluster
from search.tune.ledger import Ledger
from search.tune.pending import PendingWatch
from search.tune.places import ClusterWatch, Places
from search.tune.recorder import OnChange, Recorder
from search.tune.unsaved import Unsaved
from search.tune.worker import Request, TrainingSet, run_request
from search.tune.workers import start_workers

NUM_RETRIES = 2  # of a trial that the machine ended; a configuration that fails is not retried

FIRST_STAGE, LAST_STAGE = "search", "retrain"


class _StopWhen(Unsaved, Stopper):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._should_stop()


class _NextWorkers(Unsaved, Callback):
    """Start workers for the stage that follows, on the CPU that the last trials leave idle.

    They are other processes: Tune ends its own with a stage.
    """

    def __init__(self, num_trials: int, count: int) -> None:
        self._num_trials = num_trials
        self._count = count

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        if self._count and len(trials) >= self._num_trials:
            start_workers(self._count)
            self._count = 0


def state_of(
    ledger: Ledger,
    scheduler: TrialScheduler,
    *,
    trial_id: str,
    number: int,
    stop_epoch: int,
    result: dict[str, Any] | None,
    failed: bool,
) -> TrialState:
    """Name how a trial ended, for the ledger and for Optuna alike.

    Args:
        result: The trial's last one; a configuration that failed, or breaks a constraint, says so
            in it.
        failed: Ray gave the trial up.
    """
    error = (result or {}).get("failure", "") or ("its worker died" if failed else "")
    trial = ledger.trials.get(number)
    epochs_run = max(trial.epochs, default=0) if trial else 0
    pruned = trial_id in getattr(scheduler, "pruned", ())
    broken = (result or {}).get("infeasible", "")
    if trial and not broken:
        broken = ledger.why_infeasible(trial, is_complete=epochs_run >= stop_epoch)
    return decide_state(
        epochs_run=epochs_run, max_epochs=stop_epoch, pruned=pruned, error=error, broken=broken
    )


def _judge(ledger: Ledger, scheduler: TrialScheduler) -> Callable[[Trial, bool], TrialState]:
    """Return what names how a trial of Tune ended."""

    def judge(trial: Trial, failed: bool) -> TrialState:
        return state_of(
            ledger,
            scheduler,
            trial_id=trial.trial_id,
            number=trial.config["number"],
            stop_epoch=trial.config["stop_epoch"],
            result=trial.last_result,
            failed=failed,
        )

    return judge


def run_tune(
    *,
    stage: str,
    results: ResultsFolder,
    ledger: Ledger,
    searcher: Searcher,
    scheduler: TrialScheduler,
    training_set: TrainingSet,
    num_trials: int,
    slots: Slots,
    cluster: Cluster,
    count_slots: Callable[[], Slots],
    should_stop: Callable[[], bool],
    on_change: OnChange,
    say: Callable[[str], None],
    notify: Callable[[str], None],
) -> None:
    """Run until the searcher has no more trials or a stop is asked for; the ledger has the outcome.

    Workers stay alive between trials: a process for each would cost ten CPU seconds a trial.
    What confirms and retrains is to be compared, so none of it goes beside (see `Places`).
    """
    checkpoints = Checkpoints(results.checkpoints_of(stage, ledger.path), training_set.home)
    checkpoints.remove_leftovers(ledger.trials)
    recorder = Recorder(
        ledger,
        _judge(ledger, scheduler),
        checkpoints,
        results.logs / stage,
        on_change,
        say,
        lambda node, reason: cluster.refuse(node, reason, slots, say),
    )
    places = Places(searcher, slots, lends_cpus=stage == FIRST_STAGE)
    watches = _watches(stage, slots, cluster, places, count_slots, num_trials, notify)
    run_config = RunConfig(
        name=f"{stage}-{time.strftime('%Y%m%d-%H%M%S')}",
        storage_path=str(results.ray),
        callbacks=[recorder, *watches],
        stop=_StopWhen(lambda: recorder.must_stop or should_stop()),
        failure_config=FailureConfig(max_failures=NUM_RETRIES),
        verbose=0,
    )
    trainable = _with_files(training_set, checkpoints, _resources(cluster, slots))
    tune_config = _tune_config(places, scheduler, num_trials)
    Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    recorder.close()


def _watches(
    stage: str,
    slots: Slots,
    cluster: Cluster,
    places: Places,
    count_slots: Callable[[], Slots],
    num_trials: int,
    notify: Callable[[str], None],
) -> list[Callback]:
    """Return what looks after workers and nodes while a stage runs."""
    waits = PendingWatch(slots, notify, stage == FIRST_STAGE, cluster.may_grow)
    if cluster.is_own:
        return [waits, _NextWorkers(num_trials, 0 if stage == LAST_STAGE else slots.count)]
    return [waits, ClusterWatch(cluster, places, count_slots, notify)]


def _tune_config(searcher: Searcher, scheduler: TrialScheduler, num_trials: int) -> TuneConfig:
    return TuneConfig(
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=num_trials,
        reuse_actors=True,
        # Tune would name folders after all params, too long for some file systems.
        trial_dirname_creator=lambda trial: f"{trial.config['number']:05d}-{trial.trial_id}",
    )


def _resources(cluster: Cluster, slots: Slots) -> Callable[[dict[str, Any]], Any]:
    """Return what tells Tune what a trial asks for."""
    kinds = {on_cpu: cluster.resources(slots, on_cpu=on_cpu) for on_cpu in (False, True)}
    return lambda config: kinds[config["on_cpu"]]


def _with_files(training_set: TrainingSet, checkpoints: Checkpoints, resources: Any) -> Any:
    given = {"training_set": training_set, "checkpoints": checkpoints}
    return tune.with_resources(tune.with_parameters(run_request, **given), resources)


class RequestSearch(Unsaved, Searcher):
    """Hand out given requests in order."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(metric="epoch", mode="max")
        self._waiting = list(requests)

    def suggest(self, trial_id: str) -> Any:
        return self._waiting.pop(0).to_config() if self._waiting else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: nobody learns from these."""
