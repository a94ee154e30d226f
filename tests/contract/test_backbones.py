"""Every family of backbones keeps the contract: it learns, reports, resumes, and freezes."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import timm
import torch

from tests.memory_data import coloured_noise
from tests.training import Log, fit, params
from trainables.backbones import build_classifier
from trainables.freezing import freeze_layers, last_stages, set_training_mode
from trainables.pointwise import replace_strided_pointwise

# The smallest of each.
FAMILIES = (
    "resnet10t",
    "regnety_002",
    "densenet121",
    "mobilenetv2_100",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_050",
    "efficientnet_b0",
    "ghostnet_050",
    "convnext_atto",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mixer_s32_224",
)
OWN = ("small_cnn", "separable_cnn")


@pytest.mark.parametrize("backbone", OWN + FAMILIES)
def test_learns_reports_and_resumes(backbone: str, tmp_path: Path) -> None:
    data, whole, rest = coloured_noise(24), Log(tmp_path / "epoch 3.pt", at=3), Log()
    chosen = {"backbone": backbone, "lr": 2e-3, "batch_size": 12, "dropout": 0.0}
    model = fit(data, whole, epochs=4, **chosen)
    assert [r.epoch for r in whole.reports] == [1, 2, 3, 4]
    assert whole.reports[-1].train_loss < whole.reports[0].train_loss
    # Of three classes. Batch norm's own statistics are too young yet to judge by them.
    assert (whole.reports[-1].train_accuracy or 0) > 0.5
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)

    resumed = fit(data, rest, epochs=4, resume_from=whole.path, **chosen)
    assert rest.curve == whole.curve[3:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("backbone", "freeze"),
    [*product(FAMILIES, ["early_stages", "backbone"]), ("vgg11_bn", "backbone")],
)
def test_frozen_layers_do_not_move(backbone: str, freeze: str) -> None:
    data = coloured_noise()
    models = [
        fit(data, epochs=epochs, backbone=backbone, freeze=freeze, lr=1e-2)
        for epochs in (0, 1)  # as built, and after an epoch
    ]
    before, after = (model.backbone.state_dict() for model in models)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    trained = last_stages(models[0].backbone) if freeze == "early_stages" else frozenset()
    assert bool(moved) == (freeze == "early_stages")
    assert {_module_of(name) for name in moved} <= {_module_of(name) for name in trained}
    assert not torch.equal(models[0].head[-1].weight, models[1].head[-1].weight)


def _module_of(name: str) -> str:
    """Name the layer of a parameter or of a batch-norm statistic."""
    return name.rpartition(".")[0]


@pytest.mark.parametrize(
    ("backbone", "inside", "outside"),
    [
        ("resnet18", "layer4.1.conv2.weight", "layer3.1.conv2.weight"),
        ("mobilenetv2_100", "blocks.5.0.conv_pw.weight", "blocks.4.0.conv_pw.weight"),
        ("efficientnet_b0", "conv_head.weight", "blocks.4.0.conv_pw.weight"),
        ("convnext_atto", "stages.3.blocks.0.conv_dw.weight", "stages.2.blocks.0.conv_dw.weight"),
        ("vit_tiny_patch16_224", "blocks.9.attn.qkv.weight", "blocks.8.attn.qkv.weight"),
        (
            "swin_tiny_patch4_window7_224",
            "layers.3.blocks.0.attn.qkv.weight",
            "layers.2.blocks.0.attn.qkv.weight",
        ),
    ],
)
def test_last_stage_is_where_the_family_has_it(backbone: str, inside: str, outside: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(backbone, num_classes=0)
    names = {name for name, _ in model.named_parameters()}
    assert {inside, outside} <= names
    assert inside in last_stages(model)
    assert outside not in last_stages(model)


@pytest.mark.parametrize(("count", "first"), [(1, "stages.3"), (2, "stages.2"), (3, "stages.1")])
def test_more_stages_train_where_asked(count: int, first: str) -> None:
    model = build_classifier(params(backbone="convnext_atto"), 3, 32)
    freeze_layers(model.backbone, "early_stages", count)
    trained = {name[:8] for name, p in model.backbone.named_parameters() if p.requires_grad}
    stages = {f"stages.{k}" for k in range(4)}
    assert min(trained & stages) == first
    assert not any(p.requires_grad for p in model.backbone.stem.parameters())


def test_trained_stages_reach_the_training() -> None:
    data = coloured_noise()
    chosen = {"backbone": "resnet10t", "freeze": "early_stages", "lr": 1e-2}
    before = fit(data, epochs=0, **chosen).state_dict()
    moved = {
        count: {
            name.split(".")[1]
            for name, value in fit(data, epochs=1, trained_stages=count, **chosen)
            .state_dict()
            .items()
            if name.startswith("backbone.layer") and not torch.equal(value, before[name])
        }
        for count in (1, 3)
    }
    assert moved == {1: {"layer4"}, 3: {"layer2", "layer3", "layer4"}}


def test_frozen_parts_stay_in_eval_mode() -> None:
    model = build_classifier(params(backbone="resnet18", freeze="early_stages"), 3, 32)
    freeze_layers(model.backbone, "early_stages")
    set_training_mode(model)
    assert not model.backbone.layer3.training
    assert not model.backbone.layer3[0].bn1.training
    assert model.backbone.layer4[0].bn1.training
    assert model.head.training


def test_small_strided_convolutions_leave_the_memory_whole() -> None:
    """oneDNN's own gradient of MobileOne's first layer ends the process, malloc looking closely."""
    code = (
        "import torch\n"
        "from tests.training import params\n"
        "from trainables.backbones import build_classifier\n"
        "torch.set_num_threads(1)\n"
        "model = build_classifier(params(backbone='mobileone_s0'), 3, 112).train()\n"
        "images = torch.zeros(2, 112, 112, 3, dtype=torch.uint8).permute(0, 3, 1, 2)\n"
        "for _ in range(3):\n"
        "    model(images).sum().backward()\n"
    )
    env = os.environ | {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_small_strided_convolutions_compute_the_same() -> None:
    layer = torch.nn.Conv2d(3, 5, 1, stride=2)
    images = torch.randn(2, 3, 9, 9)
    expected = layer(images)
    replace_strided_pointwise(layer)
    assert torch.allclose(layer(images), expected, atol=1e-6)
    assert type(layer) is not torch.nn.Conv2d
