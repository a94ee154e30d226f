"""What every trainable promises, whatever it trains: reports, resume, seeds, errors, files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.memory_data import coloured_noise
from tests.training import Log, fit, params
from trainables.contract import NonFiniteLossError
from trainables.parameters import TRAINABLES
from trainables.saved import describe, load_model, save_model

DIVERGING = {"optimizer": "sgd", "lr": 1e6, "gradient_clip": 0.0, "weight_decay": 1.0}

every_trainable = pytest.mark.parametrize("trainable", TRAINABLES)


@every_trainable
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adamw", "one_cycle"), ("sgd", "one_cycle"), ("nadam", "step"), ("sgd", "constant")],
)
def test_trains_reports_and_resumes(
    trainable: str, optimizer: str, schedule: str, tmp_path: Path
) -> None:
    data = coloured_noise()
    chosen = {"optimizer": optimizer, "schedule": schedule, "dropout": 0.5}
    whole = Log(tmp_path / "new folder" / "epoch 1.pt", at=1)
    model = fit(data, whole, epochs=3, **chosen, trainable=trainable)
    assert [r.epoch for r in whole.reports] == [1, 2, 3]
    for report in whole.reports:
        figures = dataclasses.asdict(report)
        missing = {name for name, value in figures.items() if value is None}
        assert missing == {"val_top5_accuracy", "micro_batch"}  # of three classes, and few images
        assert all(math.isfinite(value) for value in figures.values() if value is not None)
        assert report.seconds > 0
        assert report.images_per_second > 0
    assert not model.training
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)

    rest = Log()
    resumed = fit(data, rest, epochs=3, resume_from=whole.path, **chosen, trainable=trainable)
    assert rest.curve == whole.curve[1:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@every_trainable
def test_beats_chance(trainable: str) -> None:
    log = Log()
    fit(coloured_noise(per_class=24), log, epochs=6, lr=5e-3, trainable=trainable)
    assert log.reports[-1].train_loss < log.reports[0].train_loss
    assert log.reports[-1].val_accuracy is not None
    assert log.reports[-1].val_accuracy > 0.6  # of three classes; the probe's weights are random


@every_trainable
def test_same_seed_same_curve(trainable: str) -> None:
    data, logs = coloured_noise(), [Log(), Log(), Log()]
    for log, seed in zip(logs, (7, 7, 8), strict=True):
        torch.rand(seed + 1)  # whatever happened before in this process
        fit(data, log, dropout=0.5, seed=seed, trainable=trainable)
    assert logs[0].curve == logs[1].curve
    assert logs[0].curve != logs[2].curve


@every_trainable
def test_a_balanced_sampler_shows_every_class_equally_often(trainable: str, tmp_path: Path) -> None:
    data = coloured_noise(per_class=20)
    rare = dataclasses.replace(data, train=np.setdiff1d(data.train, np.arange(4, 20)))
    assert rare.train_counts == (3, 15, 15)
    chosen = {"sampler": "balanced", "dropout": 0.5, "lr": 5e-3}
    whole, rest, plain, weighted = (Log(tmp_path / name, at=2) for name in "abcd")
    model = fit(rare, whole, epochs=4, **chosen, trainable=trainable)
    fit(rare, rest, epochs=4, resume_from=whole.path, **chosen, trainable=trainable)
    assert rest.curve == whole.curve[2:]
    fit(rare, plain, epochs=4, **chosen | {"sampler": "none"}, trainable=trainable)
    assert plain.curve[0] != whole.curve[0]
    fit(rare, weighted, epochs=4, class_weights="balanced", **chosen, trainable=trainable)
    assert weighted.curve == whole.curve  # what is drawn equally often needs no weights
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)


@every_trainable
def test_stops_early_on_the_same_schedule(trainable: str) -> None:
    data, whole, cut = coloured_noise(), Log(), Log()
    fit(data, whole, epochs=4, trainable=trainable)
    fit(data, cut, epochs=4, stop_epoch=2, trainable=trainable)
    assert cut.curve == whole.curve[:2]


@every_trainable
def test_nothing_held_out_leaves_val_figures_empty(trainable: str) -> None:
    log = Log()
    fit(coloured_noise(with_val=False), log, epochs=1, trainable=trainable)
    report = dataclasses.asdict(log.reports[0])
    assert {value for name, value in report.items() if name.startswith("val_")} == {None}
    assert report["train_loss"] > 0


@every_trainable
def test_divergence_names_the_step_and_leaves_the_process_as_it_was(trainable: str) -> None:
    torch.manual_seed(123)
    threads, expected = torch.get_num_threads(), torch.rand(4)
    torch.manual_seed(123)
    with pytest.raises(NonFiniteLossError, match=r"epoch \d.*loss must be finite, got (nan|inf)"):
        fit(coloured_noise(), epochs=8, **DIVERGING, trainable=trainable)
    fit(coloured_noise(), epochs=1, batch_size=64, num_threads=threads + 1, trainable=trainable)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(4), expected)
    assert torch.is_grad_enabled()


@every_trainable
def test_memory_stays_flat_over_trials(trainable: str) -> None:
    data, sizes = coloured_noise(), []
    for _ in range(20):
        fit(data, epochs=1, trainable=trainable)
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[9] < 20 * 2**20


@every_trainable
def test_the_model_outlives_its_training(trainable: str, tmp_path: Path) -> None:
    data = coloured_noise()
    model = fit(data, hidden_units=7, trainable=trainable)
    chosen = params(trainable, hidden_units=7)
    info = describe(
        model, params=chosen, classes=data.classes, size_px=32, side_px=36, fit="crop",
        trainable=trainable,
    )  # fmt: skip
    save_model(model, tmp_path, info)
    again, info_again = load_model(tmp_path)
    images = next(data.val_batches(batch_size=9))[0]
    assert info_again.trainable == trainable
    assert torch.equal(model(images), again(images))
