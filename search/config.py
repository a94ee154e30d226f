"""The space file as a typed, checked study; `python -m search.config check FILE` tries one.

Every problem of a file is listed at once. Overrides (`--set`) are checked by the same rules.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError

from search.budget_section import BudgetConfig, check_budget, narrow_budget
from search.dataset_section import DatasetConfig
from search.errors import SpaceError
from search.findings import Finding, model_findings
from search.goals import Goals
from search.objective_section import (
    ConstraintsField,
    ObjectiveField,
    Objectives,
    check_constraints,
    check_objective,
)
from search.overrides import apply_overrides, name_overrides
from search.sections import (
    ConfirmConfig,
    ReportConfig,
    ResourcesConfig,
    SearchConfig,
    Section,
    Text,
    Whole,
)
from search.slots import light_names
from search.space import Space
from search.space_check import domain_text, read_space
from search.start_with import check_start, narrow_start
from search.trainable_table import (
    DEFAULT_TRAINABLE,
    TRAINABLE,
    OneOrSeveral,
    read_trainables,
)
from search.yaml_file import read_yaml
from trainables.parameters import default_params


class StudyConfig(Section):
    """A whole study, checked; built by `load_study`."""

    name: Text = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=100,
        json_schema_extra={
            "patternErrorMessage": "letters, digits, dots, dashes, underscores; no sign first"
        },
        description="Name of the study and of its results folder.",
        examples=["cars"],
    )
    dataset: DatasetConfig
    trainable: OneOrSeveral = Field(
        default=DEFAULT_TRAINABLE,
        description="What is trained. Of a list, it is searched, and the first is the default.",
    )
    objective: ObjectiveField = Field(
        default=Objectives(),
        description="What makes one trial better than another. Of a list, the first ranks trials.",
    )
    constraints: ConstraintsField = Field(
        default_factory=tuple,
        description="Limits that a model must keep, such as latency_ms: <= 10.",
    )
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    confirm: ConfirmConfig = Field(default_factory=ConfirmConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    seed: Whole = Field(
        default=0, ge=0, lt=2**31, description="Of everything random.", examples=[0]
    )
    space: dict[str, Any] = Field(description="Fixed values and ranges, by name of the parameter.")
    start_with: tuple[dict[str, Any], ...] = Field(
        default=(), description="Points to try first, after the default recipe."
    )

    @property
    def trainables(self) -> tuple[str, ...]:
        """What can be trained, that of the default recipe first."""
        return read_trainables(self.trainable)

    @cached_property
    def goals(self) -> Goals:
        """What is sought: objectives and constraints."""
        return Goals(self.objective.every, self.constraints)

    @cached_property
    def search_space(self) -> Space:
        """The parameters to search and to fix.

        Raises:
            SpaceError: The space does not suit the trainable; `load_study` would have said so.
        """
        space, findings = read_space(self.space, self.trainables)
        if space is None:
            raise SpaceError(self.name, [f"{path}: {text}" for path, text in findings])
        return space

    @property
    def recipe(self) -> dict[str, Any]:
        """The default recipe: every public name of the trainable with its value in this study."""
        return self.recipe_of({})

    def recipe_of(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the default recipe of the trainable that a point names, or else of the first."""
        trainable = point.get(TRAINABLE, self.trainables[0])
        return default_params(trainable) | {"size_px": self.dataset.size_px}

    def possible_values(self, name: str) -> tuple[Any, ...]:
        """Return every value that a choice, a whole or a fixed number can have in a trial."""
        recipes = (self.recipe_of({TRAINABLE: trainable}) for trainable in self.trainables)
        values = (
            self.search_space.possible_values(name, recipe[name])
            for recipe in recipes
            if name in recipe
        )
        return tuple(dict.fromkeys(value for found in values for value in found))

    @property
    def light_names(self) -> list[str]:
        """What of this space a CPU can train beside GPUs."""
        return light_names(self.trainables, self.possible_values("backbone"))

    @property
    def sizes_px(self) -> tuple[int, ...]:
        """Every side that the images of a trial can have, smallest first."""
        return tuple(sorted(self.possible_values("size_px")))

    @property
    def start_points(self) -> list[dict[str, Any]]:
        """Searched params of the first trials: the default recipe, then each of `start_with`.

        Complete but for inactive and fixed parameters; a point that repeats an earlier one is left
        out.
        """
        space = self.search_space
        points: list[dict[str, Any]] = []
        for entry in ({}, *self.start_with):
            point = space.complete(entry, self.recipe_of(entry))
            point = {name: point[name] for name in space.searched if name in point}
            if point not in points:
                points.append(point)
        return points

    @property
    def num_trials(self) -> int:
        """How many trials the search can have: no more than the space has points."""
        count = self.search_space.num_configurations
        return self.budget.num_trials if count is None else min(count, self.budget.num_trials)

    def resolved(self) -> dict[str, Any]:
        """Return plain values that load again to an equal study, every default written out."""
        return self.model_dump(mode="json")


def load_study(
    path: Path, overrides: Sequence[str] = (), flags: Mapping[str, str] = MappingProxyType({})
) -> StudyConfig:
    """Read and check a space file.

    An override of `space.NAME` may leave other parameters without a way to become active, or
    points of `start_with` outside the space: these are left out, so that `space.backbone=resnet18`
    needs no further change. Likewise what an overridden `budget.scheduler` does not read.

    Args:
        overrides: `dotted.key=value` each, the value in YAML: `space.lr.float=[1e-3, 1e-2]`.
        flags: Key of an override -> the flag that stands for it, such as `--trials`.

    Raises:
        SpaceError: With every problem of the file and the overrides.
    """
    raw = read_yaml(path)
    keys = apply_overrides(raw, overrides)
    # A section whose every line is commented out is the same as no section.
    raw = {name: value for name, value in raw.items() if value is not None}
    narrow_budget(raw.get("budget"), keys)
    changed = {key.split(".")[1] for key in keys if key.startswith("space.")}
    changed |= {TRAINABLE} & set(keys)
    findings = _check_goals(raw) + _check_space(raw, changed)
    try:
        study = StudyConfig.model_validate(raw)
    except ValidationError as error:
        findings = model_findings(error, StudyConfig) + findings
    else:
        findings = findings or _check_size(study) + check_budget(study.budget)
    if findings:
        raise SpaceError(str(path), name_overrides(findings, keys, flags))
    return study


def _check_goals(raw: dict[str, Any]) -> list[Finding]:
    """Check `objective` and `constraints`; what is wrong is taken out, so as to be told once."""
    found: list[Finding] = []
    for name, check in (("objective", check_objective), ("constraints", check_constraints)):
        if name in raw and (findings := check(raw[name])):
            found += findings
            del raw[name]
    return found


def _check_space(raw: dict[str, Any], changed: set[str]) -> list[Finding]:
    """Check `space` and `start_with`, as far as their shape allows; narrow them if overridden."""
    entries, start = raw.get("space"), raw.get("start_with", [])
    try:
        trainables = read_trainables(raw.get(TRAINABLE, DEFAULT_TRAINABLE))
    except ValueError:  # a problem of its own
        return []
    if not isinstance(entries, dict):
        return []
    removable = entries.keys() - changed if changed else set()
    space, findings = read_space(entries, trainables, removable)
    if not isinstance(start, list) or not all(isinstance(entry, Mapping) for entry in start):
        return findings
    if space is not None and changed:
        kept = {parameter.name for parameter in space.parameters}
        left_out = (entries.keys() | {TRAINABLE}) - kept
        start = [point for point in start if point.get(TRAINABLE, trainables[0]) in trainables]
        start = narrow_start(start, space, changed, left_out)
        raw["space"] = {name: entry for name, entry in entries.items() if name in kept}
        raw["start_with"] = start
    return findings + check_start(start, space, trainables)


def _check_size(study: StudyConfig) -> list[Finding]:
    """Check that the space allows the images' side that the default recipe has."""
    size_px = study.dataset.size_px
    return [
        Finding(
            "space.size_px",
            f"must allow dataset.size_px, got {size_px} where it is {domain_text(parameter)}. "
            "Change either: it is the default recipe's size.",
        )
        for parameter in study.search_space.parameters
        if parameter.name == "size_px" and not parameter.when and not parameter.contains(size_px)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m search.config schema` or `check FILE`; return the exit code."""
    parser = argparse.ArgumentParser("python -m search.config", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON Schema of space files, for editors")
    check = commands.add_parser("check", help="check space files without starting anything")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        from search.schema import study_schema

        print(json.dumps(study_schema(), indent=2))
        return 0
    exit_code = 0
    for file in options.files:
        try:
            study = load_study(file, options.overrides)
        except SpaceError as error:
            print(error, file=sys.stderr)
            exit_code = error.exit_code
        else:
            print(f"{file} is fine: {_outline(study)}")
    return exit_code


def _outline(study: StudyConfig) -> str:
    searched = study.search_space.searched
    count = study.search_space.num_configurations
    size = "" if count is None else f", {count} configurations"
    budget = study.budget
    least = "" if budget.scheduler == "none" else f"{budget.min_epochs} to "
    return (
        f"{budget.num_trials} trials of {least}{budget.max_epochs} epochs "
        f"over {len(searched)} parameters "
        f"({', '.join(searched)}){size}"
    )


if __name__ == "__main__":
    sys.exit(main())
