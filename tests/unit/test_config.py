"""The space file as a study: defaults, round trips, the shipped files, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search.budget_section import auto_min_epochs
from search.config import load_study, main
from search.errors import SpaceError
from search.rungs import rung_epochs
from search.schema import study_schema
from search.space import Choice, Fixed, Float, Int
from search.yaml_file import dump_yaml
from tests.study_files import FULL, MINIMAL, REPO, SHIPPED, load
from trainables.parameters import OWN_BACKBONES


def test_defaults() -> None:
    study = load(MINIMAL)
    assert study.dataset.root == (Path("data/mine"),)
    assert (study.dataset.source, study.dataset.sample) == (None, None)
    assert (study.objective.metric, study.objective.direction) == ("val_accuracy", "maximize")
    assert (study.budget.min_epochs, study.budget.max_epochs) == (1, 12)
    assert study.budget.time_limit is None
    assert (study.resources.gpus, study.resources.max_concurrent) == ("auto", "auto")
    assert (study.trainable, study.seed, study.start_with) == ("classifier", 0, ())
    assert study.search_space.searched == ("lr",)
    assert study.start_points == [{"lr": 1e-3}]


def test_every_setting() -> None:
    study = load(FULL)
    assert study.dataset.root == (Path("data/a"), Path("data/b, c: #1"))
    assert study.objective.direction == "minimize"
    assert study.budget.time_limit == 5400
    assert study.budget.min_epochs == 3
    assert (study.resources.cpus, study.resources.gpus) == (0.5, 0.25)
    timm = ("resnet18", "resnet50.a1_in1k")
    parameters = {parameter.name: parameter for parameter in study.search_space.parameters}
    assert parameters == {
        "backbone": Choice("backbone", ("small_cnn", *timm), default="resnet18"),
        "freeze": Choice("freeze", ("none", "early_stages"), {"backbone": timm}),
        "pretrained": Fixed("pretrained", True, {"freeze": ("early_stages",)}),
        "width": Int("width", 16, 48, step=16, when={"backbone": ("small_cnn",)}),
        "optimizer": Choice("optimizer", ("adamw", "sgd")),
        "momentum": Float("momentum", 0.5, 0.9, False, 0.1, {"optimizer": ("sgd",)}, 0.8),
        "batch_size": Choice("batch_size", (16, 64)),
        "lr": Float("lr", 1e-4, 1e-2, log=True),
        "dropout": Fixed("dropout", 0.0),
    }


def test_start_points_are_complete_but_for_what_is_fixed_or_inactive() -> None:
    common = {"optimizer": "adamw", "batch_size": 16, "lr": 1e-3}
    assert load(FULL).start_points == [
        {"backbone": "resnet18", "freeze": "none", **common},
        {"backbone": "small_cnn", "width": 48, **common},
        {"backbone": "resnet18", "freeze": "none", **common}
        | {"optimizer": "sgd", "momentum": 0.8, "lr": 1e-2},
    ]


def test_a_start_point_that_repeats_the_default_recipe_is_left_out() -> None:
    study = load(MINIMAL + "start_with: [{lr: 0.001}, {lr: 0.003}]\n")
    assert study.start_points == [{"lr": 1e-3}, {"lr": 3e-3}]


def test_image_sizes_are_the_data_sets_unless_searched() -> None:
    study = load(MINIMAL)
    assert (study.sizes_px, study.recipe["size_px"]) == ((128,), 128)
    study = load(MINIMAL, "space.size_px={choice: [160, 96]}", "dataset.size_px=96")
    assert study.sizes_px == (96, 160)
    assert study.start_points[0]["size_px"] == study.recipe["size_px"] == 96
    study = load(MINIMAL, "space.size_px={int: [64, 192], step: 64}")
    assert study.sizes_px == (64, 128, 192)
    assert study.start_points[0]["size_px"] == 128


def test_an_image_size_may_hang_on_another_parameter() -> None:
    size = "space.size_px={choice: [160, 224], when: {optimizer: sgd}}"
    study = load(MINIMAL, "space.optimizer={choice: [adamw, sgd]}", size)
    assert study.sizes_px == (128, 160, 224)
    assert "size_px" not in study.start_points[0]
    assert study.recipe["size_px"] == 128


@pytest.mark.parametrize("text", [MINIMAL, FULL, *(path.read_text() for path in SHIPPED)])
@pytest.mark.parametrize("dump", [dump_yaml, yaml.safe_dump, json.dumps])
def test_a_resolved_study_loads_again_equal(text: str, dump: Callable[[Any], str]) -> None:
    study = load(text)
    again = load(dump(study.resolved()))
    assert again == study
    assert again.start_points == study.start_points
    assert again.resolved() == study.resolved()


def test_a_study_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(MINIMAL).budget.num_trials = 3


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    study = load(MINIMAL, "dataset.root=['~/a b', ./c]")
    assert study.dataset.root == (Path("/home/me/a b"), Path("c"))


def test_a_section_with_every_line_commented_out_is_no_section() -> None:
    assert load(MINIMAL + "report:\n  # cam_images: 3\nstart_with:\n") == load(MINIMAL)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("none", None), ("null", None), ("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400),
        ("1h 5s", 3605), ("45", 45), ("0.5", 0.5), ("1e3", 1000), ("'30'", "refused"),
        ("20min", "refused"), ("0", "refused"), ("-5", "refused"), ("0s", "refused"),
        (".inf", "refused"), (".nan", "refused"), ("''", "refused"), ("yes", "refused"),
        ("[1]", "refused"), ("30m1h", "refused"),
    ],
)  # fmt: skip
def test_time_limits(written: str, seconds: Any) -> None:
    override = f"budget.time_limit={written}"
    if seconds == "refused":
        with pytest.raises(SpaceError, match=r"--set budget\.time_limit: must be none, or a time"):
            load(MINIMAL, override)
    else:
        assert load(MINIMAL, override).budget.time_limit == seconds


@given(st.integers(1, 10_000), st.integers(2, 100))
def test_auto_min_epochs_leaves_a_rung_below_the_top(max_epochs: int, factor: int) -> None:
    first = auto_min_epochs(max_epochs, factor)
    assert 1 <= first <= max_epochs
    assert len(rung_epochs(first, max_epochs, factor)) >= (max_epochs > 1)


def test_rungs() -> None:
    assert [auto_min_epochs(n, 3) for n in (1, 2, 8, 12, 18, 27, 100)] == [1, 1, 1, 1, 2, 3, 11]
    assert len(rung_epochs(1, 9, 3)) == 2
    assert len(rung_epochs(1, 10, 3)) == 3
    assert len(rung_epochs(5, 5, 3)) == 0


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files(path: Path) -> None:
    study = load_study(path)
    assert study.name == path.stem
    searched = set(study.search_space.searched)
    assert searched >= {
        "backbone", "lr", "weight_decay", "batch_size", "dropout", "augment_strength",
        "label_smoothing",
    }  # fmt: skip
    own = {"trainable"} if len(study.trainables) > 1 else {"optimizer", "width", "depth"}
    assert searched >= own
    assert study.budget.num_trials <= 32
    assert study.budget.time_limit is not None
    assert study.budget.time_limit <= 60 * 60
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "# yaml-language-server: $schema=schema.json"
    assert second.startswith("# ")
    assert f"--space spaces/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("backbone", ["small_cnn", "resnet18", "convnext_atto"])
def test_every_shipped_file_runs_on_one_backbone(path: Path, backbone: str) -> None:
    only = ["trainable=classifier"] if backbone in OWN_BACKBONES else []  # probes cannot use them
    study = load_study(path, [f"space.backbone={backbone}", *only])
    params = study.search_space.complete(study.start_points[0], {})
    assert params["backbone"] == backbone


def test_check_and_schema_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad one.yaml"
    good.write_text(MINIMAL)
    bad.write_text(MINIMAL + "sede: 1\n")
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out.startswith(f"{good} is fine: 24 trials of 1 to 12 epochs over 1")
    assert main(["check", str(bad), str(good)]) == 2
    out, err = capsys.readouterr()
    assert "is fine" in out
    assert err.startswith(f"{bad} has 1 problem:\n  sede: unknown name.")
    assert main(["check", str(good), "--set", "seed=-1"]) == 2
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == study_schema()


def test_checking_a_file_brings_in_nothing_heavy() -> None:
    code = (
        "import sys; from search.config import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'timm', 'ray', 'optuna', 'matplotlib', 'pandas'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", code, "check", "spaces/cars.yaml"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
