"""The JSON Schema of space files: fresh, exact, and never stricter than loading."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from search.schema import study_schema
from tests.study_files import FULL, MINIMAL, REPO, SHIPPED
from trainables.parameters import CLASSIFIER


def test_the_shipped_schema_is_fresh() -> None:
    shipped = json.loads((REPO / "spaces" / "schema.json").read_text(encoding="utf-8"))
    assert shipped == study_schema(), "python -m search.config schema > spaces/schema.json"


@pytest.mark.parametrize("text", [MINIMAL, FULL, *(path.read_text() for path in SHIPPED)])
def test_the_schema_accepts_what_loads(text: str) -> None:
    value = yaml.safe_load(text.replace("1e-", "1.0e-"))
    jsonschema.Draft202012Validator(study_schema()).validate(value)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("space", "lrr", 0.1),
        ("space", "dropout", 1.5),
        ("space", "dropout", {"float": [0.1, 1.5]}),
        ("space", "lr", {"float": [0.1, 0.2], "lgo": True}),
        ("space", "freeze", False),
        ("space", "kernel_size", {"choice": [3, 4]}),
        ("space", "width", {"int": [8, 16], "when": {"backbon": "small_cnn"}}),
        ("budget", "num_trails", 3),
        ("dataset", "size_px", 4),
    ],
)
def test_the_schema_marks_mistakes(section: str, name: str, value: Any) -> None:
    study = yaml.safe_load(FULL.replace("1e-", "1.0e-"))
    study[section][name] = value
    validator = jsonschema.Draft202012Validator(study_schema())
    (error,) = validator.iter_errors(study)
    assert error.absolute_path[0] == section


def test_the_schema_describes_every_parameter() -> None:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    space = schema["allOf"][0]["then"]["properties"]["space"]["properties"]
    assert list(space) == list(CLASSIFIER)
    assert "From 0.0 to 0.9. Default: 0.1." in space["dropout"]["description"]
    assert "images" in space["batch_size"]["description"]
