"""What only the classifier has: own CNNs from scratch, and batches of mixed images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.memory_data import coloured_noise
from tests.training import Log, fit


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


@pytest.mark.parametrize("mixed", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixed_batches_resume(mixed: dict[str, float], tmp_path: Path) -> None:
    data, chosen = coloured_noise(), mixed | {"class_weights": "balanced", "lr": 3e-3}
    whole, rest, plain = Log(tmp_path / "at 1", at=1), Log(), Log()
    fit(data, whole, epochs=3, **chosen)
    fit(data, rest, epochs=3, resume_from=whole.path, **chosen)
    assert rest.curve == whole.curve[1:]
    fit(data, plain, epochs=3, **chosen | dict.fromkeys(mixed, 0.0))
    assert plain.curve[0] != whole.curve[0]
