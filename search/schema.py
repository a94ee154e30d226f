"""The JSON Schema of space files, from which editors complete names and mark mistakes.

It is as exact as a schema can be; rules between values, such as what `when:` must say, are checked
by `load_study` only.
"""

from __future__ import annotations

from typing import Any

from search.config import StudyConfig
from search.trainable_table import DEFAULT_TRAINABLE, TRAINABLE, parameter_table
from trainables.parameters import TRAINABLES, Parameter

Schema = dict[str, Any]

SEVERAL = "several"
_ANY = parameter_table(tuple(TRAINABLES))


def study_schema() -> Schema:
    """Return the schema: pydantic's for the sections, the parameter tables for `space`."""
    schema = _without_nulls(StudyConfig.model_json_schema())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Space file of a study",
    }
    tables = {name: {TRAINABLE: _ANY[TRAINABLE], **table} for name, table in TRAINABLES.items()}
    schema["allOf"] = []
    for name, table in {**tables, SEVERAL: _ANY}.items():
        schema["$defs"] |= _definitions(name, table)
        then = {"properties": _trainable_properties(name, table)}
        schema["allOf"].append({"if": _is_trained(name), "then": then})
    return schema


def _is_trained(name: str) -> Schema:
    """Return the condition that a study is over this trainable, or over several."""
    named = {"type": "array"} if name == SEVERAL else {"const": name}
    condition: Schema = {"properties": {TRAINABLE: named}}
    # Without `required` it would hold, too, where nothing is named.
    return condition if name == DEFAULT_TRAINABLE else condition | {"required": [TRAINABLE]}


def _definitions(trainable: str, table: dict[str, Parameter]) -> Schema:
    """Return what the trainable's parameters share: each one's values, and its `when:`."""
    values = {f"{trainable}.{name}": _value(parameter) for name, parameter in table.items()}
    if trainable == SEVERAL:
        owners = {name: [o for o in TRAINABLES if name in TRAINABLES[o]] for name in table}
        values |= {
            f"{SEVERAL}.{name}": {"anyOf": [_reference(owner, name) for owner in owners[name]]}
            for name in table
            if owners[name]
        }
    conditions = {}
    for name in table:
        value = _reference(trainable, name)
        several = {"type": "array", "items": value, "minItems": 1}
        conditions[name] = {"anyOf": [value, several]}
    when = {
        "type": "object",
        "description": "Other parameters' values that switch this one on.",
        "properties": conditions,
        "additionalProperties": False,
        "minProperties": 1,
    }
    return {**values, f"{trainable}.when": when}


def _reference(trainable: str, name: str) -> Schema:
    return {"$ref": f"#/$defs/{trainable}.{name}"}


def _trainable_properties(trainable: str, table: dict[str, Parameter]) -> Schema:
    space = {
        name: _entry(trainable, name, parameter)
        for name, parameter in table.items()
        if name != TRAINABLE
    }
    point = {
        name: {"description": _describe(parameter), **_reference(trainable, name)}
        for name, parameter in table.items()
        if name != TRAINABLE or trainable == SEVERAL
    }
    return {
        "space": {"type": "object", "properties": space, "additionalProperties": False},
        "start_with": {
            "items": {"type": "object", "properties": point, "additionalProperties": False}
        },
    }


def _value(parameter: Parameter) -> Schema:
    if parameter.kind == "backbone":
        return {"type": "string", "examples": [*parameter.options, "mobilenetv2_100", "resnet18"]}
    if parameter.kind == "choice":
        return {"enum": list(parameter.options)}
    kind = "integer" if parameter.kind == "int" else "number"
    return {"type": kind, "minimum": parameter.low, "maximum": parameter.high}


def _entry(trainable: str, name: str, parameter: Parameter) -> Schema:
    """Return what may stand after a parameter's name: a value, or one way of searching it."""
    value, when = _reference(trainable, name), _reference(trainable, "when")
    extra = {"when": when, "default": value}
    options = {"type": "array", "items": value, "minItems": 2, "uniqueItems": True}
    ways = [value, _mapping(value=value, when=when), _mapping(choice=options, **extra)]
    if parameter.kind in ("float", "int"):
        step = {"type": _value(parameter)["type"], "exclusiveMinimum": 0}
        ends = {"type": "array", "items": value, "minItems": 2, "maxItems": 2}
        numbers: Schema = {parameter.kind: ends, "log": {"type": "boolean"}, "step": step}
        ways.append(_mapping(**numbers, **extra))
    return {"description": _describe(parameter), "anyOf": ways}


def _mapping(**properties: Schema) -> Schema:
    """Return the schema of a mapping whose first property is required."""
    required = [next(iter(properties))]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _describe(parameter: Parameter) -> str:
    default = parameter.default
    shown = str(default).lower() if isinstance(default, bool) else default
    unit = f" {parameter.unit}" if parameter.unit else ""
    between = "" if parameter.low is None else f" From {parameter.low} to {parameter.high}{unit}."
    return f"{parameter.doc}{between} Default: {shown}{unit}."


def _without_nulls(value: Any) -> Any:
    """Drop `default: null`: it says nothing, and editors would complete it."""
    if isinstance(value, dict):
        return {
            key: _without_nulls(item)
            for key, item in value.items()
            if not (key == "default" and item is None)
        }
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
