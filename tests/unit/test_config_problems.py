"""What a space file may not say, and how it is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config import load_study
from search.errors import SpaceError
from search.yaml_file import dump_yaml
from tests.study_files import FULL, MINIMAL, REPO, load, problems
from trainables.parameters import OPTIMIZERS

GOLDEN = REPO / "tests" / "golden"


def with_space(lines: str) -> str:
    return f"name: mine\ndataset: {{root: data/mine}}\nspace:\n{lines}"


def test_all_problems_of_a_file_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(SpaceError) as caught:
        load_study(Path("broken_space.yaml"))
    assert f"{caught.value}\n" == Path("broken_space.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("scheduler", "given", "idle"),
    [
        ("none", {"min_epochs": 4, "reduction_factor": 2, "brackets": 2},
         ["min_epochs", "reduction_factor", "brackets"]),
        ("median", {"min_epochs": 4, "reduction_factor": 2}, ["reduction_factor"]),
        ("hyperband", {"reduction_factor": 2, "brackets": 2}, ["brackets"]),
    ],
)  # fmt: skip
def test_a_budget_that_its_scheduler_does_not_read(
    scheduler: str, given: dict[str, int], idle: list[str]
) -> None:
    def text(name: str) -> str:
        return f"{MINIMAL}budget: {given | {'scheduler': name, 'max_epochs': 27}}\n"

    why = f"has no effect when scheduler is {scheduler}, got"
    assert problems(text(scheduler)) == [f"budget.{n}: {why} {given[n]}. Remove it." for n in idle]
    study = load(text("asha"), f"budget.scheduler={scheduler}")  # needs no further change
    assert load(MINIMAL + dump_yaml({"budget": study.resolved()["budget"]})).budget == study.budget
    found = problems(text("asha"), f"budget.scheduler={scheduler}", "budget.brackets=2")
    assert found == [f"--set budget.brackets: {why} 2. Remove it."]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("budget.num_trials=0", "budget.num_trials: must be >= 1, got 0."),
        ("budget.num_trials=yes", "budget.num_trials: must be a whole number, got true (YAML"),
        ("budget.num_trials='3'", "budget.num_trials: must be a whole number, got '3'."),
        ("budget.min_epochs=13", "budget.min_epochs: must be <= max_epochs (12), got 13."),
        ("budget.min_epochs=1.5", "budget.min_epochs: must be auto or a whole number"),
        ("budget.brackets=4", "budget.brackets: must be <= the number of rungs"),
        ("budget.scheduler=pbt", "budget.scheduler: must be asha, hyperband, median or none: popu"),
        ("budget.scheduler=medain", "budget.scheduler: must be one of asha, hyperband, median, "),
        ("budget.plateau_trials=0", "budget.plateau_trials: must be none, or a whole number >= 1"),
        ("budget.total_epochs=1.5", "budget.total_epochs: must be none, or a whole number >= 1"),
        ("budget=3", "budget: must be a section of `name: value` lines, got 3."),
        ("dataset.root=", "dataset.root: must be a folder or a list of folders, got nothing."),
        ("dataset.root=''", "dataset.root: must be a folder"),
        ("dataset.root=[]", "dataset.root: must be a folder"),
        ("dataset.root=~nobody-has-this-name/x", "dataset.root: must start with the home folder"),
        ("space.size_px=600", "space.size_px: must be <= 512, got 600. Allowed are 16 to 512 px."),
        ("space.size_px={int: [8, 64]}", "space.size_px.low: must be >= 16, got 8. Allowed are"),
        ("space.size_px={choice: [96, 64]}", "space.size_px: must allow dataset.size_px, got 128 "),
        ("space.size_px=64", "space.size_px: must allow dataset.size_px, got 128 where it is 64"),
        ("space.hue=0.6", "space.hue: must be <= 0.5, got 0.6. Allowed are 0.0 to 0.5 turns."),
        ("space.vertical_flip=maybe", "space.vertical_flip: must be one of false, true, got"),
        (
            "dataset.source=kagle:a/b",
            "dataset.source: must be kaggle:OWNER/NAME, sklearn:digits or a URL",
        ),
        ("dataset.sample=rendered_car", "dataset.sample: must be one of rendered_cars"),
        ("dataset.val_fraction=0.0", "dataset.val_fraction: must be > 0"),
        ("dataset.tset_fraction=0.1", "dataset.tset_fraction: unknown name. Did you mean test_"),
        ("trainable=clasifier", "trainable: must be a trainable (Did you mean classifier?)"),
        ("trainable=[a]", "trainable: must be a trainable (Known: classifier, linear_probe.)"),
        ("objective.metric=accuracy", "objective.metric: must be one of val_accuracy, "),
        ("objective.direction=minimize", "objective.direction: must be maximize for val_accuracy"),
        ("resources.gpus=-1", "resources.gpus: must be auto or a number of GPUs >= 0"),
        ("resources.cpus=.nan", "resources.cpus: must be a finite number, got nan."),
        ("resources.max_concurrent=none", "resources.max_concurrent: must be auto or"),
        ("name=", "name: must be given, got nothing."),
        ("name=a/b", "name: must be letters, digits,"),
        ("name=..", "name: must be letters, digits,"),
        ("name=7", "name: must be text, got 7."),
        ("seed=1.0", "seed: must be a whole number, got 1.0."),
        ("space=", "space: must be given, got nothing."),
        ("space=lr", "space: must be a section"),
        ("start_with=3", "start_with: must be a list"),
        ("start_with=[lr]", "start_with[0]: must be a section"),
        ("start_with=[{lr: 1.0}]", "start_with[0].lr: must be in 0.0001 to 0.01, got 1.0."),
        ("start_with=[{lrr: 1.0}]", "start_with[0].lrr: unknown name. Did you mean lr?"),
        ("start_with=[{dropout: 0.5}]", "start_with[0].dropout: must be a parameter in space"),
        ("space.lr.default=0.5", "space.lr.default: must be in 0.0001 to 0.01, got 0.5."),
        ("space.lr.float=[0, 1]", "space.lr.low: must be > 0 when log is true, got 0."),
        ("space.lr.float=[1, 0.1]", "space.lr.low: must be < high (0.1), got 1.0."),
        ("space.lr.step=0.1", "space.lr.step: must not be given with log"),
        ("space.lr.log=1", "space.lr.log: must be true or false, got 1."),
        ("space.lr.when={}", "space.lr.when: must be `parameter: value` pairs"),
        ("space.lr.when.lr=1", "space.lr.when.lr: must be on a choice or a whole number"),
        ("space.freeze={choice: [none, no]}", "space.freeze.choice[1]: must be one of none, early"),
        ("space.dropout=1.5", "space.dropout: must be <= 0.9, got 1.5. Allowed are 0.0 to 0.9."),
        ("space.batch_size=16.5", "space.batch_size: must be a whole number, got 16.5."),
        ("space.batch_size={int: [16, 64], step: 0.5}", "space.batch_size.step: must be a whole"),
        ("space.batch_size=" + "9" * 400, "space.batch_size: must be a whole number"),
        ("space.kernel_size=true", "space.kernel_size: must be one of 3, 5, 7, got true"),
        ("space.pretrained=1", "space.pretrained: must be one of auto, true, false, got 1."),
        ("space.backbone=resnet18.a1.b=c", None),
        ("space.backbone=small_cn", "space.backbone: must be small_cnn, separable_cnn or a timm"),
    ],
)
def test_one_problem(
    override: str,
    problem: str | None,
) -> None:
    if problem is None:  # tags are the hub's business
        assert load(MINIMAL, override)
        return
    (line,) = problems(MINIMAL, override)
    assert line.startswith(f"--set {problem}"), line


CONDITIONAL = """
  backbone: {choice: [small_cnn, resnet18]}
  optimizer: {choice: [adamw, sgd]}
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "  momentum: {float: [0.5, 0.9]}",
            "space.momentum: has no effect when optimizer is adamw. Add when: {optimizer: sgd}.",
        ),
        (
            "  momentum: {float: [0.5, 0.9], when: {optimizer: [adamw, sgd]}}",
            "space.momentum: has no effect when optimizer is adamw. Add when: {optimizer: sgd}.",
        ),
        ("  momentum: 0.9", None),  # fixed, and of use to some trials
        ("  momentum: {float: [0.5, 0.9], when: {optimizer: sgd}}", None),
        (
            "  freeze: {choice: [none, backbone]}",
            "space.freeze: has no effect when backbone is small_cnn. "
            "Add when: {backbone: resnet18}.",
        ),
        (
            "  freeze: {choice: [none, backbone], when: {backbone: resnet34}}",
            "space.freeze.when: can never hold with the values that space gives. Change it, or "
            "remove the name.",
        ),
        (
            "  freeze: {choice: [none, backbone], when: {backbone: resnet18}}\n"
            "  width: {int: [8, 16], when: {freeze: none}}",
            "space.width: has no effect when backbone is resnet18, as it always is here. "
            "Remove it.",
        ),
        (
            "  norm_statistics: {choice: [train, frozen]}",
            "space.norm_statistics: has no effect when backbone is small_cnn. "
            "Add when: {backbone: resnet18}.",
        ),
        (  # frozen as a whole, a backbone keeps its statistics anyway
            "  freeze: {choice: [none, backbone], when: {backbone: resnet18}}\n"
            "  norm_statistics: {choice: [train, frozen], when: {backbone: resnet18}}",
            "space.norm_statistics: has no effect when freeze is backbone. "
            "Add when: {freeze: none}.",
        ),
        (  # the effect follows from the parent's own condition
            "  freeze: {choice: [none, backbone], when: {backbone: resnet18}}\n"
            "  pretrained: {choice: [true, false], when: {freeze: none}}",
            None,
        ),
        (  # contradicting conditions, one of them inherited
            "  freeze: {choice: [none, backbone], when: {backbone: resnet18}}\n"
            "  dropout: {float: [0.1, 0.2], when: {freeze: none, backbone: small_cnn}}",
            "space.dropout.when: can never hold with the values that space gives. Change it, or "
            "remove the name.",
        ),
        (
            "  hidden_units: {int: [0, 64], when: {depth: 2}}\n"
            "  depth: {int: [2, 3], when: {hidden_units: 0}}",
            "space.hidden_units.when: must not lead back to itself, got depth. Remove one "
            "condition of the circle.",
        ),
        (
            "  dropout: {float: [0.1, 0.2], when: {class_weights: balanced}}",
            "space.dropout.when.class_weights: must be a parameter in space. Add it to space, or "
            "remove this condition: it is always 'none'.",
        ),
        (
            "  dropout: {float: [0.1, 0.2], when: {optimizer: sdg}}",
            f"space.dropout.when.optimizer: must be one of {', '.join(OPTIMIZERS)}, got 'sdg'. "
            "Did you mean sgd?",
        ),
    ],
)
def test_conditions(
    lines: str,
    expected: str | None,
) -> None:
    text = with_space(CONDITIONAL + lines + "\n")
    if expected is None:
        assert load(text)
    else:
        assert problems(text)[0] == expected


def test_an_inactive_parent_counts_with_its_default() -> None:
    text = with_space(
        "  backbone: {choice: [small_cnn, resnet18]}\n"
        "  optimizer: {choice: [sgd, rmsprop], when: {backbone: resnet18}}\n"
        "  momentum: {float: [0.5, 0.9]}\n"
    )
    assert problems(text) == [
        "space.momentum: has no effect when optimizer is adamw. "
        "Add when: {optimizer: [sgd, rmsprop]}."
    ]


def test_what_hangs_on_an_unreadable_parameter_is_not_judged() -> None:
    text = with_space(
        "  optimizer: {choice: [adamw, sdg]}\n"
        "  momentum: {float: [0.5, 0.9], when: {optimizer: sgd}}\n"
        "  dropout: {float: [0.5, 0.9], when: {optimizer: sgd}}\n"
    )
    (only,) = problems(text)
    assert only.startswith("space.optimizer.choice[1]")


def test_a_start_value_without_effect() -> None:
    text = FULL.replace("optimizer: sgd, lr: 1e-2", "momentum: 0.5")
    assert problems(text) == [
        "start_with[1].momentum: must be given only where optimizer is sgd, got 0.5. "
        "Leave it out, or give its condition too."
    ]


def test_a_space_without_a_range_is_refused() -> None:
    (only,) = problems(MINIMAL, "space.lr=0.1")
    assert only.startswith("space: must search something, got only fixed values.")


ODD = st.sampled_from(
    [None, True, False, 0, 1, -1, 3, 1e-3, 1.5, float("inf"), float("nan"), 10**400, "", "none",
     "auto", "sgd", "resnet18", "~x", "\0", [], [1, 2], [0.1, 0.9], ["a"], {}, {"a": 1},
     {"float": [0.1, 0.2]}, {"int": [2, 4]}, {"choice": ["none", "balanced"]}, {"value": 3},
     {"choice": [[1], {}]}, {"float": ["a", None], "log": 3}, {"optimizer": "sgd"},
     {"lr": {"float": [0.1, 0.2]}}, [{"lr": 0.1}], {1: 2}]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, item in inner:
            found += places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_study_loads_and_round_trips_or_is_refused(data: st.DataObject) -> None:
    base = yaml.safe_load(FULL.replace("1e-", "1.0e-"))
    changed = copy.deepcopy(base)
    for path in data.draw(st.lists(st.sampled_from(places(base)), min_size=1, max_size=3)):
        target = changed
        try:
            for part in path[:-1]:
                target = target[part]
            target[path[-1]] = data.draw(ODD)
        except (KeyError, IndexError, TypeError):
            continue
    try:
        study = load(yaml.safe_dump(changed, sort_keys=False))
    except SpaceError:
        return
    assert load(dump_yaml(study.resolved())) == study
    for point in study.start_points:
        complete = study.search_space.complete(point, {})
        assert {name: complete[name] for name in point} == point
