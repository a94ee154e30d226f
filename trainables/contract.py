"""What a trainable receives and gives back: the only thing it knows of the world around it.

No torch at run time here: the space check reads this module before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    Batch = tuple[torch.Tensor, torch.Tensor]
    """Images (B, 3, S, S) uint8 RGB in channels-last memory order, labels (B,) int64."""


SMALLEST_MICRO_BATCH = 3
"""Images that must fit in memory at once: batch norm cannot train on one, and in pieces of at most
two an odd batch has one over."""


@dataclass(frozen=True)
class Augmentation:
    """Which random changes training images go through; the default is none at all.

    Attributes:
        strength: 0 (none) to 1 (strong) of the policy in search/data/augment.py.
        vertical_flip: Mirror half of the images top to bottom, at any strength.
        hue: Largest turn of an image's hues either way, as a share of the colour circle (0 to
            0.5), at any strength.
    """

    strength: float = 0.0
    vertical_flip: bool = False
    hue: float = 0.0


class TrialData(Protocol):
    """The images one trial may see: train and val. There is no test field, so none can leak."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def size_px(self) -> int:
        """Side S of the square images handed out."""

    @property
    def train_counts(self) -> tuple[int, ...]:
        """Training images per class, in the order of `classes`."""

    @property
    def num_val(self) -> int:
        """Validation images; 0 when training on train + val, where nothing is held out."""

    def train_batches(
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[Batch]:
        """Yield one shuffled, augmented epoch; the same arguments give the same batches.

        Every image comes once; if `balanced`, every class equally often (trainables/sampling.py).
        The last batch may be smaller, but never holds a single image when there are others to
        share it with (batch norm cannot train on one).
        """

    def val_batches(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield the validation images once, in a fixed order, not augmented."""

    @property
    def fingerprint(self) -> str:
        """Identity of the images and of which are train and val: equal ones give equal features."""

    def view_batches(
        self, *, batch_size: int, view: int, augmentation: Augmentation, seed: int
    ) -> Iterator[Batch]:
        """Yield the training images once, in a fixed order, the same for every view.

        View 0 is not augmented; any other is one way to augment each image, the same whenever its
        number, augmentation and seed are.
        """


@dataclass(frozen=True)
class TrialInputs:
    """Everything one training needs.

    Attributes:
        params: Complete hyperparameters by public name (defaults filled in).
        max_epochs: Length of the learning-rate schedule, in epochs.
        stop_epoch: Last epoch to train; `max_epochs` when None. A retraining without val stops at
            the epoch that was best when there was one, on the very same schedule.
        device: "cpu", "cuda" or "cuda:1".
        num_threads: CPU threads the training may use.
        weights: Pretrained weights file (safetensors, timm key names), None for random weights.
        resume_from: A checkpoint written by this trainable, to go on from its epoch.
        mode: Arithmetic by its name in trainables/precision.py, "" for that of its fixed rule.
        memory_bytes: What a training may take of the CPU's memory beside the libraries; batches
            that need more are forwarded in pieces. None for no limit.
        feature_store: Folder in which trials of a study share features of frozen backbones; None
            to share none.
    """

    params: Mapping[str, Any]
    data: TrialData
    max_epochs: int
    seed: int = 0
    device: str = "cpu"
    num_threads: int = 1
    weights: Path | None = None
    resume_from: Path | None = None
    stop_epoch: int | None = None
    feature_store: Path | None = None
    mode: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch. Losses are lower-is-better, accuracies in 0..1 higher-is-better.

    `train_loss` is what was minimised, on smoothed, weighted and mixed targets: with label
    smoothing, mixup or CutMix it lies above the plain `val_loss` without being worse. The `val_*`
    figures are None when nothing is held out.

    Attributes:
        lr: At the epoch's last step, of the layers nearest to the output.
        images_per_second: Of training, validation not counted.
        train_accuracy: On augmented images, while the weights move.
        val_top5_accuracy: None with ten classes or fewer.
        val_temperature: What the logits would have to be divided by for confidences that are true
            on val (trainables/calibration.py).
        peak_memory_mb: Most memory so far: of the process on a CPU, of the tensors on a GPU.
        micro_batch: Most images forwarded at once, None if whole batches fitted.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    val_balanced_accuracy: float | None
    val_macro_f1: float | None
    lr: float
    seconds: float
    images_per_second: float
    train_accuracy: float | None = None
    val_top5_accuracy: float | None = None
    peak_memory_mb: float | None = None
    micro_batch: int | None = None
    val_temperature: float | None = None


@dataclass(frozen=True)
class StepCost:
    """What one configuration takes, measured on one machine.

    Attributes:
        params: Those of its hyperparameters that the cost hangs on.
        train_seconds: Per image, of forward and backward pass and its share of the step; 0 where
            nothing trains the backbone.
        eval_seconds: Per image, of a forward pass without a graph.
        load_seconds: Per image, to read and augment it.
        fixed_bytes: Of weights, gradients and the optimizer's moments.
        bytes_per_image: What the backward pass keeps of an image.
        num_parameters: Of backbone and head.
        num_features: Of one image, in front of the head.
    """

    params: Mapping[str, Any]
    train_seconds: float
    eval_seconds: float
    fixed_bytes: int
    bytes_per_image: int
    num_parameters: int
    num_features: int
    load_seconds: float = 0.0

    def memory_bytes(self, num_images: int) -> int:
        """Return what a training step takes that forwards this many images at once."""
        return self.fixed_bytes + num_images * self.bytes_per_image


@dataclass(frozen=True)
class Footprint:
    """What one architecture costs whoever uses it, measured on one machine.

    Attributes:
        latency_ms: Of one image through the model, alone, with one thread.
        num_parameters: Of backbone and head.
        model_mb: Of its weights on disk, in millions of bytes.
    """

    latency_ms: float
    num_parameters: int
    model_mb: float


class Report(Protocol):
    """Called once per finished epoch, 1..E in order.

    Args:
        report: The epoch's figures.
        save: Writes a checkpoint of this moment to the file it is given (model, optimizer,
            schedule, random states, epoch). Calling it is the receiver's choice: it costs time.
    """

    def __call__(self, report: EpochReport, save: Callable[[Path], None]) -> None: ...


@dataclass(frozen=True)
class ModelInfo:
    """What must be known beside the weights to use a trained model again.

    Attributes:
        trainable: Name of the trainable that made it.
        params: Its complete hyperparameters.
        classes: Class names in logit order.
        size_px: Side of the square input.
        side_px: Side of the stored squares that it was shrunk from while training.
        fit: How a photo becomes square: "crop", "squash" or "pad" (search/data/cache.py).
        mean, std: Per-channel normalisation applied to images scaled to 0..1.
        temperature: What logits are divided by before they become probabilities; 1 changes nothing.
    """

    trainable: str
    params: dict[str, Any]
    classes: tuple[str, ...]
    size_px: int
    side_px: int
    fit: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    temperature: float = 1.0


class NonFiniteLossError(RuntimeError):
    """The loss became nan or infinite: the configuration diverged."""


class WeightsError(ValueError):
    """A weights file that is missing, damaged or of another architecture."""
