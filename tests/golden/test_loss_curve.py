"""Refactors must not change what is learned: the loss curves of fixed recipes, in float32.

`python -m tests.golden.test_loss_curve` writes them anew after a change that is meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from tests.memory_data import coloured_noise
from trainables import precision
from trainables.classifier import train
from trainables.contract import EpochReport, TrialInputs
from trainables.parameters import default_params

GOLDEN = Path(__file__).with_name("loss_curve.json")
RECIPES = {
    "small_cnn, defaults": {"width": 8},
    "separable_cnn, sgd, one_cycle, balanced": {
        "backbone": "separable_cnn",
        "width": 8,
        "optimizer": "sgd",
        "lr": 0.02,
        "weight_decay": 5e-4,
        "schedule": "one_cycle",
        "class_weights": "balanced",
        "hidden_units": 16,
    },
    "mobilenetv3_small_050, nadam, step": {
        "backbone": "mobilenetv3_small_050",
        "optimizer": "nadam",
        "lr": 5e-4,
        "schedule": "step",
        "gradient_clip": 0.0,
    },
}


def curve(name: str, *, bf16: bool = False) -> dict[str, list[float]]:
    """Train a recipe for four epochs on noise that is not easy."""
    losses: dict[str, list[float]] = {"train": [], "val": []}

    def report(epoch: EpochReport, save: object) -> None:
        losses["train"].append(round(epoch.train_loss, 5))
        losses["val"].append(round(epoch.val_loss, 5))

    params = default_params("classifier") | {"batch_size": 8} | RECIPES[name]
    native = precision.cpu_has_bf16() and bf16
    with mock.patch.object(precision, "cpu_has_bf16", return_value=native):
        train(TrialInputs(params, coloured_noise(16), max_epochs=4, seed=3), report)
    return losses


@pytest.mark.parametrize("name", RECIPES)
def test_curve_is_the_golden_one(name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = curve(name)
    # Other CPUs sum in another order.
    assert found["train"] == pytest.approx(golden["train"], rel=1e-2)
    assert found["val"] == pytest.approx(golden["val"], rel=1e-2)


@pytest.mark.skipif(not precision.cpu_has_bf16(), reason="this CPU has no bfloat16 instructions")
@pytest.mark.parametrize("name", list(RECIPES)[:2])
def test_bfloat16_learns_the_same(name: str) -> None:
    half, single = curve(name, bf16=True), curve(name)
    assert half["train"] != single["train"]
    assert half["train"] == pytest.approx(single["train"], rel=0.03)


if __name__ == "__main__":
    curves = {name: curve(name) for name in RECIPES}
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")
