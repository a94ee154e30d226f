"""The users' own recipes are ones a space file could hold, and train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from benchmarks import users
from search.space_check import read_space
from search.yaml_file import read_yaml
from tests.images import make_folder
from trainables.parameters import OPTIMIZERS

STRATEGIES = users.RECIPES.with_name("strategies.yaml")
ENTRIES = {
    name: entry
    for path in (users.RECIPES, STRATEGIES)
    for name, entry in read_yaml(path)["recipes"].items()
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_is_legal_and_has_an_effect(name: str) -> None:
    _, findings = read_space(ENTRIES[name]["params"], ["classifier"])
    assert ["must search something" in finding.text for finding in findings] == [True]


def test_the_three_optimizers_differ_in_nothing_but_their_own() -> None:
    recipes = users.read_recipes()
    own = {"optimizer", "lr", "momentum"}
    found = [
        recipes[f"cars_cnn_{name}"].params for name in OPTIMIZERS if name in "adam sgd rmsprop"
    ]
    assert len(found) == 3
    assert len({str([v for k, v in params.items() if k not in own]) for params in found}) == 1
    assert len({params["optimizer"] for params in found}) == 3


def test_it_trains_beside_our_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_folder(tmp_path / "-it's here", ("a b", "c\n"), per_class=14)
    figures = tmp_path / "figures.json"
    users.main(photos, None, ["animals_separable", "cars_vgg16"], 1, json=figures)
    ours, theirs = json.loads(figures.read_text())["rows"]
    assert [row["recipe"]["name"] for row in (ours, theirs)] == ["our default", "animals_separable"]
    assert all(row["recipe"]["epochs"] == 1 for row in (ours, theirs))
    assert theirs["recipe"]["params"]["size_px"] == 120
    assert all(row["accuracy"]["low"] < row["accuracy"]["high"] for row in (ours, theirs))
    assert all(row["cost"]["cpu_seconds"] > 0 for row in (ours, theirs))
    assert "cars_vgg16: left out, as no weights of vgg16" in capsys.readouterr().out


def test_recipes_of_another_file_train_alone(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", ("a", "b"), per_class=14)
    figures = tmp_path / "figures.json"
    users.main(photos, None, ["separable_cnn"], 1, recipes=STRATEGIES, fit="pad", json=figures)
    (only,) = json.loads(figures.read_text())["rows"]
    assert only["recipe"]["name"] == "separable_cnn"
    assert only["recipe"]["params"]["size_px"] == 160


def test_an_unknown_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        users.main(None, None, ["cats"], 1)
    assert "got cats" in capsys.readouterr().err.replace("\n", " ")
