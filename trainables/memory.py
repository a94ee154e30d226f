"""Memory of a training: freed pages kept for the next step, its peak, and what a batch needs."""

from __future__ import annotations

import copy
import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from torch import Tensor, nn

from trainables.contract import SMALLEST_MICRO_BATCH
from trainables.freezing import set_training_mode
from trainables.precision import Mode

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_THEIR_SETTINGS = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT_BYTES = 2**30
_EVAL_PIXELS, _EVAL_IMAGES = 8 * 160**2, (8, 64)
_OF_LIVE_TENSORS = 1.3  # gradients of a few layers, oneDNN's scratch space, fragmentation
_COPIES_OF_WEIGHTS = 4  # with gradients and two moments
_WORDS_OF_CPUS = ("can't allocate memory", "could not create a primitive")  # torch's, oneDNN's


@cache
def keep_freed_memory() -> None:
    """Let malloc reuse the memory of one step in the next, instead of returning it in between.

    glibc gives every block over 128 kB back to the system when it is freed, and has it zeroed page
    by page when it is asked for again: a tenth to a third of a training step's CPU time. The
    process's own settings (MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES) are left alone. Whoever wants
    the memory back between trainings calls malloc_trim.
    """
    if _THEIR_SETTINGS & os.environ.keys() or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # not every Linux has glibc
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def eval_batch(size_px: int, device: str) -> int:
    """Return how many images to forward at once where no gradient is wanted.

    Few of them on a CPU: malloc gives blocks of over 32 MB back whatever it is told, and one layer
    of MobileNetV2 needs more for 16 images of 160 px. In batches of 8 a validation takes 30 % less
    time there than in batches of 64, and in ResNet-18 as much.
    """
    fewest, most = _EVAL_IMAGES
    if torch.device(device).type != "cpu":
        return most
    return min(max(_EVAL_PIXELS // size_px**2, fewest), most)


def reset_peak(device: str) -> None:
    """Begin to count the peak anew, where the system can (Linux, CUDA)."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb(device: str) -> float:
    """Return the most memory used since `reset_peak`, in MB.

    On a CPU that is the process's resident memory, libraries included (the present one on systems
    that keep no peak); on a GPU what torch took.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024 / 1e6
    return float(psutil.Process().memory_info().rss / 1e6)


def micro_batch_for(
    model: nn.Module, batch_size: int, size_px: int, mode: Mode, limit_bytes: int
) -> int:
    """Return how many images of a batch to forward at once on a CPU: all, or a half, a quarter ….

    A GPU says when its memory is full; a CPU's process is ended by the system instead, so there
    the need is foreseen: what the backward pass keeps of a few images is counted.

    Args:
        model: As it will be trained, frozen layers marked. It is left as it was.
        size_px: Side of the square images.
        limit_bytes: What the training may take beside the libraries.
    """
    fixed, per_image = memory_of_a_step(model, size_px, mode)
    room = limit_bytes - fixed
    micro_batch = batch_size
    while micro_batch > SMALLEST_MICRO_BATCH and micro_batch * per_image > room:
        micro_batch = max(-(-micro_batch // 2), SMALLEST_MICRO_BATCH)
    return micro_batch


def memory_of_a_step(model: nn.Module, size_px: int, mode: Mode) -> tuple[int, int]:
    """Return the bytes that a training step takes on a CPU: in any case, and for each image."""
    of_two, of_four = (_kept_bytes(model, k, size_px, mode) for k in (2, 4))
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return weights * _COPIES_OF_WEIGHTS, round((of_four - of_two) / 2 * _OF_LIVE_TENSORS)


def _kept_bytes(model: nn.Module, num_images: int, size_px: int, mode: Mode) -> int:
    """Return the size of all tensors that the graph of a forward pass keeps."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:
        # Given back, the tensor and the graph would hold each other, and neither would ever go.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    images = torch.zeros(num_images, size_px, size_px, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    probed = copy.deepcopy(model)
    set_training_mode(probed)
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(keep, _never),
        mode.autocast("cpu"),
    ):
        probed(images)
    return sum(storage.nbytes() for storage in kept.values())


def _never(_: Any) -> NoReturn:
    raise AssertionError("nothing that was counted is run backward")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that a tensor did not fit, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in _WORDS_OF_CPUS
    )
