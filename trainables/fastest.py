"""Measure which arithmetic trains a backbone fastest on this machine, and remember the answer.

No mode wins everywhere: bfloat16 doubles the speed of dense convolutions on some CPUs and halves
that of depthwise ones on the same.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.backbones import Classifier, build_classifier
from trainables.freezing import set_training_mode
from trainables.optim import clip_gradients, make_optimizer
from trainables.precision import MODES, Mode, default_mode

NUM_STEPS = 4  # the first one is not timed: oneDNN compiles its kernels in it
LARGEST_BATCH, SMALLEST_BATCH = 16, 4
SECONDS_PER_STEP = 1.0
NUM_CLASSES = 8
_FILE = "modes.json"
LOSS_TOLERANCE = 0.05
"""A mode may change the losses of the probed steps by this share of float32's, on average.

Summing in another order alone changes them by up to 1 %: the first steps of AdamW follow the sign
of gradients close to zero.
"""
WORTH_A_CHANGE = 1.1
"""The rule of `default_mode` stands unless another mode is this many times as fast: what is within
the noise of a measurement must not decide which curve a seed gives."""


@dataclass(frozen=True)
class Arithmetic:
    """How a backbone is trained here.

    Attributes:
        images_per_second: That it trains, None where it could not be measured.
    """

    mode: Mode
    images_per_second: float | None = None


def fastest_mode(
    params: Mapping[str, Any], size_px: int, device: str, num_threads: int, memory: Path | None
) -> Arithmetic:
    """Return the fastest mode in which a backbone learns as in float32.

    Measured once per machine and backbone, then read from a file, so that all trials and later
    studies use the same. Where it cannot be measured, the rule of `default_mode` holds.

    Args:
        params: Complete hyperparameters; those of the network are read.
        size_px: Side of the square images.
        memory: Folder to remember answers in, None to forget them.
    """
    known = known_mode(params, size_px, device, num_threads, memory)
    if known.images_per_second is not None:
        return known
    rule = known.mode
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        speeds = measure_modes(params, size_px, device, rule)
    except RuntimeError:  # out of memory, or an operator the device lacks: a trial will say so
        return Arithmetic(rule)
    finally:
        torch.set_num_threads(before)
    mode = choose(rule, speeds)
    speed = speeds.get(mode, max(speeds.values()))
    if torch.device(device).type == "cpu":
        speed *= num_threads
    if memory:
        question = _question(params, size_px, device, num_threads)
        _remember(memory / _FILE, question, [str(mode), round(speed, 3)])
    return Arithmetic(mode, speed)


def known_mode(
    params: Mapping[str, Any], size_px: int, device: str, num_threads: int, memory: Path | None
) -> Arithmetic:
    """Return what `fastest_mode` found earlier; the rule's mode where it was never asked."""
    question = _question(params, size_px, device, num_threads)
    answer = _read(memory / _FILE if memory else None).get(question)
    if isinstance(answer, list) and len(answer) == 2 and answer[0] in MODES:
        return Arithmetic(MODES[answer[0]], float(answer[1]))
    return Arithmetic(default_mode(str(params["backbone"]), device))


def choose(rule: Mode, speeds: Mapping[Mode, float]) -> Mode:
    """Return the fastest mode; the rule's one if it is nearly as fast."""
    fastest = max(speeds, key=lambda mode: speeds[mode], default=rule)
    return fastest if speeds.get(fastest, 0) > WORTH_A_CHANGE * speeds.get(rule, 0) else rule


def measure_modes(
    params: Mapping[str, Any], size_px: int, device: str, rule: Mode
) -> dict[Mode, float]:
    """Train a few steps on noise in every mode; return images per second of those that learn alike.

    On a CPU the seconds are its own, so that other processes matter less.

    Raises:
        RuntimeError: Not even float32 runs.
    """
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        torch.manual_seed(0)
        # Dropout draws other masks in another format: it would hide what the format changes.
        fixed = {**params, "dropout": 0.0, "drop_path": 0.0}
        model = build_classifier(fixed, NUM_CLASSES, size_px).to(device)
        num_images = affordable_batch(model, size_px, rule, device)
        images = torch.randint(0, 256, (num_images, size_px, size_px, 3), dtype=torch.uint8)
        labels = torch.randint(0, NUM_CLASSES, (num_images,))
        batch = images.permute(0, 3, 1, 2).to(device), labels.to(device)
        found: dict[Mode, tuple[list[float], float]] = {}
        for mode in MODES.values():
            try:
                found[mode] = train_steps(copy.deepcopy(model), batch, mode, device)
            except RuntimeError:
                if not mode.bfloat16:
                    raise
    expected, _ = found[Mode(bfloat16=False, channels_last=True)]
    return {
        mode: num_images / seconds
        for mode, (losses, seconds) in found.items()
        if _difference(losses, expected) <= LOSS_TOLERANCE
    }


def affordable_batch(model: Classifier, size_px: int, mode: Mode, device: str) -> int:
    """Return how many images keep a step near a second, so that a large network is tried too."""
    images = torch.zeros(SMALLEST_BATCH, size_px, size_px, 3, dtype=torch.uint8)
    labels = torch.arange(SMALLEST_BATCH)
    batch = images.permute(0, 3, 1, 2).to(device), labels.to(device)
    _, seconds = train_steps(copy.deepcopy(model), batch, mode, device, num_steps=2)
    affordable = int(SMALLEST_BATCH * SECONDS_PER_STEP / seconds)
    return max(SMALLEST_BATCH, min(LARGEST_BATCH, affordable))


def train_steps(
    model: Classifier,
    batch: tuple[Tensor, Tensor],
    mode: Mode,
    device: str,
    num_steps: int = NUM_STEPS,
) -> tuple[list[float], float]:
    """Train on one batch; return the losses, and the seconds of the fastest step but the first."""
    model = model.to(memory_format=mode.memory_format)
    set_training_mode(model)
    images = batch[0].contiguous(memory_format=mode.memory_format)
    optimizer = make_optimizer(model, "adamw", 1e-3, 0.9, 0.05)
    torch.manual_seed(0)  # of drop-path, which some backbones have by default
    losses, seconds = [], []
    for _ in range(num_steps):
        begin = now(device)
        with mode.autocast(device):
            logits = model(images)
        loss = cross_entropy(logits.float(), batch[1])
        loss.backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(now(device) - begin)
    return losses, min(seconds[1:])


def now(device: str) -> float:
    """Return the seconds that a GPU's work took until now, or those of all CPU threads together."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _difference(losses: list[float], expected: list[float]) -> float:
    """Return the mean difference as a share of the mean expected loss; nan counts as infinite."""
    total = sum(abs(a - b) for a, b in zip(losses, expected, strict=True))
    share = total / sum(expected)
    return share if share >= 0 else float("inf")


def _question(params: Mapping[str, Any], size_px: int, device: str, num_threads: int) -> str:
    """Name everything that the answer depends on."""
    network = [params[name] for name in ("backbone", "depth", "width", "kernel_size")]
    if torch.device(device).type == "cuda":
        chip = torch.cuda.get_device_name(device)
    else:
        chip = f"{_cpu_name()} {torch.backends.cpu.get_cpu_capability()} {num_threads} threads"
    return " · ".join(map(str, (chip, f"torch {torch.__version__}", *network, f"{size_px} px")))


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(file: Path | None) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        answers = json.loads(file.read_text(encoding="utf-8")) if file else {}
        return answers if isinstance(answers, dict) else {}
    return {}


def _remember(file: Path, question: str, answer: list[Any]) -> None:
    """Add an answer; a folder that cannot be written to costs only the next measurement."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        text = json.dumps(_read(file) | {question: answer}, indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(file)
