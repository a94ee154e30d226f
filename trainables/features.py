"""Features of a frozen backbone: extracted once, kept on disk, shared by all trials of a study.

A store is a folder. Each backbone, weights file, image size and choice of images has a folder of
its own there, made of blocks: `val`, `train-clean`, and one block per augmented view, such as
`train-0.25-1` for view 1 at strength 0.25. A block is two NumPy files, features (N, F) float16 and
labels (N,) int64, written beside and renamed under a lock, mapped read-only ever after.

A block of N images takes 2 · N · F bytes: 64 MB for 25,000 images and 1,280 features, and as much
again for every view. float16 gave the very accuracies of float32 (real photos, mobilenetv2_100).
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from trainables.backbones import Classifier, build_classifier
from trainables.contract import Augmentation, TrialInputs
from trainables.memory import eval_batch
from trainables.sampling import epoch_order

if TYPE_CHECKING:
    from trainables.contract import Batch

Halves = NDArray[np.float16]
Labels = NDArray[np.int64]
Block = tuple[Halves, Labels]
"""Features (N, F) float16 and labels (N,) int64."""

SEED = 0  # of random backbones and of the views: the same for every trial, or none could share
LARGEST_HALF = float(np.finfo(np.float16).max)
SPARE_BYTES = 64_000_000  # left on the disk for checkpoints and logs
_FORMAT = 1  # part of every folder's name: blocks of another format are extracted anew


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen backbone says of the images one trial may see.

    Attributes:
        views: Of the training images, the clean one first; (N, F) each, in the same order.
        labels: (N,) of the training images.
        val: Features (M, F) and labels (M,).
    """

    views: tuple[Halves, ...]
    labels: Labels
    val: Block

    def train_batches(
        self, *, batch_size: int, passes: int, epoch: int, seed: int, balanced: bool = False
    ) -> Iterator[Batch]:
        """Yield every training image `passes` times, each time in one view drawn at random.

        If `balanced`, each pass shows every class equally often (trainables/sampling.py). The same
        arguments give the same batches: features (B, F) float32, labels (B,) int64.
        """
        rng = np.random.default_rng((seed, epoch))
        for _ in range(passes):
            order = epoch_order(self.labels, rng, balanced=balanced)
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                view = rng.integers(len(self.views), size=len(rows))
                yield _batch(self._drawn(rows, view), self.labels[rows])

    def val_batches(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield the features of the validation images once, in their order."""
        features, labels = self.val
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            yield _batch(features[rows].copy(), labels[rows])

    def _drawn(self, rows: Labels, view: Labels) -> Halves:
        drawn = self.views[0][rows]
        for number, features in enumerate(self.views[1:], start=1):
            here = view == number
            drawn[here] = features[rows[here]]
        return drawn


def _batch(features: Halves, labels: Labels) -> Batch:
    # torch converts float16 several times as fast as NumPy.
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def open_features(inputs: TrialInputs) -> Features:
    """Return the features a trial needs, extracting those that its store does not have yet.

    Trials that need the same blocks at once extract each of them once, and share that work.

    Args:
        inputs: `backbone`, `augment_strength` and `num_views` of its params are read. Without a
            feature store the features are held in memory.

    Raises:
        WeightsError: The weights file does not fit the backbone.
        ValueError: The backbone cannot take images of this size.
        OSError: The store cannot be written, or its disk is too full for it.
    """
    data, strength = inputs.data, float(inputs.params["augment_strength"])
    batch_size = eval_batch(data.size_px, inputs.device)
    num_train = sum(data.train_counts)

    def of_view(view: int) -> _Wanted:
        def batches() -> Iterator[Batch]:
            return data.view_batches(
                batch_size=batch_size, view=view, augmentation=Augmentation(strength), seed=SEED
            )

        name = f"train-{strength:g}-{view}" if view else "train-clean"
        return _Wanted(name, num_train, batches)

    num_views = inputs.params["num_views"] if strength else 0
    wanted = [of_view(view) for view in range(num_views + 1)]
    if data.num_val:
        val_batches = partial(data.val_batches, batch_size=batch_size)
        wanted.append(_Wanted("val", data.num_val, val_batches))
    blocks = _Blocks(inputs).get(wanted)
    views = blocks[: num_views + 1]
    clean, labels = views[0]
    val = blocks[-1] if data.num_val else (clean[:0], labels[:0])
    return Features(tuple(features for features, _ in views), labels, val)


def frozen_classifier(inputs: TrialInputs) -> Classifier:
    """Build the network whose backbone the features come from, in eval mode, on the CPU.

    Random weights are the same in every trial. The caller's random state moves on.
    """
    torch.manual_seed(SEED)
    data = inputs.data
    model = build_classifier(inputs.params, len(data.classes), data.size_px, inputs.weights)
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Wanted:
    """A block by its name, and the images it is made of."""

    name: str
    num_images: int
    batches: Callable[[], Iterator[Batch]]


class _Blocks:
    """The blocks of one backbone and one choice of images; it is built only if one is missing."""

    def __init__(self, inputs: TrialInputs) -> None:
        store = inputs.feature_store
        self._folder = None if store is None else store / _folder_name(inputs)
        self._device = inputs.device
        self._model = cache(lambda: frozen_classifier(inputs).to(inputs.device))

    def get(self, wanted: Sequence[_Wanted]) -> list[Block]:
        """Return blocks from the store, and extract those it has not.

        First those that nobody else is extracting: trials that want the same blocks at once share
        the work, and wait for each other only at its end.
        """
        if self._folder is None:
            return [self._in_memory(block) for block in wanted]
        found: dict[str, Block] = {}
        for patience in (0, -1):
            for block in wanted:
                with suppress(Timeout):
                    if block.name not in found:
                        found[block.name] = self._from_store(self._folder, block, patience)
        return [found[block.name] for block in wanted]

    def _in_memory(self, block: _Wanted) -> Block:
        features, labels = zip(*self._extract(block.batches()), strict=True)
        return np.concatenate(features), np.concatenate(labels)

    def _from_store(self, folder: Path, block: _Wanted, patience: float) -> Block:
        """Read a block, or extract it.

        Args:
            patience: Seconds to wait for another trial that is extracting it; -1 for any.

        Raises:
            Timeout: Another trial still is.
        """
        paths = folder / f"{block.name}.npy", folder / f"{block.name}.labels.npy"
        found = _read(*paths, block.num_images)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f".{block.name}.lock", timeout=patience):
                found = _read(*paths, block.num_images)
                if found is None:
                    _write(*paths, block.num_images, self._extract(block.batches()))
                    found = _read(*paths, block.num_images)
        assert found is not None
        return found

    @torch.inference_mode()
    def _extract(self, batches: Iterator[Batch]) -> Iterator[Block]:
        """Run the backbone in float32, as prediction does."""
        for images, labels in batches:
            features = self._model().features(images.to(self._device))
            halves = features.clamp(-LARGEST_HALF, LARGEST_HALF).half()
            yield halves.cpu().numpy(), labels.cpu().numpy()


def _folder_name(inputs: TrialInputs) -> str:
    """Name everything that a feature depends on, the view aside; readable, then exact."""
    backbone, data = str(inputs.params["backbone"]), inputs.data
    weights = "random"
    if inputs.weights is not None:
        with inputs.weights.open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
    parts = (_FORMAT, backbone, weights, data.size_px, data.fingerprint)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', backbone)}-{data.size_px}px-{key}"


def _read(path: Path, labels_path: Path, num_images: int) -> Block | None:
    """Map a block, None unless both its files are whole."""
    try:
        # A plain view: indexing a memmap object costs more than copying a row.
        features = np.load(path, mmap_mode="r").view(np.ndarray)
        labels = np.load(labels_path)
    except (OSError, ValueError, EOFError):
        return None
    whole = features.ndim == 2 and len(features) == len(labels) == num_images
    return (features, labels) if whole else None


def _write(path: Path, labels_path: Path, num_images: int, parts: Iterator[Block]) -> None:
    """Write a block as a stream; the features are renamed last and make it whole."""
    beside = path.with_name(f".{path.name}.tmp")  # the lock's holder is the only writer
    all_labels: list[Labels] = []
    try:
        # Not through a memory map: on a full disk that would kill the process.
        with beside.open("wb") as file:
            for features, labels in parts:
                if not all_labels:
                    shape = (num_images, features.shape[1])
                    _require_space(path.parent, features[:1].nbytes * num_images)
                    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(features.tobytes())
                all_labels.append(labels)
        np.save(labels_path, np.concatenate(all_labels))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _require_space(folder: Path, num_bytes: int) -> None:
    """Refuse to begin what a disk cannot hold.

    Raises:
        OSError: ENOSPC, with what is needed and what there is.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes + SPARE_BYTES:
        needed = f"{(num_bytes + SPARE_BYTES) / 1e6:,.0f} MB of disk, got {free / 1e6:,.0f} MB free"
        text = f"{folder}: features need {needed}. Free some space, or ask for fewer num_views"
        raise OSError(errno.ENOSPC, text)
