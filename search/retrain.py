"""Train the winner on train + val, and its rivals alike, for the test to compare."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search.calibration import SETTLING_SCHEDULES, Temperature
from search.errors import TrialError
from search.records import Confirmation, FinalModel, TrialRecord, TrialState, write_csv, write_json
from search.results import WEIGHTS
from search.select import RETRAIN_SHARE, SECONDS_FOR_TEST_AND_REPORT, SECONDS_TO_START_WORKERS
from search.tune.ledger import Ledger
from search.tune.runner import Runner, candidate_name
from search.tune.worker import Request, TrainingSet

RETRAIN_SEED = 20_000


def rivals(
    confirmation: Confirmation, default: TrialRecord, *, seconds_left: float, num_slots: int
) -> tuple[list[TrialRecord], str]:
    """Choose which configurations are trained beside the winner, for the test to compare. Pure.

    The default recipe tells whether tuning was worth it (on another core it is mostly for free),
    the runner-up whether the choice between the two best mattered.

    Args:
        seconds_left: Of the time limit.

    Returns:
        The default recipe unless it won, the runner-up unless it is one of them, and why a
        runner-up was left out, "" if none was.
    """
    winner, next_best = confirmation.winner, confirmation.runner_up
    chosen = [default] if winner.number != 0 and default.number == 0 else []
    if next_best is None or next_best in chosen:
        return chosen, ""
    took = [run.seconds for run in confirmation.runs if not run.error]
    rounds = math.ceil((len(chosen) + 2) / num_slots)
    needed = rounds * RETRAIN_SHARE * max(took, default=0.0) + SECONDS_TO_START_WORKERS
    if seconds_left < needed + SECONDS_FOR_TEST_AND_REPORT:
        return chosen, (
            f"the runner-up, {candidate_name(next_best)}, was not trained on train + val for the "
            "test to compare: time was short"
        )
    return [*chosen, next_best], ""


def retrain_winner(
    runner: Runner,
    confirmation: Confirmation,
    beside: Sequence[TrialRecord] = (),
    temperature: Temperature | None = None,
) -> FinalModel:
    """Train the winner on train + val, without a look at anything else.

    Args:
        beside: Trained the same way, so that models made alike are compared; see `rivals`.
        temperature: Kept with the winner.

    Raises:
        TrialError: A training failed.
    """
    results = runner.results
    winner = confirmation.winner
    chosen = [(winner, results.best)]
    chosen += [(t, results.runner_up if t.number else results.baseline) for t in beside]
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
    # What is there may be of an earlier set of models: from here on it is not whole.
    results.marker("retrain").unlink(missing_ok=True)
    for folder in (results.baseline, results.runner_up):
        shutil.rmtree(folder, ignore_errors=True)
    for request, (trial, folder) in zip(requests, chosen, strict=True):
        trained = results.checkpoints_of("retrain", ledger.path) / str(request.number)
        reason = _collect(ledger, request, trained, folder)
        if reason and folder == results.best:
            ledger.path.unlink(missing_ok=True)  # so that the same command does try again
            name = candidate_name(trial)
            raise TrialError(
                f"retraining the {name} failed: {reason}. The same command tries again."
            )
    set_temperature(results.best, temperature or Temperature())
    return FinalModel(results.best, runner.images.cache.classes)


def set_temperature(folder: Path, temperature: Temperature) -> None:
    """Write a temperature into a model's description, and where it is from beside it."""
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    write_json(folder / "model.json", info | {"temperature": temperature.value})
    write_json(folder / "calibration.json", temperature)


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


def _collect(ledger: Ledger, request: Request, source: Path, folder: Path) -> str:
    """Copy a trained model from where its worker left it into the results.

    Returns:
        Why there is none, "" if there is. Without a rival only its comparison is missing.
    """
    done = ledger.trials.get(request.number)
    if done is None or done.state is not TrialState.COMPLETE:
        return done.error if done and done.error else "it did not finish"
    if not (source / WEIGHTS).exists():
        return f"its model {source} is gone"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, "model.json"):
        shutil.copyfile(source / name, folder / f".{name}.tmp")
        (folder / f".{name}.tmp").replace(folder / name)
    write_json(folder / "params.json", request.params)
    rows: list[dict[str, Any]] = [row for _, row in sorted(done.epochs.items())]
    columns = ["epoch", "train_loss", "lr", "seconds", "images_per_second"]
    write_csv(folder / "epochs.csv", columns, rows)
    return ""
