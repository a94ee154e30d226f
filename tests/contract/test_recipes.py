"""What a recipe may ask for beyond the basics: each does what it says, and resumes exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from tests.memory_data import coloured_noise
from tests.training import Log, fit, params
from trainables.averaging import Average
from trainables.backbones import build_classifier, has_drop_path
from trainables.classifier import train
from trainables.contract import TrialInputs
from trainables.freezing import set_training_mode
from trainables.optim import Schedule, make_optimizer
from trainables.parameters import CLASSIFIER, OPTIMIZERS, OPTIMIZERS_WITH_MOMENTUM

TINY = "mobilenetv3_small_050"


@pytest.mark.parametrize(
    "recipe",
    [
        {"ema": 0.9},
        {"ema": 0.9, "backbone": TINY, "optimizer": "sgd"},
        {"backbone": TINY, "freeze": "gradual", "unfreeze_epoch": 2},
        {"backbone": TINY, "freeze": "gradual", "unfreeze_epoch": 3},
        {"backbone": TINY, "layer_decay": 0.7, "schedule": "one_cycle"},
        {"backbone": TINY, "drop_path": 0.3},
        {"backbone": TINY, "norm_statistics": "frozen", "ema": 0.9},
        {"backbone": TINY, "norm_statistics": "frozen", "freeze": "gradual", "unfreeze_epoch": 2},
        {"loss": "focal", "class_weights": "effective_number", "mixup": 0.2},
    ],
    ids=str,
)
def test_resumes_exactly(recipe: dict[str, Any], tmp_path: Path) -> None:
    data = coloured_noise()
    whole, rest = Log(tmp_path / "at 2", at=2), Log()
    model = fit(data, whole, epochs=4, **recipe)
    resumed = fit(data, rest, epochs=4, resume_from=whole.path, **recipe)
    assert rest.curve == whole.curve[2:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS[5:])
def test_every_timm_optimizer_learns_and_resumes(optimizer: str, tmp_path: Path) -> None:
    data, lr = coloured_noise(24), {"lars": 0.3, "sgdw": 0.05, "lion": 1e-3}.get(optimizer, 5e-3)
    recipe = {"optimizer": optimizer, "lr": lr, "weight_decay": 1e-4, "label_smoothing": 0.0}
    whole, rest = Log(tmp_path / "at 3", at=3), Log()
    fit(data, whole, epochs=4, **recipe)
    fit(data, rest, epochs=4, resume_from=whole.path, **recipe)
    assert whole.reports[-1].train_loss < 0.97 * whole.reports[0].train_loss
    assert rest.curve == whole.curve[3:]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_with_all_that_touches_its_groups(
    optimizer: str, tmp_path: Path
) -> None:
    recipe = {"backbone": "test_resnet", "optimizer": optimizer, "schedule": "one_cycle"}
    recipe |= {"ema": 0.9, "layer_decay": 0.7, "freeze": "gradual", "unfreeze_epoch": 2}
    recipe |= {"mixup": 0.2, "momentum": 0.05, "lr": 1e-3}  # less momentum than one_cycle takes off
    data, whole, rest = coloured_noise(4), Log(tmp_path / "at 2", at=2), Log()
    model = fit(data, whole, epochs=3, **recipe)
    resumed = fit(data, rest, epochs=3, resume_from=whole.path, **recipe)
    assert rest.curve == whole.curve[2:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("momentum", [0.0, 0.05])
@pytest.mark.parametrize("optimizer", OPTIMIZERS_WITH_MOMENTUM)
def test_little_momentum_or_none(optimizer: str, momentum: float) -> None:
    log = Log()
    recipe = {"optimizer": optimizer, "momentum": momentum, "schedule": "one_cycle", "lr": 1e-3}
    fit(coloured_noise(8), log, epochs=2, **recipe)
    assert len(log.reports) == 2


def test_average_follows_the_weights_and_is_what_is_kept() -> None:
    model = build_classifier(params(), 3, 32)
    average = Average(model, 0.5)
    expected = model.head[-1].weight.detach().clone()
    for step, decay in enumerate([0.0, 1 - 2 ** (-2 / 3), 0.5], start=1):
        nn.init.constant_(model.head[-1].weight, step)
        average.update(model)
        expected = decay * expected + (1 - decay) * step
    assert torch.allclose(average.model.head[-1].weight, expected)

    data, logs = coloured_noise(), (Log(), Log())
    kept = [fit(data, log, ema=ema) for log, ema in zip(logs, (0.0, 0.9), strict=True)]
    assert logs[0].reports[0].train_loss == logs[1].reports[0].train_loss
    assert logs[0].reports[1].val_loss != logs[1].reports[1].val_loss
    assert not torch.equal(kept[0].head[-1].weight, kept[1].head[-1].weight)


def test_gradual_freezing_trains_the_head_first() -> None:
    data, recipe = coloured_noise(), {"backbone": TINY, "freeze": "gradual", "unfreeze_epoch": 2}
    states = [fit(data, epochs=epochs, **recipe).state_dict() for epochs in (0, 1)]
    states.append(fit(data, epochs=1, **recipe | {"unfreeze_epoch": 1}).state_dict())
    changed = [
        {name.split(".")[0] for name in states[0] if not torch.equal(a[name], b[name])}
        for a, b in (states[:2], states[::2])
    ]
    assert changed == [{"head"}, {"head", "backbone"}]


@pytest.mark.parametrize("freeze", ["none", "early_stages", "gradual"])
@pytest.mark.parametrize(
    "backbone", [TINY, "resnet10t"]
)  # with an activation inside the norm, without
def test_frozen_statistics_stay_while_scales_and_shifts_train(backbone: str, freeze: str) -> None:
    recipe = {"backbone": backbone, "freeze": freeze, "unfreeze_epoch": 2, "lr": 1e-2}
    moved = {}
    for kept in ("frozen", "train"):
        states = [
            fit(coloured_noise(), epochs=epochs, norm_statistics=kept, **recipe).state_dict()
            for epochs in (0, 2)
        ]
        moved[kept] = {name for name in states[0] if not torch.equal(*(s[name] for s in states))}
    assert not {name for name in moved["frozen"] if ".running_" in name or ".num_batches" in name}
    trained = {name for name in moved["train"] if name.endswith((".weight", ".bias"))}
    assert {name for name in moved["frozen"] if name.endswith((".weight", ".bias"))} == trained
    assert {name for name in moved["train"] if name.endswith(".running_var")}
    norms = {name.replace("running_var", "bias") for name in states[0] if "running_var" in name}
    assert trained & norms


def test_frozen_statistics_normalise_the_training_images() -> None:
    model = build_classifier(params(backbone=TINY, norm_statistics="frozen", dropout=0.0), 3, 32)
    images = next(coloured_noise().val_batches(batch_size=4))[0]
    set_training_mode(model)
    assert model.training
    assert torch.equal(model(images), model.eval()(images))  # nothing else differs in training


def test_layers_learn_slower_the_deeper_they_lie() -> None:
    model = build_classifier(params(backbone="resnet18"), 3, 32)
    optimizer = make_optimizer(model, "adamw", 1.0, 0.9, 0.05, layer_decay=0.5)
    Schedule(optimizer, "constant", 0.8, 0.9, 0.0).set(0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert rates.keys() == set(names.values())
    assert rates["head.1.weight"] == optimizer.param_groups[0]["lr"] == 0.8
    layers = ("layer4.1.conv2", "layer4.0.conv1", "layer1.0.conv1", "conv1")
    found = [rates[f"backbone.{layer}.weight"] for layer in layers]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found[0] == 0.4


def test_drop_path_is_refused_where_there_is_none() -> None:
    assert has_drop_path("convnext_atto")
    for backbone in ("vgg11", "densenet121"):
        with pytest.raises(ValueError, match=rf"drop_path: must be 0 with {backbone}, which has"):
            build_classifier(params(backbone=backbone, drop_path=0.1), 3, 32)
    model = build_classifier(params(backbone="resnet18", drop_path=0.2), 3, 32)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, timm.layers.DropPath)]
    assert max(rates) == pytest.approx(0.2)


def test_top5_is_reported_from_eleven_classes_on() -> None:
    data = coloured_noise()
    many = dataclasses.replace(data, classes=tuple("abcdefghijk"))
    log = Log()
    fit(many, log, epochs=3)
    report = log.reports[-1]
    assert report.val_top5_accuracy is not None
    assert report.val_top5_accuracy == 1.0  # the eight classes without images have fallen behind
    assert 0 < (report.train_accuracy or 0) <= 1


def test_pieces_give_the_gradient_of_the_whole_batch() -> None:
    recipe = {"backbone": "convnext_atto", "mixup": 0.3, "dropout": 0.0}  # it has no batch norm
    recipe |= {"class_weights": "balanced"}
    noise, logs = coloured_noise(20), []
    data = dataclasses.replace(noise, train=np.setdiff1d(noise.train, np.arange(4, 20)))
    for limit in (None, 0):
        logs.append(Log())
        trial = TrialInputs(params(**recipe), data, max_epochs=1, memory_bytes=limit)
        train(trial, logs[-1])
    assert [log.reports[0].micro_batch for log in logs] == [None, 3]
    first, second = (log.reports[0] for log in logs)
    assert second.train_loss == pytest.approx(first.train_loss, rel=1e-3)
    assert second.val_loss == pytest.approx(first.val_loss, rel=1e-3)


def test_every_name_has_a_source_or_a_unit() -> None:
    for name in ("ema", "layer_decay", "drop_path", "loss", "focal_gamma", "unfreeze_epoch"):
        assert "(" in CLASSIFIER[name].doc, name
