"""A saved model comes back as it was, from two plain files, and damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.memory_data import coloured_noise
from trainables.backbones import Classifier, build_classifier
from trainables.contract import WeightsError
from trainables.parameters import default_params
from trainables.saved import describe, load_model, predict_probabilities, save_model

CLASSES = ("-red", "gr'een", "Škoda\n")


def model_of(backbone: str) -> tuple[Classifier, dict[str, object]]:
    torch.manual_seed(0)
    params = default_params("classifier") | {"backbone": backbone, "width": 8, "hidden_units": 5}
    return build_classifier(params, 3, 32).eval(), params


@pytest.mark.parametrize(
    "backbone", ["separable_cnn", "mobilenetv3_small_050", "test_vit", "coat_tiny"]
)
def test_round_trip(backbone: str, tmp_path: Path) -> None:
    model, params = model_of(backbone)
    folder = tmp_path / "best, of 'all'"
    info = describe(model, params=params, classes=CLASSES, size_px=32, side_px=36, fit="pad")
    save_model(model, folder, info)
    again, info_again = load_model(folder)
    assert info_again == info
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    data = coloured_noise()
    y, expected = predict_probabilities(model, data.val_batches(batch_size=4))
    _, found = predict_probabilities(again, data.val_batches(batch_size=4))
    assert np.array_equal(expected, found)
    assert np.array_equal(y, data.labels[data.val])
    assert expected.dtype == np.float64
    assert expected.sum(1) == pytest.approx(1)


def test_normalisation_is_the_backbones_own() -> None:
    for backbone, mean in (("small_cnn", 0.5), ("resnet18", 0.485), ("test_vit", 0.5)):
        model, params = model_of(backbone)
        info = describe(model, params=params, classes=CLASSES, size_px=32, side_px=36, fit="crop")
        assert info.mean[0] == pytest.approx(mean)
        middle = torch.tensor(info.mean).view(1, 3, 1, 1) * 255
        pixels = (middle + 255 * torch.tensor(info.std).view(1, 3, 1, 1)).expand(2, 3, 4, 4)
        assert model.normalise(pixels) == pytest.approx(torch.ones(2, 3, 4, 4), abs=1e-5)


def test_images_stay_channels_last_inside() -> None:
    model, _ = model_of("small_cnn")
    images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    normalised = model.normalise(images)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
    assert model.normalise(images.float()).equal(normalised)


def test_no_images_give_no_rows() -> None:
    model, _ = model_of("small_cnn")
    y, probabilities = predict_probabilities(model, [])
    assert y.shape == (0,)
    assert probabilities.shape == (0, 3)


def test_damage_is_named(tmp_path: Path) -> None:
    model, params = model_of("small_cnn")
    info = describe(model, params=params, classes=CLASSES, size_px=32, side_px=36, fit="crop")
    save_model(model, tmp_path, info)
    path = tmp_path / "model.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"classes": ["only", "two"]}), encoding="utf-8")
    with pytest.raises(WeightsError, match="of one training"):
        load_model(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="could not be read"):
        load_model(tmp_path)
    with pytest.raises(WeightsError, match=r"model\.json"):
        load_model(tmp_path / "nowhere")
