"""Trained models on disk: weights.safetensors and model.json, nothing that runs code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trainables.backbones import Classifier, build_classifier
from trainables.contract import ModelInfo, WeightsError

if TYPE_CHECKING:
    from trainables.contract import Batch

WEIGHTS_FILE = "weights.safetensors"
INFO_FILE = "model.json"


def describe(
    model: Classifier,
    *,
    params: Mapping[str, Any],
    classes: tuple[str, ...],
    size_px: int,
    side_px: int,
    fit: str,
    trainable: str = "classifier",
) -> ModelInfo:
    """Build the description of a trained model; the normalisation is the model's own."""
    red, green, blue = model.mean.flatten().tolist()
    mean = (red, green, blue)
    red, green, blue = model.std.flatten().tolist()
    std = (red, green, blue)
    return ModelInfo(trainable, dict(params), classes, size_px, side_px, fit, mean, std)


def save_model(model: Classifier, folder: Path, info: ModelInfo) -> None:
    """Write weights.safetensors and model.json into a folder; each file is whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    # Copies: some networks (CoaT) share weights between layers, which the format cannot say.
    tensors = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    beside = folder / f".{WEIGHTS_FILE}.{os.getpid()}.tmp"
    save_file(tensors, beside)
    beside.replace(folder / WEIGHTS_FILE)
    beside = folder / f".{INFO_FILE}.{os.getpid()}.tmp"
    text = json.dumps(asdict(info), indent=2, ensure_ascii=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(folder / INFO_FILE)


def load_model(folder: Path) -> tuple[Classifier, ModelInfo]:
    """Read a model that `save_model` wrote; it is in eval mode, on the CPU.

    Raises:
        WeightsError: A file is missing, damaged, or does not belong to the other.
    """
    try:
        raw = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
        info = ModelInfo(
            **raw
            | {"classes": tuple(raw["classes"])}
            | {"mean": tuple(raw["mean"]), "std": tuple(raw["std"])}
        )
        tensors = load_file(folder / WEIGHTS_FILE)
        model = build_classifier(info.params, len(info.classes), info.size_px)
        model.load_state_dict(tensors)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"model {folder}: must hold {WEIGHTS_FILE} and {INFO_FILE} of one training, "
            f"could not be read ({error}). Export the model again."
        ) from error
    return model.eval(), info


@torch.inference_mode()
def predict_probabilities(
    model: Classifier, batches: Iterable[Batch], device: str = "cpu"
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classify batches in float32, in their order.

    Args:
        model: Put into eval mode and moved to `device`.
        batches: Images (B, 3, S, S) uint8 and labels (B,) int64.
        device: "cpu", "cuda" or "cuda:1".

    Returns:
        Labels (N,) int64 and probabilities (N, C) float64.
    """
    model = model.to(device).eval()
    labels: list[NDArray[np.int64]] = []
    probabilities: list[NDArray[np.float64]] = []
    for images, y_true in batches:
        logits = model(images.to(device))
        probabilities.append(logits.double().softmax(1).cpu().numpy())
        labels.append(y_true.numpy())
    if not labels:
        return np.empty(0, np.int64), np.empty((0, model.num_classes))
    return np.concatenate(labels), np.concatenate(probabilities)
