"""Train the winner on train + val, and the default recipe alike, for the test to compare."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import TrialError
from search.records import Confirmation, FinalModel, TrialRecord, TrialState, write_csv, write_json
from search.tune.ledger import Ledger
from search.tune.runner import Runner, candidate_name
from search.tune.worker import Request, TrainingSet

RETRAIN_SEED = 20_000
SETTLING_SCHEDULES = ("cosine", "one_cycle")


def retrain_winner(runner: Runner, confirmation: Confirmation, default: TrialRecord) -> FinalModel:
    """Train the winner on train + val, without a look at anything else.

    The default recipe is trained the same way beside it (on another core, mostly for free), so
    that "was tuning worth it?" is answered by two models made alike.

    Raises:
        TrialError: A training failed.
    """
    results = runner.results
    winner = confirmation.winner
    chosen = [(winner, results.best)]
    shutil.rmtree(results.baseline, ignore_errors=True)
    if winner.number != 0 and default.number == 0:
        chosen.append((default, results.baseline))
    if len(chosen) == 1 and runner.slots:
        runner = replace(runner, slots=runner.slots.merged())
    requests = [
        _request(runner, number, trial, confirmation) for number, (trial, _) in enumerate(chosen)
    ]
    ledger = replace(runner, images=_train_and_val(runner.images)).run_requests(
        "retrain",
        requests,
        results.best,
        ("train_loss", "minimize"),
        should_stop=lambda: runner.clock.stop_requested,
    )
    for request, (trial, folder) in zip(requests, chosen, strict=True):
        reason = _collect(ledger, request, folder)
        if reason and folder == results.best:
            ledger.path.unlink(missing_ok=True)  # so that the same command does try again
            name = candidate_name(trial)
            raise TrialError(
                f"retraining the {name} failed: {reason}. The same command tries again."
            )
    return FinalModel(results.best, runner.images.cache.classes)


def _train_and_val(images: TrainingSet) -> TrainingSet:
    both = np.sort(np.concatenate([images.train, images.val]))
    return replace(images, train=both, val=both[:0])


def _request(
    runner: Runner, number: int, trial: TrialRecord, confirmation: Confirmation
) -> Request:
    seed, max_epochs = runner.config.seed + RETRAIN_SEED, runner.config.budget.max_epochs
    full = runner.request(number, trial.params, seed, keep_model=True)
    runs = [run for run in confirmation.runs if run.trial_number == trial.number]
    best_epochs = [r.best_epoch for r in runs if r.epochs_run >= max_epochs and not r.error]
    stop_epoch = retrain_epochs(full.params["schedule"], best_epochs, max_epochs)
    return replace(full, stop_epoch=stop_epoch)


def retrain_epochs(schedule: str, best_epochs: Sequence[int | None], max_epochs: int) -> int:
    """Decide how long to train where nothing is held out to tell. Pure.

    A schedule that ends near a learning rate of zero is trained to its end: its last epochs differ
    by the luck of the val images, and stopping before them leaves the model unsettled. Without
    such an end the model may overfit, and the confirmations' median best epoch is the stop.
    """
    known = [epoch for epoch in best_epochs if epoch]
    if schedule in SETTLING_SCHEDULES or not known:
        return max_epochs
    return int(np.median(known))


def _collect(ledger: Ledger, request: Request, folder: Path) -> str:
    """Copy a trained model out of its last checkpoint into the results.

    Returns:
        Why there is none, "" if there is. Without a baseline only the comparison is missing.
    """
    done = ledger.trials.get(request.number)
    if done is None or done.state is not TrialState.COMPLETE or not done.checkpoint:
        return done.error if done and done.error else "it did not finish"
    source = Path(done.checkpoint)
    if not (source / "weights.safetensors").exists():
        return f"its checkpoint {source} is gone"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights.safetensors", "model.json"):
        shutil.copyfile(source / name, folder / f".{name}.tmp")
        (folder / f".{name}.tmp").replace(folder / name)
    write_json(folder / "params.json", request.params)
    rows: list[dict[str, Any]] = [row for _, row in sorted(done.epochs.items())]
    columns = ["epoch", "train_loss", "lr", "seconds", "images_per_second"]
    write_csv(folder / "epochs.csv", columns, rows)
    return ""
