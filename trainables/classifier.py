"""The trainable `classifier`: a backbone and a head, trained from random or pretrained weights.

from trainables.classifier import train
from trainables.contract import TrialInputs
from trainables.parameters import default_params

params = default_params("classifier") | {"backbone": "resnet18", "lr": 1e-3}
inputs = TrialInputs(params, data, max_epochs=5, num_threads=2)
model = train(inputs, lambda report, save: print(report))
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from trainables.backbones import Classifier, build_classifier
from trainables.contract import EpochReport, Report, TrialInputs
from trainables.freezing import freeze_layers
from trainables.loop import ValFigures, evaluate, train_one_epoch
from trainables.losses import Loss, make_loss
from trainables.optim import Schedule, make_optimizer
from trainables.precision import autocast_for

VAL_BATCH_SIZE = 64
SEED_STRIDE = 1_000_003


def train(inputs: TrialInputs, report: Report) -> Classifier:
    """Train one configuration and report every epoch.

    The same inputs give the same curve on a CPU, also when it is interrupted and resumed. Random
    state and thread count of the process are left as they were found.

    Args:
        inputs: Hyperparameters (complete), data, budget and device.
        report: Called after every epoch.

    Returns:
        The model after the last epoch, in eval mode, on the CPU.

    Raises:
        NonFiniteLossError: The loss became nan or infinite.
        WeightsError: The weights file does not fit the backbone.
        ValueError: The backbone is unknown or cannot take images of this size.
    """
    with _own_random_state(inputs.device), _threads(inputs.num_threads):
        training = _start(inputs)
        last_epoch = min(inputs.stop_epoch or inputs.max_epochs, inputs.max_epochs)
        for epoch in range(training.epochs_done + 1, last_epoch + 1):
            # Seeding each epoch makes the random state a function of (seed, epoch): there is none
            # to keep in a checkpoint, and a resumed training draws what it would have drawn.
            torch.manual_seed(inputs.seed * SEED_STRIDE + epoch)
            figures = _one_epoch(training, inputs, epoch)

            def save(path: Path, epoch: int = epoch) -> None:
                save_checkpoint(training, epoch, path)

            report(figures, save)
        return training.model.cpu().eval()


@dataclass(frozen=True)
class Training:
    """A training in progress."""

    model: Classifier
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    autocast: AbstractContextManager[None]
    epochs_done: int


def _start(inputs: TrialInputs) -> Training:
    """Build model, optimizer and loss, from scratch or from a checkpoint."""
    params, data = inputs.params, inputs.data
    torch.manual_seed(inputs.seed * SEED_STRIDE)
    resumed = _read_checkpoint(inputs.resume_from) if inputs.resume_from else None
    weights = inputs.weights if resumed is None else None  # the checkpoint has them
    model = build_classifier(params, len(data.classes), data.size_px, weights)
    model = model.to(inputs.device)
    freeze_layers(model.backbone, params["freeze"])
    optimizer = make_optimizer(
        model, params["optimizer"], params["lr"], params["momentum"], params["weight_decay"]
    )
    if resumed is not None:
        model.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
    return Training(
        model=model,
        optimizer=optimizer,
        schedule=Schedule(
            optimizer,
            params["schedule"],
            params["lr"],
            params["momentum"],
            params["warmup_fraction"],
        ),
        loss=make_loss(
            label_smoothing=params["label_smoothing"],
            class_weights=params["class_weights"],
            train_counts=data.train_counts,
            device=inputs.device,
        ),
        autocast=autocast_for(params["backbone"], inputs.device),
        epochs_done=resumed["epoch"] if resumed is not None else 0,
    )


def _one_epoch(training: Training, inputs: TrialInputs, epoch: int) -> EpochReport:
    """Train on train, judge on val where there is one."""
    params, data = inputs.params, inputs.data
    num_images = sum(data.train_counts)
    started = time.perf_counter()
    train_loss = train_one_epoch(
        training.model,
        data.train_batches(
            batch_size=params["batch_size"],
            epoch=epoch,
            seed=inputs.seed,
            augment_strength=params["augment_strength"],
        ),
        loss=training.loss,
        optimizer=training.optimizer,
        schedule=training.schedule,
        autocast=training.autocast,
        device=inputs.device,
        epoch=epoch,
        max_epochs=inputs.max_epochs,
        num_images=num_images,
        gradient_clip=params["gradient_clip"],
    )
    trained = time.perf_counter()
    val = _judge(training, inputs, epoch) if data.num_val else None
    return EpochReport(
        epoch=epoch,
        train_loss=train_loss,
        val_loss=val.loss if val else None,
        val_accuracy=val.accuracy if val else None,
        val_balanced_accuracy=val.balanced_accuracy if val else None,
        val_macro_f1=val.macro_f1 if val else None,
        lr=training.optimizer.param_groups[0]["lr"],
        seconds=time.perf_counter() - started,
        images_per_second=num_images / (trained - started),
    )


def _judge(training: Training, inputs: TrialInputs, epoch: int) -> ValFigures:
    batch_size = max(VAL_BATCH_SIZE, inputs.params["batch_size"])
    return evaluate(
        training.model,
        inputs.data.val_batches(batch_size=batch_size),
        autocast=training.autocast,
        device=inputs.device,
        epoch=epoch,
        num_classes=len(inputs.data.classes),
    )


def save_checkpoint(training: Training, epoch: int, path: Path) -> None:
    """Write what a resumed training needs, beside and renamed; plain values and tensors only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    state = {
        "epoch": epoch,
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
    }
    torch.save(state, beside)
    beside.replace(path)


def _read_checkpoint(path: Path) -> Mapping[str, Any]:
    checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


@contextmanager
def _own_random_state(device: str) -> Iterator[None]:
    """Give the process its random state back afterwards."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        yield


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """Use this many CPU threads, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
