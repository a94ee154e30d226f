"""Every backbone family keeps the trainable's contract: reports, resume, seeds, freezing, files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.memory_data import MemoryData, coloured_noise
from trainables.backbones import Classifier, build_classifier
from trainables.classifier import train
from trainables.contract import EpochReport, NonFiniteLossError, TrialInputs
from trainables.freezing import freeze_layers, last_stage, set_training_mode
from trainables.parameters import default_params

BACKBONES = (
    "small_cnn",
    "separable_cnn",
    "resnet18",
    "mobilenetv2_100",
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
)
OWN = {"depth": 3, "width": 8}


def params(**changes: Any) -> dict[str, Any]:
    return default_params("classifier") | OWN | {"batch_size": 9} | changes


@dataclasses.dataclass
class Log:
    """Collects reports, and writes the checkpoint of one epoch."""

    path: Path | None = None
    at: int = 0
    reports: list[EpochReport] = dataclasses.field(default_factory=list)

    def __call__(self, report: EpochReport, save: Callable[[Path], None]) -> None:
        self.reports.append(report)
        if self.path and report.epoch == self.at:
            save(self.path)

    @property
    def curve(self) -> list[tuple[Any, ...]]:
        """Everything of every epoch but what depends on the machine."""
        own = {"seconds": 0.0, "images_per_second": 0.0, "peak_memory_mb": None}
        return [dataclasses.astuple(dataclasses.replace(r, **own)) for r in self.reports]


def fit(data: MemoryData, log: Log | None = None, epochs: int = 2, **changes: Any) -> Classifier:
    inputs = {k: changes.pop(k) for k in ("seed", "resume_from", "stop_epoch") if k in changes}
    trial = TrialInputs(params(**changes), data, max_epochs=epochs, **inputs)
    return train(trial, log or Log())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_trains_reports_and_resumes(backbone: str, tmp_path: Path) -> None:
    data = coloured_noise()
    whole = Log(tmp_path / "new folder" / "epoch 1.pt", at=1)
    model = fit(data, whole, epochs=3, backbone=backbone, lr=1e-3)

    assert [r.epoch for r in whole.reports] == [1, 2, 3]
    assert whole.reports[-1].train_loss < whole.reports[0].train_loss
    for report in whole.reports:
        figures = dataclasses.asdict(report)
        assert {name for name, value in figures.items() if value is None} == {
            "val_top5_accuracy",  # of three classes
            "micro_batch",  # every batch fitted
        }
        assert all(math.isfinite(value) for value in figures.values() if value is not None)
        assert report.seconds > 0
        assert report.images_per_second > 0
    assert not model.training
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)

    rest = Log()
    resumed = fit(data, rest, epochs=3, backbone=backbone, lr=1e-3, resume_from=whole.path)
    assert rest.curve == whole.curve[1:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "densenet121"])
def test_other_families_build_and_forward(backbone: str) -> None:
    model = build_classifier(params(backbone=backbone), 3, 64).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, 3)


@pytest.mark.parametrize("backbone", ["small_cnn", "separable_cnn"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "nadam"])
def test_own_cnns_learn_with_every_optimizer(backbone: str, optimizer: str) -> None:
    log = Log()
    lr = {"sgd": 0.05, "rmsprop": 1e-3}.get(optimizer, 5e-3)
    fit(
        coloured_noise(per_class=24),
        log,
        epochs=6,
        backbone=backbone,
        optimizer=optimizer,
        lr=lr,
        weight_decay=5e-4,
    )
    assert log.reports[-1].val_accuracy is not None
    assert log.reports[-1].val_accuracy > 0.8


@pytest.mark.parametrize("schedule", ["one_cycle", "step", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "nadam"])
def test_schedules_and_optimizers_resume(schedule: str, optimizer: str, tmp_path: Path) -> None:
    data, chosen = coloured_noise(), {"schedule": schedule, "optimizer": optimizer, "lr": 1e-3}
    whole, rest = Log(tmp_path / "at 2", at=2), Log()
    fit(data, whole, epochs=4, dropout=0.5, **chosen)
    fit(data, rest, epochs=4, dropout=0.5, resume_from=whole.path, **chosen)
    assert rest.curve == whole.curve[2:]


@pytest.mark.parametrize("mixed", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixed_batches_resume(mixed: dict[str, float], tmp_path: Path) -> None:
    data, chosen = coloured_noise(), mixed | {"class_weights": "balanced", "lr": 3e-3}
    whole, rest, plain = Log(tmp_path / "at 1", at=1), Log(), Log()
    fit(data, whole, epochs=3, **chosen)
    fit(data, rest, epochs=3, resume_from=whole.path, **chosen)
    assert rest.curve == whole.curve[1:]
    fit(data, plain, epochs=3, **chosen | dict.fromkeys(mixed, 0.0))
    assert plain.curve[0] != whole.curve[0]


@pytest.mark.parametrize("backbone", ["small_cnn", "mobilenetv3_small_050"])
def test_same_seed_same_curve(backbone: str) -> None:
    data, logs = coloured_noise(), [Log(), Log(), Log()]
    for log, seed in zip(logs, (7, 7, 8), strict=True):
        torch.rand(seed + len(log.reports))  # whatever happened before in this process
        fit(data, log, backbone=backbone, dropout=0.5, seed=seed)
    assert logs[0].curve == logs[1].curve
    assert logs[0].curve != logs[2].curve


def test_stops_early_on_the_same_schedule() -> None:
    data, whole, cut = coloured_noise(), Log(), Log()
    fit(data, whole, epochs=4)
    fit(data, cut, epochs=4, stop_epoch=2)
    assert cut.curve == whole.curve[:2]


def test_nothing_held_out_leaves_val_figures_empty() -> None:
    log = Log()
    fit(coloured_noise(with_val=False), log, epochs=1)
    report = log.reports[0]
    assert (report.val_loss, report.val_accuracy, report.val_macro_f1) == (None, None, None)
    assert report.train_loss > 0


def test_divergence_is_an_error_that_names_the_step() -> None:
    diverging = {"optimizer": "sgd", "lr": 1e6, "gradient_clip": 0.0, "warmup_fraction": 0.0}
    with pytest.raises(NonFiniteLossError, match=r"epoch \d.*loss must be finite, got (nan|inf)"):
        fit(coloured_noise(), epochs=8, class_weights="balanced", **diverging)


def test_process_is_left_as_it_was() -> None:
    torch.manual_seed(123)
    threads, expected = torch.get_num_threads(), torch.rand(4)
    torch.manual_seed(123)
    data = coloured_noise()
    train(TrialInputs(params(), data, max_epochs=1, num_threads=threads + 1), Log())
    with pytest.raises(NonFiniteLossError):
        fit(data, epochs=8, optimizer="sgd", lr=1e6, gradient_clip=0.0, warmup_fraction=0.0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(4), expected)
    assert torch.is_grad_enabled()


def test_memory_stays_flat_over_trials() -> None:
    data, sizes = coloured_noise(), []
    for _ in range(20):
        fit(data, epochs=1)
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[9] < 20 * 2**20


@pytest.mark.parametrize("freeze", ["early_stages", "backbone"])
@pytest.mark.parametrize(
    "backbone", ["resnet18", "mobilenetv2_100", "convnext_atto", "vit_tiny_patch16_224"]
)
def test_frozen_layers_do_not_move(backbone: str, freeze: str) -> None:
    data = coloured_noise()
    models = [
        fit(data, epochs=epochs, stop_epoch=epochs, backbone=backbone, freeze=freeze, lr=1e-2)
        for epochs in (0, 1)  # as built, and after an epoch
    ]
    before, after = (model.backbone.state_dict() for model in models)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    trained = last_stage(models[0].backbone) if freeze == "early_stages" else frozenset()
    assert bool(moved) == (freeze == "early_stages")
    of_trained_modules = tuple(name.rpartition(".")[0] for name in trained)
    assert all(name.startswith(of_trained_modules) for name in moved)
    assert not torch.equal(models[0].head[-1].weight, models[1].head[-1].weight)


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
        import timm

        model = timm.create_model(backbone, num_classes=0)
    names = {name for name, _ in model.named_parameters()}
    assert {inside, outside} <= names
    assert inside in last_stage(model)
    assert outside not in last_stage(model)


def test_frozen_parts_stay_in_eval_mode() -> None:
    model = build_classifier(params(backbone="resnet18", freeze="early_stages"), 3, 32)
    freeze_layers(model.backbone, "early_stages")
    set_training_mode(model)
    assert not model.backbone.layer3.training
    assert not model.backbone.layer3[0].bn1.training
    assert model.backbone.layer4[0].bn1.training
    assert model.head.training
