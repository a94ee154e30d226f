"""Which arithmetic a backbone trains in: measured once, remembered, never far from float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.memory_data import coloured_noise
from trainables import fastest
from trainables.classifier import train
from trainables.contract import EpochReport, TrialInputs
from trainables.fastest import Arithmetic, choose, fastest_mode, known_mode, measure_modes
from trainables.parameters import default_params
from trainables.precision import MODES, Mode, default_mode

PARAMS = default_params("classifier") | {"depth": 2, "width": 8}
RULE = MODES["float32 channels-last"]
OTHER = MODES["bfloat16 channels-last"]


def test_names_and_modes_are_one_to_one() -> None:
    assert len(MODES) == 4
    assert all(str(mode) == name for name, mode in MODES.items())


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({RULE: 100.0, OTHER: 109.0}, RULE),  # within the noise: the rule stands
        ({RULE: 100.0, OTHER: 111.0}, OTHER),
        ({OTHER: 50.0}, OTHER),  # the rule's own mode learns something else
        ({}, RULE),
    ],
)
def test_the_rule_stands_unless_another_is_clearly_faster(
    speeds: dict[Mode, float], expected: Mode
) -> None:
    assert choose(RULE, speeds) == expected


def test_an_answer_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = fastest_mode(PARAMS, 32, "cpu", 1, tmp_path / "new")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    (question, answer), *_ = json.loads((tmp_path / "new" / "modes.json").read_text()).items()
    assert first.images_per_second is not None
    assert answer == [str(first.mode), pytest.approx(first.images_per_second, rel=1e-3)]
    assert "small_cnn" in question
    assert "32 px" in question

    other = next(name for name in MODES if name != answer[0])
    (tmp_path / "new" / "modes.json").write_text(json.dumps({question: [other, 5.0]}))
    monkeypatch.setattr(fastest, "measure_modes", None)  # it would fail if it were called
    known = Arithmetic(MODES[other], 5.0)
    assert fastest_mode(PARAMS, 32, "cpu", 1, tmp_path / "new") == known
    assert known_mode(PARAMS, 32, "cpu", 1, tmp_path / "new") == known
    assert known_mode(PARAMS, 64, "cpu", 1, tmp_path / "new").images_per_second is None


@pytest.mark.parametrize("damage", ["", "[1]", '{"x": ', '{"Q": "float32 channels-last"}'])
def test_damaged_answers_are_measured_again(damage: str, tmp_path: Path) -> None:
    question = fastest._question(PARAMS, 32, "cpu", 1)
    (tmp_path / "modes.json").write_text(damage.replace("Q", question))
    assert fastest_mode(PARAMS, 32, "cpu", 1, tmp_path).images_per_second is not None
    assert len(json.loads((tmp_path / "modes.json").read_text())) == 1


def test_a_mode_that_learns_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = default_mode("small_cnn", "cpu")
    assert set(measure_modes(PARAMS, 32, "cpu", rule)) == set(MODES.values())
    monkeypatch.setattr(fastest, "LOSS_TOLERANCE", 1e-9)
    speeds = measure_modes(PARAMS, 32, "cpu", rule)
    assert RULE in speeds
    assert not {mode for mode in speeds if mode.bfloat16}


def test_without_room_the_rule_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(fastest, "measure_modes", fail)
    assert fastest_mode(PARAMS, 32, "cpu", 1, None) == Arithmetic(default_mode("small_cnn", "cpu"))


@pytest.mark.parametrize("backbone", ["small_cnn", "mobilenetv3_small_050"])
def test_every_mode_trains_alike(backbone: str) -> None:
    """The probe's promise over a whole training: curves stay within its tolerance."""
    curves: dict[str, list[float]] = {name: [] for name in MODES}
    for name, losses in curves.items():

        def report(epoch: EpochReport, save: object, losses: list[float] = losses) -> None:
            losses.append(epoch.train_loss)

        params = PARAMS | {"backbone": backbone, "batch_size": 8, "lr": 5e-4}
        train(TrialInputs(params, coloured_noise(), max_epochs=3, mode=name), report)
    expected = curves[str(RULE)]
    for name, losses in curves.items():
        assert losses == pytest.approx(expected, rel=fastest.LOSS_TOLERANCE), name
    assert len({tuple(losses) for losses in curves.values()}) > 1
