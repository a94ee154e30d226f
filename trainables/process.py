"""What every training borrows from its process and gives back, and how it is written down."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

SEED_STRIDE = 1_000_003


@contextmanager
def borrowed_process(device: str, num_threads: int) -> Iterator[None]:
    """Use this many CPU threads and any random numbers; leave both as they were found."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        torch.set_num_threads(before)


def seed_epoch(seed: int, epoch: int) -> None:
    """Make the random state a function of (seed, epoch); epoch 0 is the building of the model.

    There is then none to keep in a checkpoint, and a resumed training draws what it would have
    drawn.
    """
    torch.manual_seed(seed * SEED_STRIDE + epoch)


def save_checkpoint(
    path: Path, epoch: int, model: nn.Module, optimizer: Optimizer, **more: Any
) -> None:
    """Write what a resumed training needs, beside and renamed; plain values and tensors only.

    Args:
        more: What else a trainable has to remember, by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    state |= more
    # With torch's checksums, by which whoever resumes knows a damaged one; torch.load does not ask.
    try:
        torch.save(state, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # on a full disk half a checkpoint would stay


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return a checkpoint's epoch, the states of model and optimizer, and what else it has."""
    checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint
