"""What one trial gets, and what is refused before anything starts."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from search.errors import ResultsError
from search.goals import number_text
from search.space import Choice, Fixed, Float, Int, Space
from search.tune import machine, session
from search.tune.machine import check_machine
from search.tune.preflight import (
    Backbone,
    default_recipe,
    default_warning,
    footprints_of,
    measure_backbone,
    missing_weights_warning,
)
from tests.study_files import MINIMAL, load


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(ResultsError, match=r"must have .* of free disk, got .* Free some space"):
        check_machine(1, "auto", tmp_path, "local")


def test_a_cluster_is_not_judged_by_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_machine(4096, 64, tmp_path, address)


def test_possible_values() -> None:
    space = Space((Choice("backbone", ("a", "b")), Fixed("pretrained", True), Float("lr", 0.1, 1)))
    assert space.possible_values("backbone", "c") == ("a", "b")
    assert space.possible_values("pretrained", "auto") == (True,)
    assert space.possible_values("freeze", "none") == ("none",)
    sizes = Int("size_px", 32, 96, step=32, when={"backbone": ("a",)})
    space = Space((Choice("backbone", ("a", "b")), sizes))
    assert space.possible_values("size_px", 128) == (32, 64, 96, 128)  # inactive: the default
    assert space.possible_values("size_px", 64) == (32, 64, 96)


def test_backbones_without_weights_are_named_unless_none_were_wanted() -> None:
    found = (
        Backbone("resnet18", None, 1),
        Backbone("vgg16", "w", 1),
        Backbone("small_cnn", None, 1),
    )
    assert "for resnet18:" in missing_weights_warning(found, ("auto",))
    assert missing_weights_warning(found, (False,)) == ""
    assert missing_weights_warning(found[1:], ("auto",)) == ""


@pytest.mark.parametrize(
    ("weights", "pretrained", "freeze"),
    [("w", "auto", "early_stages"), (None, "auto", "none"), ("w", False, "none")],
)
def test_random_weights_are_not_kept(weights: str | None, pretrained: object, freeze: str) -> None:
    params = {"pretrained": pretrained, "freeze": "early_stages", "norm_statistics": "frozen"}
    trained = Backbone("resnet18", weights, 1).trained_as({**params, "lr": 0.1})
    statistics = "frozen" if freeze != "none" else "train"
    assert trained == {**params, "lr": 0.1, "freeze": freeze, "norm_statistics": statistics}


def test_an_interpreter_in_a_folder_with_a_space_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/My Projects/.venv/bin/python")
    assert session._runtime_env() == {"py_executable": "'/home/me/My Projects/.venv/bin/python'"}
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert session._runtime_env() is None


def test_a_measured_backbone_outlives_the_marker() -> None:
    params = {"backbone": "small_cnn", "size_px": 32, "depth": 2, "kernel_size": 3}
    ends = [params | {"width": 8}, params | {"width": 32}]
    mode, (cheap, dear) = measure_backbone(ends, "cpu", 1, thorough=False)
    found = Backbone("small_cnn", None, dear.num_parameters, "", mode, (cheap, dear))
    assert Backbone.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert 0 < cheap.eval_seconds < cheap.train_seconds
    assert (cheap.num_features, dear.num_features) == (16, 64)
    assert cheap.bytes_per_image < dear.bytes_per_image
    assert cheap.fixed_bytes < dear.fixed_bytes
    assert cheap.load_seconds > 0
    assert "0.0 M parameters, random weights, trains " in found.describe()

    mode, (probed,) = measure_backbone(ends[:1], "cpu", 1, trains=False)
    assert (mode, probed.train_seconds, probed.fixed_bytes) == ("", 0.0, 0)
    assert "judges" in Backbone("small_cnn", None, 1, "", mode, (probed,)).describe()


def test_a_default_recipe_that_breaks_a_constraint_is_told_before_the_first_trial() -> None:
    config = load(MINIMAL + "constraints: {num_parameters: <= 1e5}\ntrainable: classifier\n")
    recipe = default_recipe(config)
    known = footprints_of(recipe, 3, "cpu")
    assert default_warning(config, {}) == "", "not measured yet"
    text = default_warning(config, known)
    (count,) = (cost["num_parameters"] for cost in known.values())
    assert text.startswith(
        "the default recipe breaks the constraints: num_parameters must be <= 100e3, has "
        f"{number_text(count)}. Trial 0 is not trained"
    )
    fixed = load(MINIMAL + "  width: 8\n  depth: {int: [2, 4], default: 2}\n")
    assert {"width": 8, "depth": 2, "lr": 0.001}.items() <= default_recipe(fixed).items()
    loose = load(MINIMAL + "constraints: {num_parameters: <= 1e6}\n")
    assert default_warning(loose, known) == ""
