"""What runs inside a Ray worker: one training, its epochs reported, its checkpoints kept."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ray import tune

from search.errors import DatasetError, first_line
from search.goals import Constraint, Goals
from search.records import Ids, ImageCache
from search.results import CHECKPOINT
from search.tune.checkpoints import Checkpoints
from search.tune.failures import refusal
from search.tune.home import HERE, Home, this_node
from search.tune.node_files import features_here, file_here, images_here
from trainables.contract import EpochReport, TrialInputs
from trainables.parameters import TRAINABLES

CHECKPOINT_SECONDS = float(os.environ.get("SEED_SEARCH_CHECKPOINT_SECONDS", "30"))


UNREADABLE = "a checkpoint was unreadable: its training began again at the first epoch"


@dataclass(frozen=True)
class TrainingSet:
    """Which images a training may see. There is no test field.

    Attributes:
        cache, feature_store: On the study's node; other nodes have their own.
        val: Empty when the winner is retrained on train + val.
        feature_store: Folder in which trials share the features of frozen backbones.
    """

    cache: ImageCache
    train: Ids
    val: Ids
    feature_store: Path
    home: Home = HERE


@dataclass(frozen=True)
class Request:
    """One training to be done, in plain values that travel to a worker.

    Attributes:
        number: Of the trial; the ledger's key.
        params: Complete hyperparameters.
        searched: The active params of the space, as tables show them.
        weights: File of pretrained weights on the study's node, None for random ones.
        mode: Arithmetic of the backbone; memory_bytes: what batches may take; see TrialInputs.
        on_cpu: Without a GPU though others of its study have one; the device of others follows
            from what their worker was given.
        latency_on_cpu: Measure a footprint there, where some of the study's trainings have a GPU
            and others none: latencies are compared.
        keep_model: Leave the trained model beside the checkpoint.
        architecture: Name of its network where its footprint is asked for, "" where it is not.
        footprint: Metric -> value, where it is known already; {} to measure it.
        constraints: Metric, sign and bound of each limit to keep.
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
    on_cpu: bool = False
    latency_on_cpu: bool = False
    keep_model: bool = False
    architecture: str = ""
    footprint: dict[str, float] = field(default_factory=dict)
    constraints: tuple[tuple[str, str, float], ...] = ()

    def to_config(self) -> dict[str, Any]:
        return asdict(self)


def run_request(
    config: dict[str, Any], training_set: TrainingSet, checkpoints: Checkpoints
) -> None:
    """Train one request, as Ray Tune calls it, from its checkpoint if it has one.

    A configuration that fails (diverges, runs out of memory, is impossible) reports its reason
    and ends in peace; only what the machine does to a worker reaches Ray as an error, and is
    retried in a new worker.
    """
    request = Request(**config)
    try:
        with checkpoints.newest(request.number) as (resume_from, is_damaged):
            warning = UNREADABLE if is_damaged else ""
            _train(request, training_set, checkpoints, resume_from, warning)
    except Exception as error:
        if is_fault_of_machine(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        tune.report({"failure": reason, "traceback": traceback.format_exc()})
    finally:
        _give_memory_back()


def is_fault_of_machine(error: Exception) -> bool:
    """Tell whether another configuration would have failed alike: files, disks, network, driver.

    After a CUDA error a process can use the GPU no more, so the next trial needs another one.
    """
    return isinstance(error, OSError | DatasetError | ImportError) or "CUDA error" in str(error)


@cache
def _spare_the_imports() -> None:
    """Take what is imported out of garbage collections: half a million objects, 0.3 s a trial."""
    gc.freeze()


def _give_memory_back() -> None:
    """Return freed pages to the system: glibc keeps a gigabyte of a past trial's activations."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _train(
    request: Request,
    training_set: TrainingSet,
    checkpoints: Checkpoints,
    resume_from: Path | None,
    warning: str,
) -> None:
    from search.data.loader import open_trial_data

    module = importlib.import_module(f"trainables.{request.trainable}")
    _spare_the_imports()
    device, home = _device(), training_set.home
    with _naming_the_node(home):
        cache = images_here(training_set.cache, home)
    size_px = request.params["size_px"]
    data = open_trial_data(
        cache, training_set.train, training_set.val, size_px=size_px, device=device
    )
    where = {"node": platform.node(), "worker": str(os.getpid())}
    measured_on = "cpu" if request.latency_on_cpu else device
    news = _measure_footprint(request, len(data.classes), measured_on)
    if reason := _faults(request, news):
        tune.report(news | {"infeasible": reason})
        return
    saved_at = time.monotonic()

    def report(epoch: EpochReport, save: Callable[[Path], None]) -> None:
        nonlocal saved_at, warning, news
        # Returns when the ledger has it, so that a checkpoint is never ahead of the ledger.
        tune.report(asdict(epoch) | where | {"warning": warning} | news)
        warning, news = "", {}
        # The last epoch of a kept model is followed at once by the model itself.
        if time.monotonic() - saved_at < CHECKPOINT_SECONDS or epoch.epoch >= request.stop_epoch:
            return
        saved_at = time.monotonic()
        try:
            checkpoints.keep(request.number, lambda folder: save(folder / CHECKPOINT))
        except (OSError, RuntimeError) as error:  # torch has no error of its own for a full disk
            warning = f"checkpoints cannot be written ({first_line(error)}): "
            warning += "a training that is interrupted now begins again"

    inputs = _inputs(request, data, device, resume_from, home)
    feature_store = features_here(training_set.feature_store, cache, home)
    model = module.train(replace(inputs, feature_store=feature_store), report)
    if request.keep_model:
        _give_back(model, request, cache, checkpoints)


def _measure_footprint(request: Request, num_classes: int, device: str) -> dict[str, Any]:
    """Return the footprint if it is asked for and not known yet; it goes with the first report."""
    if not request.architecture or request.footprint or request.trainable not in TRAINABLES:
        return {}
    from trainables.footprint import measure_footprint

    return asdict(measure_footprint(request.params, num_classes, device=device))


def _faults(request: Request, measured: dict[str, Any]) -> str:
    """Say which limits the network breaks, whatever its training would come to; "" if none."""
    constraints = tuple(Constraint(*limit) for limit in request.constraints)
    return Goals((), constraints).faults(request.footprint or measured)


@contextmanager
def _naming_the_node(home: Home) -> Iterator[None]:
    """Say which node it is that cannot take what a training reads, if it is not the study's own."""
    try:
        yield
    except OSError as error:
        if home.is_here:
            raise
        raise OSError(refusal(this_node(), error)) from error


def _inputs(
    request: Request, data: Any, device: str, resume_from: Path | None, home: Home
) -> TrialInputs:
    weights = None
    if request.weights:
        with _naming_the_node(home):
            weights = file_here(Path(request.weights), home)
    return TrialInputs(
        params=request.params,
        data=data,
        max_epochs=request.max_epochs,
        seed=request.seed,
        device=device,
        num_threads=request.num_threads,
        weights=weights,
        resume_from=resume_from,
        stop_epoch=request.stop_epoch,
        mode=request.mode,
        memory_bytes=request.memory_bytes,
    )


def _device() -> str:
    import ray

    return "cuda" if ray.get_runtime_context().get_accelerator_ids().get("GPU") else "cpu"


def _give_back(model: Any, request: Request, cache: ImageCache, checkpoints: Checkpoints) -> None:
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
    checkpoints.keep(request.number, lambda folder: save_model(model, folder, info))
