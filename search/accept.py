"""Check one value against the trainable's table of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.findings import closest, got, listed, show
from search.ranges import is_number, is_one_of
from trainables.parameters import OWN_BACKBONES, Parameter


def value_fault(table: Parameter, value: Any) -> str:
    """Say why a parameter cannot have this value, "" when it can."""
    if table.kind == "backbone":
        return _backbone_fault(value, table.options)
    if table.kind == "choice":
        return _option_fault(value, table.options)
    return _number_fault(value, table)


def is_step(value: Any, kind: str) -> bool:
    """Tell whether a value can be the step of a float or an int."""
    return is_number(value) and (kind == "float" or value == int(value))


def _option_fault(value: Any, options: Sequence[Any]) -> str:
    if is_one_of(value, options):
        return ""
    match = closest(value, [option for option in options if isinstance(option, str)])
    advice = f" Did you mean {match}?" if match and isinstance(value, str) else ""
    if isinstance(value, bool):
        advice = " Put the word in quotes if you mean it."
    return f"must be one of {listed(options)}, {got(value)}.{advice}"


def _number_fault(value: Any, table: Parameter) -> str:
    whole = table.kind == "int"
    rule = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be {rule}, {got(value)}. For example {show(table.default)}."
    if not is_number(value) or (whole and value != int(value)):
        rule = "a whole number" if whole else "a finite number"
        return f"must be {rule}, got {value}. For example {show(table.default)}."
    unit = f" {table.unit}" if table.unit else ""
    for sign, bound, bad in (
        (">=", table.low, table.low is not None and value < table.low),
        ("<=", table.high, table.high is not None and value > table.high),
    ):
        if bad:
            between = f"Allowed are {table.low} to {table.high}{unit}."
            return f"must be {sign} {bound}, got {value}. {between}"
    return ""


def _backbone_fault(value: Any, own: Sequence[str]) -> str:
    example = f"For example {' or '.join((*own[:1], 'resnet18'))}."
    if not isinstance(value, str):
        return f"must be the name of a backbone, {got(value)}. {example}"
    if value in own:
        return ""
    from trainables.model_names import timm_model_names

    names = timm_model_names()
    if value.split(".")[0] in names:
        return ""
    match = closest(value.split(".")[0], [*own, *sorted(names)])
    advice = f"Did you mean {match}?" if match and value not in OWN_BACKBONES else example
    rule = f"{', '.join(own)} or a timm model" if own else "a timm model"
    return f"must be {rule}, {got(value)}. {advice}"
