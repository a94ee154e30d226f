"""Training on real photos: pretrained weights must pay, and an own CNN must learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import SHARED
from tests.memory_data import MemoryData
from trainables.backbones import build_classifier
from trainables.classifier import train
from trainables.contract import TrialInputs
from trainables.parameters import default_params
from trainables.weights import find_weights

SIZE_PX = 112
PRETRAINED = "mobilenetv2_100"


@pytest.fixture(scope="module")
def photos() -> MemoryData:
    """200 cats and 200 dogs, every fourth in val."""
    images, labels = [], []
    for label, name in enumerate(("cats", "dogs")):
        files = sorted((SHARED / "data" / "cats_dogs" / "train" / name).rglob("*.jpg"))
        for file in files[:: len(files) // 200][:200]:
            with Image.open(file) as photo:
                images.append(np.asarray(ImageOps.fit(photo.convert("RGB"), (SIZE_PX, SIZE_PX))))
            labels.append(label)
    ids = np.arange(len(labels))
    val = ids[ids % 4 == 0]
    return MemoryData(
        np.stack(images), np.array(labels), ("cats", "dogs"), np.setdiff1d(ids, val), val
    )


def best_accuracy(photos: MemoryData, epochs: int, weights: Path | None, **chosen: object) -> float:
    reached: list[float] = []
    inputs = TrialInputs(
        default_params("classifier") | chosen, photos, max_epochs=epochs, weights=weights
    )
    train(inputs, lambda report, save: reached.append(report.val_accuracy or 0.0))
    return max(reached)


@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="no pretrained weights there")
@pytest.mark.parametrize("freeze", ["none", "early_stages", "backbone"])
def test_pretrained_backbone_tells_cats_from_dogs(photos: MemoryData, freeze: str) -> None:
    weights = find_weights(PRETRAINED, SHARED / "weights")
    assert weights is not None
    accuracy = best_accuracy(photos, 3, weights, backbone=PRETRAINED, freeze=freeze)
    assert accuracy > 0.85


def test_own_cnn_learns_from_scratch(photos: MemoryData) -> None:
    assert best_accuracy(photos, 8, None, width=16) > 0.6


def test_vgg_builds_as_our_users_know_it() -> None:
    model = build_classifier(default_params("classifier") | {"backbone": "vgg16"}, 2, SIZE_PX)
    assert model.head[-1].in_features == 4096
