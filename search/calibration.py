"""The temperature of the final model: from models like it that had not seen the val images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from search.records import Confirmation, EpochRecord, Ids, TrialState
from search.scores import score_predictions, tempered
from search.statistics import Floats, bootstrap_interval

SETTLING_SCHEDULES = ("cosine", "one_cycle")
"""Their last epochs settle the model: what counts is the last one, not the luckiest."""
_SMALLEST = 1e-12
_FIGURES = ("ece", "log_loss")


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by, and where that is from ("" where nothing told it)."""

    value: float = 1.0
    source: str = ""


def choose_temperature(
    confirmation: Confirmation, epochs: Sequence[EpochRecord], schedule: str
) -> Temperature:
    """Return the temperature for the retrained winner. Pure.

    The retrained model has seen val and has no other images to be calibrated on. Its confirmations
    were trained alike on train alone, so what val asks of them is honest; their geometric mean is
    taken. Without one, the trial of the search stands in. More training images make the retrained
    model a little surer with reason: the test tells whether it helped.

    Args:
        epochs: Of the search.
        schedule: Of the winner's learning rate.
    """
    winner = confirmation.winner
    runs = [
        run.temperature
        for run in confirmation.runs
        if run.trial_number == winner.number and run.temperature and not run.error
    ]
    if runs:
        many = "1 fresh-seed training" if len(runs) == 1 else f"{len(runs)} fresh-seed trainings"
        return Temperature(_geometric_mean(runs), f"{many} of the winner, on val")
    own = {e.epoch: e.val_temperature for e in epochs if e.trial_number == winner.number}
    stop = temperature_epoch(schedule, winner.best_epoch, max(own, default=0))
    found = own.get(stop)
    if winner.state is TrialState.COMPLETE and found:
        return Temperature(found, "the winner's trial of the search, on val")
    return Temperature()


def temperature_epoch(schedule: str, best_epoch: int | None, last_epoch: int) -> int:
    """Return the epoch of a training that a retraining without val would stop at."""
    return last_epoch if schedule in SETTLING_SCHEDULES or not best_epoch else best_epoch


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, values)))


def describe_calibration(y_true: Ids, raw: Floats, temperature: Temperature) -> dict[str, Any]:
    """Tell what the temperature did to the confidences on test.

    Args:
        y_true: (N,) true classes.
        raw: (N, C) probabilities as the model alone gives them.

    Returns:
        temperature and its source, ece and log_loss before and after, the change of log loss with
        its 95 % interval (paired bootstrap; negative is better), and a sentence as `text`.
    """
    scaled = tempered(raw, temperature.value) if temperature.value != 1 else raw
    before, after = (
        {name: metric for name, metric in score_predictions(y_true, p).items() if name in _FIGURES}
        for p in (raw, scaled)
    )
    place = (np.arange(len(y_true)), y_true)
    losses = [-_log(p[place]) for p in (raw, scaled)]
    change = bootstrap_interval((losses[1] - losses[0])[:, None], lambda s: s[..., 0] / len(y_true))
    found = {
        "temperature": temperature.value,
        "source": temperature.source,
        "before": before,
        "after": after,
        "log_loss_change": change,
    }
    return found | {"text": _text(found)}


def _log(chances: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(chances, _SMALLEST))
    return logs


def _text(found: dict[str, Any]) -> str:
    if not found["source"]:
        return (
            "Confidences are as the model gives them: nothing was trained to the end on train "
            "alone, so that no temperature could be found."
        )
    change = found["log_loss_change"]
    told = "no clear difference to the log loss"
    if change.high < 0:
        told = "the log loss is lower for it"
    elif change.low > 0:
        told = "the log loss is higher for it"
    before, after = (100 * found[when]["ece"].value for when in ("before", "after"))
    too = "less" if found["temperature"] > 1 else "more"
    return (
        f"Logits are divided by {found['temperature']:.2f} (from {found['source']}), which makes "
        f"the model {too} sure: the calibration error on test goes from {before:.1f} % to "
        f"{after:.1f} %; {told}."
    )
