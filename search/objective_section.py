"""The sections `objective` and `constraints` of a space file: read, checked, written back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from search.findings import Finding, closest, did_you_mean, got, listed, show, unknown_name
from search.goals import (
    FOOTPRINT_METRICS,
    MAX_OBJECTIVES,
    METRICS,
    SIGNS,
    VAL_METRICS,
    Constraint,
    Goals,
    Objective,
    direction_of,
    number_text,
)
from search.ranges import is_number

_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*(\S.*?)\s*")
_EXAMPLES = {
    "num_parameters": "<= 5e6",
    "latency_ms": "<= 10",
    "model_mb": "<= 20",
    "val_loss": "<= 0.5",
}
_SECTION = "a section of `name: value` lines"


@dataclass(frozen=True)
class Objectives:
    """What makes one trial better than another; the first one ranks."""

    every: tuple[Objective, ...] = (Objective("val_accuracy", "maximize"),)

    @property
    def metric(self) -> str:
        return self.every[0].metric

    @property
    def direction(self) -> str:
        return self.every[0].direction


def read_objectives(value: Any) -> Objectives:
    """Read `objective:` of a space file: a mapping, or a list of them.

    Raises:
        ValueError: With what is wrong first; `check_objective` finds all of it.
    """
    _refuse(check_objective(value))
    entries = value if isinstance(value, list | tuple) else [value]
    metrics = [entry.get("metric", "val_accuracy") for entry in entries]
    return Objectives(tuple(Objective(metric, direction_of(metric)) for metric in metrics))


def check_objective(value: Any) -> list[Finding]:
    """List what is wrong with `objective:`."""
    if not isinstance(value, list | tuple):
        return list(_entry_findings("objective", value))
    if not 1 <= len(value) <= MAX_OBJECTIVES:
        text = f"must have one to {MAX_OBJECTIVES} entries, got {len(value)}. A limit to keep is "
        return [Finding("objective", text + "one of `constraints`.")]
    found: list[Finding] = []
    for k, entry in enumerate(value):
        where = f"objective[{k}]"
        found += _entry_findings(where, entry, must_name=True)
        earlier = [e.get("metric") for e in value[:k] if isinstance(e, Mapping)]
        if isinstance(entry, Mapping) and entry.get("metric") in (m for m in earlier if m):
            found.append(Finding(f"{where}.metric", "is given twice. Leave it out here."))
    return found + (_first_findings(value[0], "objective[0]") if not found else [])


def _entry_findings(where: str, entry: Any, must_name: bool = False) -> Iterator[Finding]:
    if not isinstance(entry, Mapping):
        yield Finding(
            where, f"must be {_SECTION}, got {show(entry)}. For example metric: val_loss."
        )
        return
    for name in entry:
        if name not in ("metric", "direction"):
            yield Finding(f"{where}.{name}", unknown_name(name, ["metric", "direction"]))
    if must_name and "metric" not in entry:
        yield Finding(f"{where}.metric", "must be given, got nothing. For example latency_ms.")
        return
    metric, direction = entry.get("metric", "val_accuracy"), entry.get("direction")
    if not isinstance(metric, str) or metric not in METRICS:
        match = closest(metric, METRICS)
        advice = f" Did you mean {match}?" if match else ""
        text = f"must be one of {listed(METRICS)}, {got(metric)}.{advice}"
        yield Finding(f"{where}.metric", text)
    elif direction not in (None, direction_of(metric)):
        text = f"must be {direction_of(metric)} for {metric}, {got(direction)}."
        yield Finding(f"{where}.direction", text)
    elif not must_name:
        yield from _first_findings(entry, where)


def _first_findings(entry: Mapping[str, Any], where: str) -> list[Finding]:
    """The objective that ranks must be one that training changes."""
    metric = entry.get("metric", "val_accuracy")
    if metric not in FOOTPRINT_METRICS:
        return []
    text = f"must be one of {listed(VAL_METRICS)} where it comes first, since the first objective "
    text += f"ranks trials, {got(metric)}. Name it second, or as one of `constraints`."
    return [Finding(f"{where}.metric", text)]


def read_constraints(value: Any) -> tuple[Constraint, ...]:
    """Read `constraints:` of a space file: metric -> limit.

    Raises:
        ValueError: With what is wrong first; `check_constraints` finds all of it.
    """
    _refuse(check_constraints(value))
    return tuple(Constraint(name, *_read_limit(limit)) for name, limit in value.items())


def read_goals(objective: Any, constraints: Any) -> Goals:
    """Read both as a results folder has them; what cannot be read counts as not given."""
    objectives = Objectives()
    limits: tuple[Constraint, ...] = ()
    with suppress(ValueError):
        objectives = read_objectives(objective or {})
    with suppress(ValueError):
        limits = read_constraints(constraints or {})
    return Goals(objectives.every, limits)


def check_constraints(value: Any) -> list[Finding]:
    """List what is wrong with `constraints:`."""
    if not isinstance(value, Mapping):
        example = "For example num_parameters: <= 5e6."
        return [Finding("constraints", f"must be {_SECTION}, got {show(value)}. {example}")]
    return [
        Finding(f"constraints.{name}", text)
        for name, limit in value.items()
        if (text := _limit_fault(name, limit))
    ]


def _limit_fault(name: Any, limit: Any) -> str:
    if name not in METRICS:
        return f"must be a metric ({did_you_mean(name, METRICS)})"
    example = f' For example {name}: "{_EXAMPLES.get(name, ">= 0.8")}".'
    if is_number(limit):
        sign = "<=" if direction_of(name) == "minimize" else ">="
        return (
            f'must say which side to keep, got {show(limit)}. Write "{sign} {number_text(limit)}"?'
        )
    try:
        sign, bound = _read_limit(limit)
    except ValueError as error:
        return f"{error}, {got(limit)}.{example}"
    if name not in ("val_loss", *FOOTPRINT_METRICS) and not 0 <= bound <= 1:
        return f"must be a share from 0 to 1, {got(limit)}.{example}"
    if bound <= 0 and sign.startswith("<"):
        return f"must leave something above 0, {got(limit)}.{example}"
    return ""


def _read_limit(limit: Any) -> tuple[str, float]:
    """Split "<= 5e6" into its sign and its number.

    Raises:
        ValueError: It is something else.
    """
    match = _LIMIT.fullmatch(limit) if isinstance(limit, str) else None
    if match is None:
        raise ValueError(f"must be one of {' '.join(SIGNS)} and a number")
    try:
        bound = float(match[2])
    except ValueError:
        raise ValueError(f"must have a number after {match[1]}") from None
    if not math.isfinite(bound):
        raise ValueError(f"must have a finite number after {match[1]}")
    return match[1], bound


def _refuse(findings: Sequence[Finding]) -> None:
    for path, text in findings:
        raise ValueError(f"{path}: {text}")


def _plain_objectives(value: Objectives) -> Any:
    """One objective is a mapping, as it always was: a folder of then still holds this study."""
    entries = [vars(objective) for objective in value.every]
    return entries if len(entries) > 1 else entries[0]


def _plain_constraints(value: tuple[Constraint, ...]) -> dict[str, str]:
    return {constraint.metric: constraint.limit for constraint in value}


def _objective_schema(metrics: Sequence[str]) -> dict[str, Any]:
    properties = {
        "metric": {"enum": list(metrics), "description": "Figure of the best epoch or the model."},
        "direction": {
            "enum": ["maximize", "minimize"],
            "description": "Follows from the metric; may be left out.",
        },
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


_ONE = _objective_schema(VAL_METRICS)
_EACH = _objective_schema(METRICS) | {"required": ["metric"]}
_SEVERAL = {"type": "array", "prefixItems": [_ONE], "items": _EACH, "minItems": 1,
            "maxItems": MAX_OBJECTIVES}  # fmt: skip
_LIMIT_SCHEMA = {"type": "string", "pattern": r"^\s*(<=|>=|<|>)\s*[0-9.]"}

ObjectiveField = Annotated[
    Objectives,
    PlainValidator(lambda v: v if isinstance(v, Objectives) else read_objectives(v)),
    PlainSerializer(_plain_objectives),
    WithJsonSchema({"anyOf": [_ONE, _SEVERAL]}),
]
"""The type of `objective:` in a space file."""

ConstraintsField = Annotated[
    tuple[Constraint, ...],
    PlainValidator(lambda v: v if isinstance(v, tuple) else read_constraints(v)),
    PlainSerializer(_plain_constraints),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                name: _LIMIT_SCHEMA | {"examples": [_EXAMPLES.get(name, ">= 0.8")]}
                for name in METRICS
            },
            "additionalProperties": False,
        }
    ),
]
"""The type of `constraints:` in a space file."""
