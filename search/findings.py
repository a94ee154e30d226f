"""Turn what is wrong with a space file into sentences: where, the rule, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


class Finding(NamedTuple):
    """One problem: the dotted path of the value, and a sentence about it."""

    path: str
    text: str


def show(value: Any) -> str:
    """Write a value as a space file would, cut to one short line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(show, value))}]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def got(value: Any) -> str:
    """Return "got VALUE", with a word on YAML's booleans where text was meant."""
    if isinstance(value, bool):
        words = "yes, on and true" if value else "no, off and false"
        return f"got {show(value)} (YAML reads an unquoted {words} as {show(value)})"
    return f"got {show(value)}"


def listed(options: Iterable[Any]) -> str:
    """Join options for a sentence: `a, b, c`."""
    return ", ".join(option if isinstance(option, str) else show(option) for option in options)


def closest(name: Any, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name most like this one, None when none is alike.

    Args:
        cutoff: Least likeness, 1 for equal names (difflib's ratio).
    """
    names = {option.lower(): option for option in known}
    match = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=cutoff)
    return names[match[0]] if match else None


def did_you_mean(name: Any, known: Sequence[str]) -> str:
    """Return "Did you mean X?", or the known names when none is alike."""
    match = closest(name, known)
    return f"Did you mean {match}?" if match else f"Known: {listed(known)}."


def unknown_name(name: Any, known: Sequence[str]) -> str:
    """Return the sentence for a name that does not exist here."""
    return f"unknown name. {did_you_mean(name, known)}"


def model_findings(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """Rewrite pydantic's errors as findings.

    Args:
        model: The model that was validated; its fields' examples say what to write instead.
    """
    return [
        Finding(_dotted(item["loc"]), _sentence(item, model))
        for item in error.errors(include_url=False)
    ]


def _dotted(path: Sequence[int | str]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_RULES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "model_type": "a section of `name: value` lines",
    "dict_type": "a section of `name: value` lines",
    "tuple_type": "a list",
}


def _sentence(item: Any, model: type[BaseModel]) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    parent, field = _look_up(model, item["loc"])
    example = f" For example {item['loc'][-1]}: {_example(field)}." if _example(field) else ""
    if kind == "extra_forbidden":
        return unknown_name(item["loc"][-1], list(parent.model_fields))
    if kind == "missing":
        return f"must be given, got nothing.{example}"
    if kind == "value_error":
        return f"{context['error']}, {got(value)}.{example}"
    if kind in _BOUNDS:
        key, sign = _BOUNDS[kind]
        return f"must be {sign} {context[key]}, got {show(value)}.{example}"
    if kind == "literal_error":
        options = _literals(field)
        match = closest(value, options)
        advice = f" Did you mean {match}?" if match else ""
        return f"must be one of {listed(options)}, {got(value)}.{advice}"
    if kind == "string_pattern_mismatch" and field and isinstance(field.json_schema_extra, dict):
        return f"must be {field.json_schema_extra['patternErrorMessage']}, {got(value)}.{example}"
    rule = f"must be {_RULES[kind]}" if kind in _RULES else str(item["msg"])
    return f"{rule}, {got(value)}.{example}"


def _look_up(
    model: type[BaseModel], path: Sequence[int | str]
) -> tuple[type[BaseModel], FieldInfo | None]:
    field = None
    for part in path:
        if field is not None:
            if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
                return model, field
            model = field.annotation
        field = model.model_fields.get(str(part))
    return model, field


def _example(field: FieldInfo | None) -> str:
    return str(field.examples[0]) if field is not None and field.examples else ""


def _literals(field: FieldInfo | None) -> list[str]:
    from typing import get_args

    def strings(annotation: Any) -> list[str]:
        if isinstance(annotation, str):
            return [annotation]
        return [text for part in get_args(annotation) for text in strings(part)]

    return strings(field.annotation) if field is not None else []
