"""What runs inside a Ray worker: one training, its epochs reported, its checkpoints kept."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from search.records import Ids, ImageCache
from trainables.contract import EpochReport, TrialInputs

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class TrainingSet:
    """Which images a training may see. There is no test field.

    Attributes:
        val: Empty when the winner is retrained on train + val.
        feature_store: Folder in which trials share the features of frozen backbones.
    """

    cache: ImageCache
    train: Ids
    val: Ids
    feature_store: Path


@dataclass(frozen=True)
class Request:
    """One training to be done, in plain values that travel to a worker.

    Attributes:
        number: Of the trial; the ledger's key.
        params: Complete hyperparameters.
        searched: The active params of the space, as tables show them.
        mode: Arithmetic of the backbone; memory_bytes: what batches may take; see TrialInputs.
        keep_model: Give the trained model back as the last checkpoint.
    """

    number: int
    params: dict[str, Any]
    searched: dict[str, Any]
    seed: int
    trainable: str
    max_epochs: int
    stop_epoch: int
    weights: str | None
    num_threads: int
    mode: str = ""
    memory_bytes: int | None = None
    resume_from: str = ""
    keep_model: bool = False

    def to_config(self) -> dict[str, Any]:
        return asdict(self)


def run_request(config: dict[str, Any], training_set: TrainingSet) -> None:
    """Train one request, as Ray Tune calls it.

    A configuration that fails (diverges, runs out of memory, is impossible) reports its reason
    and ends in peace; only what the machine does to a worker reaches Ray as an error, and is
    retried.
    """
    request = Request(**config)
    try:
        _train(request, training_set)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        tune.report({"failure": reason, "traceback": traceback.format_exc()})
    finally:
        _give_memory_back()


def _give_memory_back() -> None:
    """Return freed pages to the system: glibc keeps a gigabyte of a past trial's activations."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _train(request: Request, training_set: TrainingSet) -> None:
    from search.data.loader import open_trial_data

    module = importlib.import_module(f"trainables.{request.trainable}")
    device = _device()
    data = open_trial_data(
        training_set.cache,
        training_set.train,
        training_set.val,
        size_px=request.params["size_px"],
        device=device,
    )
    where = {"node": platform.node(), "worker": str(os.getpid())}
    saved_at = time.monotonic()

    def report(epoch: EpochReport, save: Callable[[Path], None]) -> None:
        nonlocal saved_at
        metrics = asdict(epoch) | where
        # The last epoch of a kept model is followed at once by the model itself.
        if time.monotonic() - saved_at < CHECKPOINT_SECONDS or epoch.epoch >= request.stop_epoch:
            tune.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="seed-search-") as folder:
            save(Path(folder) / CHECKPOINT)
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))
        saved_at = time.monotonic()

    inputs = _inputs(request, data, device)
    model = module.train(replace(inputs, feature_store=training_set.feature_store), report)
    if request.keep_model:
        _give_back(model, request, training_set.cache)


def _inputs(request: Request, data: Any, device: str) -> TrialInputs:
    return TrialInputs(
        params=request.params,
        data=data,
        max_epochs=request.max_epochs,
        seed=request.seed,
        device=device,
        num_threads=request.num_threads,
        weights=Path(request.weights) if request.weights else None,
        resume_from=_resume_file(request),
        stop_epoch=request.stop_epoch,
        mode=request.mode,
        memory_bytes=request.memory_bytes,
    )


def _device() -> str:
    import ray

    return "cuda" if ray.get_runtime_context().get_accelerator_ids().get("GPU") else "cpu"


def _resume_file(request: Request) -> Path | None:
    """Return the newest checkpoint, of this attempt (a worker died) or an earlier process."""
    latest = tune.get_checkpoint()
    folder = latest.path if latest else request.resume_from
    file = Path(folder) / CHECKPOINT if folder else None
    return file if file and file.exists() else None


def _give_back(model: Any, request: Request, cache: ImageCache) -> None:
    from trainables.saved import describe, save_model

    info = describe(
        model,
        params=request.params,
        classes=cache.classes,
        size_px=request.params["size_px"],
        side_px=cache.side_px,
        fit=cache.fit,
        trainable=request.trainable,
    )
    with tempfile.TemporaryDirectory(prefix="seed-search-") as folder:
        save_model(model, Path(folder), info)
        tune.report({"model": True}, checkpoint=tune.Checkpoint.from_directory(folder))
