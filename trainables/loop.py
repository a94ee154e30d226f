"""One epoch of training, one pass of validation, and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.accumulation import Gradients
from trainables.calibration import TemperatureFit
from trainables.contract import NonFiniteLossError
from trainables.freezing import set_training_mode
from trainables.losses import Loss, plain_loss
from trainables.mixing import Mixing
from trainables.optim import Schedule, clip_gradients

if TYPE_CHECKING:
    from trainables.contract import Batch

STEPS_BETWEEN_CHECKS = 50
"""A GPU is asked for its losses this often: each question makes it wait for the CPU."""


NUM_CLASSES_FOR_TOP5 = 11
"""With ten classes, half of all guesses would be among the first five."""


@dataclass(frozen=True)
class TrainFigures:
    """What an epoch of training gives.

    Attributes:
        loss: Mean per image, of the targets as they were mixed, smoothed and weighted.
        accuracy: Share of the augmented images whose class (the larger one of a mixed image) had
            the highest logit in the step that trained on them.
        micro_batch: Most images that were forwarded at once, None if whole batches were.
    """

    loss: float
    accuracy: float
    micro_batch: int | None


@dataclass(frozen=True)
class ValFigures:
    """What a pass over val gives. The loss is plain cross entropy, whatever was minimised.

    Attributes:
        top5_accuracy: None with ten classes or fewer.
        temperature: What the logits would have to be divided by for true confidences.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    top5_accuracy: float | None
    temperature: float


class RunningLoss:
    """Sum of batch losses, kept on the device between checks.

    Raises:
        NonFiniteLossError: From `add` or `mean`, naming the first step whose loss was not finite.
    """

    def __init__(self, where: str, device: str) -> None:
        self._where = where
        self._check_every = 1 if torch.device(device).type == "cpu" else STEPS_BETWEEN_CHECKS
        self._pending: list[tuple[Tensor, int]] = []
        self._sum = 0.0
        self._num_images = 0
        self._num_steps = 0

    def add(self, loss: Tensor, num_images: int) -> None:
        """Count one batch's mean loss."""
        self._pending.append((loss.detach(), num_images))
        if len(self._pending) == self._check_every:
            self._check()

    def mean(self) -> float:
        """Return the mean loss per image so far."""
        self._check()
        return self._sum / max(self._num_images, 1)

    def _check(self) -> None:
        if not self._pending:
            return
        for value, (_, num_images) in zip(
            torch.stack([loss for loss, _ in self._pending]).tolist(), self._pending, strict=True
        ):
            self._num_steps += 1
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"{self._where}, step {self._num_steps}: loss must be finite, got {value}. "
                    "Lower lr, or clip gradients (gradient_clip)."
                )
            self._sum += value * num_images
            self._num_images += num_images
        self._pending.clear()


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    mixing: Mixing,
    loss: Loss,
    optimizer: Optimizer,
    schedule: Schedule,
    autocast: AbstractContextManager[None],
    device: str,
    epoch: int,
    max_epochs: int,
    num_images: int,
    gradient_clip: float,
    micro_batch: int | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> TrainFigures:
    """Train one epoch (1-based); the schedule, `max_epochs` long, advances with every step.

    Args:
        model: Takes images (B, 3, S, S), gives logits (B, C).
        batches: Images uint8 and labels int64, on the CPU or the device; `num_images` in all.
        gradient_clip: Largest gradient norm, 0 for no clipping.
        micro_batch: Most images to forward at once, None for whole batches; see Gradients.

    Raises:
        NonFiniteLossError: The loss became nan or infinite.
    """
    set_training_mode(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = Gradients(model, loss, autocast, micro_batch)
    running = RunningLoss(f"epoch {epoch}", device)
    num_hits = torch.zeros((), dtype=torch.int64, device=device)
    num_seen = 0
    for step, (images, labels) in enumerate(_on_device(batches, device)):
        # The middle of the step: never the zero that both ends of the schedule may have.
        done = (num_seen + len(labels) / 2) / num_images
        schedule.set((epoch - 1 + min(done, 1.0)) / max_epochs)
        images, targets = mixing.mix(images, labels, epoch, step)
        batch_loss, logits = gradients.add(images, targets)
        clip_gradients(trained, gradient_clip)
        running.add(batch_loss, len(labels))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after_step()
        num_hits += _num_hits(logits, targets)
        num_seen += len(labels)
    accuracy = num_hits.item() / max(num_seen, 1)
    return TrainFigures(running.mean(), accuracy, gradients.micro_batch)


def _num_hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the images of whose target the largest share is the largest logit's class."""
    wanted = targets.argmax(1) if targets.ndim == 2 else targets
    return (logits.argmax(1) == wanted).sum()


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    autocast: AbstractContextManager[None],
    device: str,
    epoch: int,
    num_classes: int,
) -> ValFigures:
    """Judge a model on val, in eval mode.

    Raises:
        NonFiniteLossError: The loss became nan or infinite.
    """
    model.eval()
    running = RunningLoss(f"epoch {epoch}, validation", device)
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
    top5 = torch.zeros((), dtype=torch.int64, device=device)
    fit = TemperatureFit(device)
    num_images = 0
    for images, labels in _on_device(batches, device):
        with autocast:
            logits = model(images)
        running.add(plain_loss(logits, labels), len(labels))
        fit.add(logits, labels)
        num_images += len(labels)
        if num_classes >= NUM_CLASSES_FOR_TOP5:
            top5 += (logits.topk(5).indices == labels[:, None]).sum()
        cells = labels * num_classes + logits.argmax(1)
        confusion += torch.bincount(cells, minlength=num_classes * num_classes)
    counts = confusion.cpu().numpy().reshape(num_classes, num_classes)
    top5_accuracy = top5.item() / max(num_images, 1)
    return ValFigures(
        running.mean(),
        *accuracies(counts),
        top5_accuracy if num_classes >= NUM_CLASSES_FOR_TOP5 else None,
        fit.best(),
    )


def val_report(val: ValFigures | None) -> dict[str, Any]:
    """Return the `val_*` figures of an epoch's report, None each where nothing is held out."""
    return {f"val_{field.name}": getattr(val, field.name, None) for field in fields(ValFigures)}


def accuracies(confusion: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return accuracy, balanced accuracy and macro F1 of a confusion matrix.

    Classes without images are left out of the balanced accuracy; those that were never predicted
    either, out of the macro F1 as well (the definitions of scikit-learn).

    Args:
        confusion: Counts (C, C), rows true and columns predicted.
    """
    hits = np.diag(confusion).astype(float)
    true, predicted = confusion.sum(1), confusion.sum(0)
    present = true > 0
    either = present | (predicted > 0)
    accuracy = hits.sum() / max(true.sum(), 1)
    balanced = (hits[present] / true[present]).mean() if present.any() else 0.0
    f1 = (2 * hits[either] / (true + predicted)[either]).mean() if either.any() else 0.0
    return float(accuracy), float(balanced), float(f1)


def _on_device(batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield batches on the device; a GPU copies the next one while it computes on this one."""
    pin = torch.device(device).type == "cuda"
    for images, labels in batches:
        if pin and not images.is_cuda:
            images, labels = images.pin_memory(), labels.pin_memory()
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
