"""Made-up trials: a small ASHA over learning curves that follow from the parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from search.records import EpochRecord, TrialRecord, TrialState

MAX_EPOCHS, MIN_EPOCHS, REDUCTION_FACTOR = 9, 1, 3
BACKBONES = ("small_cnn", "separable_cnn", "resnet18", "mobilenetv3_small_100", "efficientnet_b0")
LIFT = dict(zip(BACKBONES, (-0.16, -0.12, 0.04, 0.07, 0.09), strict=True))
COSTS = dict(
    zip(
        BACKBONES,
        ((0.8, 390_000), (0.6, 46_000), (19.0, 11_200_000), (6.1, 1_500_000), (20.5, 4_000_000)),
        strict=True,
    )
)
OPTIMIZERS = ("adamw", "sgd", "rmsprop")


def _params(rng: np.random.Generator, number: int) -> dict[str, Any]:
    backbone = BACKBONES[0] if number == 0 else str(rng.choice(BACKBONES))
    params: dict[str, Any] = {
        "backbone": backbone,
        "optimizer": "adamw" if number == 0 else str(rng.choice(OPTIMIZERS)),
        "lr": 2e-3 if number == 0 else float(10 ** rng.uniform(-5, -0.5)),
        "weight_decay": float(10 ** rng.uniform(-5, -1)),
        "batch_size": int(rng.choice([16, 32, 64])),
        "dropout": float(round(rng.uniform(0, 0.6), 2)),
        "augment_strength": float(rng.uniform(0, 1)),
        "schedule": "cosine",
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = float(rng.uniform(0.5, 0.99))
    if backbone.endswith("_cnn"):
        params["depth"] = int(rng.integers(3, 7))
    else:
        params["freeze"] = str(rng.choice(["none", "early_stages", "backbone"]))
    return params


def _quality(params: dict[str, Any]) -> float:
    best_lr = -1.3 if params["optimizer"] == "sgd" else -2.8
    value = 0.78 + LIFT[params["backbone"]] - 0.09 * (math.log10(params["lr"]) - best_lr) ** 2
    value -= 0.1 * abs(params["augment_strength"] - 0.5) + 0.05 * params["dropout"]
    return float(np.clip(value, 0.05, 0.97))


def fake_search(
    rng: np.random.Generator, num_trials: int
) -> tuple[list[TrialRecord], list[EpochRecord]]:
    """Run a small ASHA on two workers over made-up curves."""
    trials: list[TrialRecord] = []
    epochs: list[EpochRecord] = []
    free_s, seen = [3.0, 3.4], dict[int, list[float]]()
    for number in range(num_trials):
        params = _params(rng, number)
        worker = int(np.argmin(free_s))
        fails_at = {5: 3, 17: 1}.get(number % 25, 0)  # one diverges, one never gets an epoch done
        last = number == num_trials - 1 and num_trials > 3
        top, values, state = _quality(params), list[float](), TrialState.COMPLETE
        step_s = float(3 + 4 * LIFT[params["backbone"]] + rng.uniform(0, 1))
        for epoch in range(1, MAX_EPOCHS + 1):
            if epoch == fails_at or (last and epoch == 6):
                state = TrialState.FAILED if fails_at else TrialState.INTERRUPTED
                break
            value = top * (1 - 0.6 * math.exp(-epoch / 2.2)) + rng.normal(0, 0.012)
            values.append(float(np.clip(value, 0.01, 0.99)))
            epochs.append(_epoch(number, epoch, values[-1], params, step_s))
            if epoch in (1, 3) and number > 0 and not last and not fails_at:
                rung = seen.setdefault(epoch, [])
                rung.append(values[-1])
                if values[-1] < np.quantile(rung, 1 - 1 / REDUCTION_FACTOR):
                    state = TrialState.PRUNED
                    break
        seconds = step_s * len(values) + 0.4
        trials.append(_trial(number, state, params, values, seconds, free_s[worker], worker))
        free_s[worker] += seconds + 0.3
    return trials, epochs


def _epoch(
    number: int, epoch: int, value: float, params: dict[str, Any], step_s: float
) -> EpochRecord:
    loss = -math.log(value)
    rate = params["lr"] * (1 + math.cos(math.pi * (epoch - 1) / MAX_EPOCHS)) / 2
    return EpochRecord(
        number, epoch, 0.9 * loss, loss, value, value - 0.01, value - 0.02, rate, step_s, 420.0
    )


def _trial(
    number: int,
    state: TrialState,
    params: dict[str, Any],
    values: list[float],
    seconds: float,
    started_s: float,
    worker: int,
) -> TrialRecord:
    return TrialRecord(
        number, state, params, len(values),
        best_value=max(values) if values else None,
        best_epoch=values.index(max(values)) + 1 if values else None,
        last_value=values[-1] if values else None,
        seconds=seconds, started_s=started_s, seed=1000 + number, node="laptop",
        worker=f"worker {worker}", **_footprint(params),
        error=_error(len(values)) if state is TrialState.FAILED else "",
    )  # fmt: skip


def _footprint(params: dict[str, Any]) -> dict[str, Any]:
    latency_ms, num_parameters = COSTS[params["backbone"]]
    size = {"num_parameters": num_parameters, "model_mb": 4e-6 * num_parameters}
    return {"latency_ms": latency_ms, **size}


def _error(epochs_run: int) -> str:
    if epochs_run:
        return f"NonFiniteLossError: loss is nan at epoch {epochs_run + 1}"
    return "OutOfMemoryError: batch_size 64 needs 3.1 GiB, 2.0 GiB free | see error.txt"
