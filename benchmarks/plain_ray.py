"""The same search as Ray's documentation shows it: OptunaSearch, ASHA, defaults everywhere else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.engine import Outcome, Tick, tick
from benchmarks.made_up import MAX_EPOCHS, report_curve
from benchmarks.processes import TreeCpu


def run_plain_study(folder: Path, num_trials: int) -> Outcome:
    """Search with plain Ray Tune, in a process of its own; its ticks are the start and the end."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    begin = time.time()
    ray.init(address="local", include_dashboard=False)
    ready, first = time.time(), tick(0)
    tuner = tune.Tuner(
        report_curve,
        param_space=_space(tune),
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=MAX_EPOCHS, grace_period=1, reduction_factor=3),
            num_samples=num_trials,
        ),
        run_config=tune.RunConfig(storage_path=str(folder)),
    )
    with TreeCpu() as cpu:
        tuner.fit()
    last = tick(num_trials)
    ray.shutdown()
    return Outcome((first, last), ready - begin, 0.0, cpu.seconds)


def seconds_per_trial(ticks: tuple[Tick, ...]) -> tuple[float, float]:
    """Return wall and driver CPU seconds per trial between the first tick and the last."""
    first, last = ticks[0], ticks[-1]
    number = last.num_trials - first.num_trials
    wall = last.wall_seconds - first.wall_seconds
    return wall / number, (last.cpu_seconds - first.cpu_seconds) / number


def _space(tune: Any) -> dict[str, Any]:
    return {
        "backbone": tune.choice(["small_cnn", "separable_cnn"]),
        "width": tune.choice([8, 16, 24]),
        "depth": tune.randint(2, 5),
        "optimizer": tune.choice(["adamw", "sgd"]),
        "lr": tune.loguniform(3e-4, 3e-2),
        "weight_decay": tune.loguniform(1e-4, 0.1),
        "batch_size": tune.choice([16, 32, 64]),
        "dropout": tune.uniform(0.0, 0.5),
        "augment_strength": tune.uniform(0.0, 1.0),
    }
