"""Overrides of a space file: `--set dotted.key=value`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.errors import SpaceError
from search.yaml_file import dump_yaml
from tests.study_files import FULL, MINIMAL, load, problems


def test_overrides() -> None:
    study = load(
        FULL,
        "budget.num_trials=30",
        "space.lr.float=[1e-3, 1e-1]",
        "dataset.root=[a, b=c]",
        "report.cam_images=3",
        "space.dropout={float: [0.1, 0.2]}",
        "budget.num_trials=31",
    )
    assert study.budget.num_trials == 31
    assert study.dataset.root == (Path("a"), Path("b=c"))
    assert "dropout" in study.search_space.searched
    assert study.start_points[0]["lr"] == 1e-3


def test_overrides_make_sections() -> None:
    assert load(MINIMAL, "confirm.num_seeds=0", "space.width=16").confirm.num_seeds == 0


@pytest.mark.parametrize("name", ["my, photos #1: [x]", "-a 'b' \"c\"", "é\nf", "no", "1e-4", "~"])
def test_any_folder_can_be_given_as_json(name: str) -> None:
    study = load(MINIMAL, f"dataset.root={json.dumps([f'./{name}', name + '/x'])}")
    assert study.dataset.root[0] == Path(name)
    assert load(dump_yaml(study.resolved())) == study


def test_fixing_a_parameter_leaves_out_what_hung_on_it() -> None:
    study = load(FULL, "space.backbone=resnet18")
    names = {parameter.name for parameter in study.search_space.parameters}
    assert "width" not in names
    assert "freeze" in names
    assert study.start_with == ({"optimizer": "sgd", "lr": 1e-2},)
    own = load(FULL, "space.backbone=small_cnn", "space.optimizer=adamw")
    names = {parameter.name for parameter in own.search_space.parameters}
    assert names.isdisjoint({"freeze", "pretrained", "momentum"})
    assert own.start_with == ({"backbone": "small_cnn", "width": 48},)
    again = load(dump_yaml(own.resolved()))
    assert again == own


def test_an_override_without_effect_is_still_refused() -> None:
    assert problems(FULL, "space.optimizer=adamw", "space.momentum=0.8") == [
        "--set space.momentum: has no effect when optimizer is adamw, as it always is here. "
        "Remove it."
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("budget.num_trials", "budget.num_trials: must be dotted.key=value."),
        ("=3", "=3: must be dotted.key=value."),
        ("budget..num_trials=3", "budget..num_trials=3: must be dotted.key=value."),
        ("seed=[1", "seed: must be YAML: "),
        ("seed={a: 1, a: 2}", "seed: line 1: a is given twice"),
        ("name.first=3", "name must be a section to have first, got 'mine'. Set it whole: name="),
    ],
)
def test_overrides_that_cannot_be_read(override: str, problem: str) -> None:
    with pytest.raises(SpaceError, match="--set has 1 problem") as caught:
        load(MINIMAL, override)
    assert problem in caught.value.problems[0]


def test_problems_of_file_and_overrides_come_together() -> None:
    found = problems(MINIMAL + "sede: 3\n", "budget.num_trails=3", "space.lrr=1")
    assert found == [
        "--set budget.num_trails: unknown name. Did you mean num_trials?",
        "sede: unknown name. Did you mean seed?",
        "--set space.lrr: unknown name. Did you mean lr?",
    ]
