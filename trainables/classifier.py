"""The trainable `classifier`: a backbone and a head, trained from random or pretrained weights.

from trainables.classifier import train
from trainables.contract import TrialInputs
from trainables.parameters import default_params

params = default_params("classifier") | {"backbone": "resnet18", "lr": 1e-3}
inputs = TrialInputs(params, data, max_epochs=5, num_threads=2)
model = train(inputs, lambda report, save: print(report))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from trainables.averaging import Average
from trainables.backbones import Classifier, build_classifier
from trainables.contract import Augmentation, EpochReport, Report, TrialInputs
from trainables.freezing import freeze_layers, thawing_parameters
from trainables.loop import ValFigures, evaluate, train_one_epoch, val_report
from trainables.losses import Loss
from trainables.memory import (
    eval_batch,
    keep_freed_memory,
    micro_batch_for,
    peak_mb,
    reset_peak,
)
from trainables.mixing import Mixing
from trainables.optim import Schedule
from trainables.precision import MODES, Mode, default_mode
from trainables.process import borrowed_process, read_checkpoint, save_checkpoint, seed_epoch
from trainables.recipe import build_loss, build_optimizer, build_schedule

if TYPE_CHECKING:
    from trainables.contract import Batch


def train(inputs: TrialInputs, report: Report) -> Classifier:
    """Train one configuration and report every epoch.

    The same inputs give the same curve on a CPU, also when it is interrupted and resumed. Random
    state and thread count of the process are left as they were found; malloc is told to keep freed
    memory (trainables/memory.py).

    Args:
        inputs: Hyperparameters (complete), data, budget and device.
        report: Called after every epoch.

    Returns:
        The model after the last epoch, or the average of its weights if `ema` asks for it; in eval
        mode, on the CPU.

    Raises:
        NonFiniteLossError: The loss became nan or infinite.
        WeightsError: The weights file does not fit the backbone.
        ValueError: The backbone is unknown or cannot take images of this size.
    """
    keep_freed_memory()
    with borrowed_process(inputs.device, inputs.num_threads):
        reset_peak(inputs.device)
        training = _start(inputs)
        last_epoch = min(inputs.stop_epoch or inputs.max_epochs, inputs.max_epochs)
        for epoch in range(training.epochs_done + 1, last_epoch + 1):
            seed_epoch(inputs.seed, epoch)
            figures = _one_epoch(training, inputs, epoch)
            report(figures, _saver(training, epoch))
        return training.judged.to("cpu").eval()


@dataclass
class Training:
    """A training in progress.

    Attributes:
        average: Of the model's weights, None without `ema`.
        thawing: Parameters that train from `unfreeze_epoch` on.
        micro_batch: Most images to forward at once, None for whole batches; memory may halve it.
    """

    model: Classifier
    average: Average | None
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    mode: Mode
    autocast: AbstractContextManager[None]
    thawing: tuple[nn.Parameter, ...]
    micro_batch: int | None
    epochs_done: int

    @property
    def judged(self) -> Classifier:
        """What is validated and kept."""
        return self.average.model if self.average else self.model

    def after_step(self) -> None:
        if self.average:
            self.average.update(self.model)


def _start(inputs: TrialInputs) -> Training:
    """Build model, optimizer and loss, from scratch or from a checkpoint."""
    params, data = inputs.params, inputs.data
    seed_epoch(inputs.seed, 0)
    resumed = read_checkpoint(inputs.resume_from) if inputs.resume_from else None
    weights = inputs.weights if resumed is None else None  # the checkpoint has them
    mode = MODES[inputs.mode] if inputs.mode else default_mode(params["backbone"], inputs.device)
    model = build_classifier(params, len(data.classes), data.size_px, weights)
    model = model.to(inputs.device).to(memory_format=mode.memory_format)
    freeze_layers(model.backbone, params["freeze"], params["trained_stages"])
    optimizer = build_optimizer(params, model)
    if resumed is not None:
        model.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
    # There may be less memory than there was: a worker was killed for it.
    micro_batches = [resumed["micro_batch"] if resumed else None, _micro_batch(model, mode, inputs)]
    average = Average(model, params["ema"]) if params["ema"] else None
    if average and resumed is not None:
        average.load_state_dict(resumed["average"])
    return Training(
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=build_schedule(params, optimizer),
        loss=build_loss(params, data.train_counts, inputs.device),
        mode=mode,
        autocast=mode.autocast(inputs.device),
        thawing=thawing_parameters(model.backbone, params["freeze"]),
        micro_batch=min(filter(None, micro_batches), default=None),
        epochs_done=resumed["epoch"] if resumed is not None else 0,
    )


def _micro_batch(model: Classifier, mode: Mode, inputs: TrialInputs) -> int | None:
    """Foresee how many images fit at once where a limit is given; None if whole batches do."""
    if inputs.memory_bytes is None or inputs.device != "cpu":
        return None
    wanted = inputs.params["batch_size"]
    fitting = micro_batch_for(model, wanted, inputs.data.size_px, mode, inputs.memory_bytes)
    return fitting if fitting < wanted else None


def _one_epoch(training: Training, inputs: TrialInputs, epoch: int) -> EpochReport:
    """Train on train, judge on val where there is one."""
    params, data = inputs.params, inputs.data
    num_images = sum(data.train_counts)
    for parameter in training.thawing:
        parameter.requires_grad_(epoch >= params["unfreeze_epoch"])
    started = time.perf_counter()
    batches = data.train_batches(
        batch_size=params["batch_size"],
        epoch=epoch,
        seed=inputs.seed,
        augmentation=Augmentation(
            params["augment_strength"], params["vertical_flip"], params["hue"]
        ),
        balanced=params["sampler"] == "balanced",
    )
    train = train_one_epoch(
        training.model,
        _in_order(batches, training.mode),
        mixing=Mixing(params["mixup"], params["cutmix"], len(data.classes), inputs.seed),
        loss=training.loss,
        optimizer=training.optimizer,
        schedule=training.schedule,
        autocast=training.autocast,
        device=inputs.device,
        epoch=epoch,
        max_epochs=inputs.max_epochs,
        num_images=num_images,
        gradient_clip=params["gradient_clip"],
        micro_batch=training.micro_batch,
        after_step=training.after_step,
    )
    training.micro_batch = train.micro_batch
    trained = time.perf_counter()
    val = _judge(training, inputs, epoch) if data.num_val else None
    return EpochReport(
        epoch=epoch,
        train_loss=train.loss,
        lr=training.optimizer.param_groups[0]["lr"],
        seconds=time.perf_counter() - started,
        images_per_second=num_images / (trained - started),
        train_accuracy=train.accuracy,
        **val_report(val),
        peak_memory_mb=round(peak_mb(inputs.device), 1),
        micro_batch=train.micro_batch,
    )


def _judge(training: Training, inputs: TrialInputs, epoch: int) -> ValFigures:
    # Without a graph an image takes a fraction of what it takes in training.
    usual = eval_batch(inputs.data.size_px, inputs.device)
    batch_size = min(usual, training.micro_batch or usual)
    batches = inputs.data.val_batches(batch_size=batch_size)
    return evaluate(
        training.judged,
        _in_order(batches, training.mode),
        autocast=training.autocast,
        device=inputs.device,
        epoch=epoch,
        num_classes=len(inputs.data.classes),
    )


def _in_order(batches: Iterable[Batch], mode: Mode) -> Iterator[Batch]:
    """Yield batches in the memory order of the mode; they come channels-last."""
    for images, labels in batches:
        yield images.contiguous(memory_format=mode.memory_format), labels


def _saver(training: Training, epoch: int) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        save_checkpoint(
            path,
            epoch,
            training.model,
            training.optimizer,
            micro_batch=training.micro_batch,
            average=training.average.state_dict() if training.average else None,
        )

    return save
