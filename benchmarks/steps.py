"""One training epoch with our trainable, with plain PyTorch code, and as its bare steps alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import Cost, cost_of, now
from search.results import CHECKPOINT
from search.tune.checkpoints import Checkpoints
from search.tune.ledger import Ledger
from trainables.backbones import HALF, build_classifier
from trainables.classifier import train
from trainables.contract import Augmentation, EpochReport, TrialData, TrialInputs
from trainables.fastest import fastest_mode
from trainables.losses import make_loss, plain_loss
from trainables.memory import keep_freed_memory, peak_mb, reset_peak
from trainables.optim import clip_gradients, make_optimizer
from trainables.own_cnns import OwnCNN
from trainables.parameters import OWN_BACKBONES, default_params
from trainables.precision import MODES

NUM_CLASSES = 5
BATCH_SIZE = 32
VAL_BATCH_SIZE = 64


@dataclass(frozen=True)
class Job:
    """What is trained: a backbone on batches of 32 images of noise, made beforehand."""

    backbone: str
    size_px: int
    num_batches: int
    mode: str = ""

    @property
    def params(self) -> dict[str, Any]:
        return default_params("classifier") | {"backbone": self.backbone}


@dataclass(frozen=True)
class Round:
    """One epoch: its cost, and the most memory that its process took."""

    cost: Cost
    peak_mb: float


@dataclass(frozen=True, eq=False)
class Noise:
    """A `trainables.contract.TrialData` that costs nothing to read."""

    size_px: int
    train: tuple[tuple[Tensor, Tensor], ...]
    classes: tuple[str, ...] = tuple("abcde")
    num_val: int = 0
    fingerprint: str = "noise"

    @property
    def train_counts(self) -> tuple[int, ...]:
        return (BATCH_SIZE * len(self.train), 0, 0, 0, 0)

    def train_batches(
        self,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.train

    def val_batches(self, *, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from ()

    def view_batches(
        self, *, batch_size: int, view: int, augmentation: Augmentation, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.train


def make_noise(job: Job) -> Noise:
    torch.manual_seed(0)
    shape = (BATCH_SIZE, job.size_px, job.size_px, 3)
    batches = (
        (torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2), labels)
        for labels in torch.randint(0, NUM_CLASSES, (job.num_batches, BATCH_SIZE))
    )
    return Noise(job.size_px, tuple(batches))


def choose_mode(job: Job) -> str:
    """Probe the arithmetic as a study does."""
    keep_freed_memory()
    return str(fastest_mode(job.params, job.size_px, "cpu", 1, None).mode)


def our_round(job: Job) -> Round:
    """Train two epochs with the trainable and return what the second one took."""
    torch.set_num_threads(1)
    reset_peak("cpu")
    return Round(second_epoch(job, make_noise(job)), peak_mb("cpu"))


def second_epoch(job: Job, data: TrialData) -> Cost:
    """Train two epochs and return what the second one took, validation included."""
    times: list[Cost] = []

    def report(epoch: EpochReport, save: object) -> None:
        times.append(now())

    train(TrialInputs(job.params, data, max_epochs=2, mode=job.mode), report)
    return times[1] - times[0]


def plain_round(job: Job) -> Round:
    """The same as most scripts do it: timm's model, float32, contiguous memory, AdamW."""
    torch.set_num_threads(1)
    reset_peak("cpu")
    torch.manual_seed(0)
    model, mean, std = _plain_model(job)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    batches = [(images.contiguous(), labels) for images, labels in make_noise(job).train]

    def epoch() -> None:
        model.train()
        for images, labels in batches:
            optimizer.zero_grad()
            logits = model((images / 255 - mean) / std)
            loss = cross_entropy(logits, labels, label_smoothing=0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()

    epoch()
    cost = cost_of(epoch)
    return Round(cost, peak_mb("cpu"))


def _plain_model(job: Job) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model without its normalisation, and the mean and std of that."""
    if job.backbone not in OWN_BACKBONES:
        sized = timm.get_pretrained_cfg(job.backbone).fixed_input_size
        options = {"img_size": job.size_px} if sized else {}
        model = timm.create_model(job.backbone, num_classes=NUM_CLASSES, drop_rate=0.1, **options)
        config = model.pretrained_cfg
        return model, *(torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    known = {name: job.params[name] for name in ("depth", "width", "kernel_size")}
    body = OwnCNN(**known, size_px=job.size_px, separable=job.backbone == "separable_cnn")
    head = nn.Sequential(nn.Dropout(0.1), nn.Linear(body.num_features, NUM_CLASSES))
    half = torch.tensor(HALF).view(1, 3, 1, 1)
    return nn.Sequential(body, head), half, half


def bare_steps(job: Job, data: TrialData) -> Cost:
    """Return what an epoch's forward, backward and optimizer steps take by themselves.

    In the same arithmetic and on the same batches, read beforehand; with the forward passes of val.
    """
    keep_freed_memory()
    mode = MODES[job.mode]
    model = build_classifier(job.params, len(data.classes), job.size_px)
    model = model.to(memory_format=mode.memory_format)
    optimizer = make_optimizer(model, "adamw", 1e-3, 0.9, 0.05)
    loss = make_loss(
        label_smoothing=0.1, class_weights="none", train_counts=data.train_counts, device="cpu"
    )
    augmentation = Augmentation(job.params["augment_strength"])
    drawn = data.train_batches(batch_size=BATCH_SIZE, epoch=1, seed=0, augmentation=augmentation)
    train_batches = [(x.contiguous(memory_format=mode.memory_format), y) for x, y in drawn]
    val = data.val_batches(batch_size=VAL_BATCH_SIZE)
    val_batches = [(x.contiguous(memory_format=mode.memory_format), y) for x, y in val]

    def epoch() -> None:
        model.train()
        for images, labels in train_batches:
            with mode.autocast("cpu"):
                logits = model(images)
            loss(logits, labels).backward()
            clip_gradients(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode(), mode.autocast("cpu"):
            for images, labels in val_batches:
                plain_loss(model(images).float(), labels)

    epoch()
    return cost_of(epoch)


def saving(job: Job) -> tuple[Cost, Cost]:
    """Return what one checkpoint takes, and one epoch's records."""
    costs: list[Cost] = []

    def report(epoch: EpochReport, save: Any) -> None:
        with TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder))
            costs.append(cost_of(lambda: checkpoints.keep(0, lambda f: save(f / CHECKPOINT))))
            ledger = Ledger(Path(folder) / "events.jsonl", "val_accuracy", "maximize")
            ledger.start(0, job.params, 0)
            costs.append(cost_of(lambda: ledger.epoch(0, vars(epoch))))

    train(TrialInputs(job.params, make_noise(job), max_epochs=1, mode=job.mode), report)
    checkpoint, record = costs
    return checkpoint, record
