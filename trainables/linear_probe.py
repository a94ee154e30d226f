"""The trainable `linear_probe`: a head on the features of a frozen, pretrained backbone.

The features are extracted once and shared through a store, so that a trial costs little more than
its head: cheap trials tell which backbones and settings deserve fine-tuning.

from trainables.contract import TrialInputs
from trainables.linear_probe import train
from trainables.parameters import default_params

params = default_params("linear_probe") | {"backbone": "resnet18"}
inputs = TrialInputs(params, data, max_epochs=5, weights=Path("resnet18.safetensors"))
model = train(inputs, lambda report, save: print(report))
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.backbones import Classifier
from trainables.contract import EpochReport, Report, TrialInputs
from trainables.features import Features, Halves, frozen_classifier, open_features
from trainables.heads import build_head
from trainables.loop import evaluate, train_one_epoch, val_report
from trainables.losses import Loss
from trainables.memory import keep_freed_memory, peak_mb, reset_peak
from trainables.mixing import Mixing
from trainables.optim import Schedule
from trainables.process import borrowed_process, read_checkpoint, save_checkpoint, seed_epoch
from trainables.recipe import build_loss, build_optimizer, build_schedule

VAL_BATCH_SIZE = 1024
ROWS_AT_ONCE = 1024


def train(inputs: TrialInputs, report: Report) -> Classifier:
    """Train one head and report every epoch.

    The same inputs give the same curve on a CPU, also when it is interrupted and resumed. Random
    state and thread count of the process are left as they were found; malloc is told to keep freed
    memory (trainables/memory.py). The extraction of features that no earlier trial left in the
    store counts as part of the first epoch reported.

    Args:
        inputs: Hyperparameters (complete), data, budget, device and feature store.
        report: Called after every epoch, which sees every training image `passes` times.

    Returns:
        The frozen backbone with the head after the last epoch, in eval mode, on the CPU.

    Raises:
        NonFiniteLossError: The loss became nan or infinite.
        WeightsError: The weights file does not fit the backbone.
        ValueError: The backbone is unknown or cannot take images of this size.
        OSError: The feature store cannot be written.
    """
    keep_freed_memory()
    began = time.perf_counter()
    with borrowed_process(inputs.device, inputs.num_threads):
        reset_peak(inputs.device)
        training = _start(inputs)
        last_epoch = min(inputs.stop_epoch or inputs.max_epochs, inputs.max_epochs)
        for epoch in range(training.epochs_done + 1, last_epoch + 1):
            seed_epoch(inputs.seed, epoch)
            figures = _one_epoch(training, inputs, epoch, began)

            def save(path: Path, epoch: int = epoch) -> None:
                save_checkpoint(path, epoch, training.head, training.optimizer)

            report(figures, save)
            began = time.perf_counter()
        model = frozen_classifier(inputs)
        model.head.load_state_dict(training.head.to("cpu").unscaled().state_dict())
        return model


class ScaledHead(nn.Module):
    """A head behind one fixed scaling of its features, so that one lr suits every backbone.

    Args:
        head: Maps features (B, F) to logits (B, C).
        scale: What features are multiplied by; a power of two, so that nothing is rounded when it
            is taken into the weights.
    """

    scale: Tensor

    def __init__(self, head: nn.Sequential, scale: float) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (B, C) of features (B, F)."""
        logits: Tensor = self.head(features * self.scale)
        return logits

    def unscaled(self) -> nn.Sequential:
        """Return a head that gives the very same logits for the features as they are."""
        head = copy.deepcopy(self.head)
        first = next(layer for layer in head if isinstance(layer, nn.Linear))
        with torch.no_grad():
            first.weight.mul_(self.scale)
        return head


class QuickDropout(nn.Dropout):
    """Dropout at a third of its cost on a CPU, where it is most of what a linear head costs.

    Each element draws 16 bits of a long word: p counts to 1/65536.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p or input.is_cuda:
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: input.numel()].view(input.shape)
        share = round(self.p * 2**16)
        # Written as numbers at once: a mask of booleans would have to be converted.
        kept = torch.ge(draws, share - 2**15, out=torch.empty_like(input, requires_grad=False))
        return input * kept.mul_(2**16 / (2**16 - share))


@dataclass(frozen=True)
class Training:
    """A training in progress."""

    features: Features
    head: ScaledHead
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    epochs_done: int


def _start(inputs: TrialInputs) -> Training:
    """Open the features; build head, optimizer and loss, from scratch or from a checkpoint."""
    params, data = inputs.params, inputs.data
    features = open_features(inputs)
    clean = features.views[0]
    seed_epoch(inputs.seed, 0)
    head = build_head(
        clean.shape[1],
        len(data.classes),
        hidden_units=params["hidden_units"],
        dropout=params["dropout"],
    )
    head[-2] = QuickDropout(params["dropout"])
    scaled = ScaledHead(head, feature_scale(clean)).to(inputs.device)
    optimizer = build_optimizer(params, scaled)
    resumed = read_checkpoint(inputs.resume_from) if inputs.resume_from else None
    if resumed is not None:
        scaled.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
    return Training(
        features=features,
        head=scaled,
        optimizer=optimizer,
        schedule=build_schedule(params, optimizer),
        loss=build_loss(params, data.train_counts, inputs.device),
        epochs_done=resumed["epoch"] if resumed is not None else 0,
    )


def _one_epoch(training: Training, inputs: TrialInputs, epoch: int, began: float) -> EpochReport:
    """Pass over the training features, judge on val where there is one.

    Args:
        began: When the work that this epoch answers for began (time.perf_counter).
    """
    params, features = inputs.params, training.features
    num_images = len(features.labels) * params["passes"]
    opened = time.perf_counter()
    train = train_one_epoch(
        training.head,
        features.train_batches(
            batch_size=params["batch_size"],
            passes=params["passes"],
            epoch=epoch,
            seed=inputs.seed,
            balanced=params["sampler"] == "balanced",
        ),
        mixing=Mixing(0.0, 0.0, len(inputs.data.classes), inputs.seed),
        loss=training.loss,
        optimizer=training.optimizer,
        schedule=training.schedule,
        autocast=nullcontext(),
        device=inputs.device,
        epoch=epoch,
        max_epochs=inputs.max_epochs,
        num_images=num_images,
        gradient_clip=params["gradient_clip"],
    )
    trained = time.perf_counter()
    return EpochReport(
        epoch=epoch,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        **_judge(training, inputs, epoch),
        lr=training.optimizer.param_groups[0]["lr"],
        seconds=time.perf_counter() - began,
        images_per_second=num_images / (trained - opened),
        peak_memory_mb=round(peak_mb(inputs.device), 1),
    )


def _judge(training: Training, inputs: TrialInputs, epoch: int) -> dict[str, Any]:
    """Return the `val_*` figures of an epoch, None each where nothing is held out."""
    val = None
    if inputs.data.num_val:
        val = evaluate(
            training.head,
            training.features.val_batches(batch_size=VAL_BATCH_SIZE),
            autocast=nullcontext(),
            device=inputs.device,
            epoch=epoch,
            num_classes=len(inputs.data.classes),
        )
    return val_report(val)


def feature_scale(features: Halves) -> float:
    """Return the power of two that brings the root mean square of features (N, F) nearest to 1."""
    chunks = (features[k : k + ROWS_AT_ONCE] for k in range(0, len(features), ROWS_AT_ONCE))
    squares = sum(float(np.square(rows, dtype=np.float64).sum()) for rows in chunks)
    return 2.0 ** -round(math.log2(squares / features.size) / 2) if squares else 1.0
