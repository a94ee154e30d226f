"""Check the points of `start_with` against the space, and drop those an override ruled out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.accept import value_fault
from search.findings import Finding, got, listed, show, unknown_name
from search.space import Space
from search.space_check import domain_text
from search.trainable_table import TRAINABLE, parameter_table, tables_for
from trainables.parameters import default_params


def check_start(
    entries: Sequence[Mapping[str, Any]], space: Space | None, trainables: Sequence[str]
) -> list[Finding]:
    """Check the `start_with` part: names and values of the space, each with an effect.

    Args:
        space: None when it has findings itself: then only the trainables' tables are asked.
        trainables: Those of the study; a point is of the first one unless it names another.
    """
    known = parameter_table(trainables)
    found = []
    for number, entry in enumerate(entries):
        trainable = entry.get(TRAINABLE, trainables[0])
        recipe = default_params(trainable if trainable in trainables else trainables[0])
        for name, value in entry.items():
            if name not in known:
                names = list(known) if space is None else [p.name for p in space.parameters]
                text = unknown_name(name, names)
            else:
                tables = tables_for(name, {TRAINABLE: trainable}, trainables)
                text = value_fault(next(iter(tables.values()), known[name]), value)
                if not text and space is not None:
                    text = _start_fault(name, entry, space, recipe)
            if text:
                found.append(Finding(f"start_with[{number}].{name}", text))
    return found


def _start_fault(
    name: str, entry: Mapping[str, Any], space: Space, recipe: Mapping[str, Any]
) -> str:
    domain = {parameter.name: parameter for parameter in space.parameters}
    if name not in domain:
        return "must be a parameter in space, got none of that name. Add it there, or leave it out."
    if not domain[name].contains(entry[name]):
        text = f"must be {domain_text(domain[name])}, {got(entry[name])}."
        return f"{text} Change it, or the parameter in space."
    if name in space.complete(entry, recipe):
        return ""
    conditions = " and ".join(
        f"{parent} is {listed(values)}" for parent, values in domain[name].when.items()
    )
    text = f"must be given only where {conditions}, got {show(entry[name])}."
    return f"{text} Leave it out, or give its condition too."


def narrow_start(
    start: Sequence[Mapping[str, Any]],
    space: Space,
    changed: Collection[str],
    left_out: Collection[str],
) -> list[dict[str, Any]]:
    """Leave out what overrides made impossible in `start_with`.

    Args:
        changed: Parameters an override set: a point whose value of one is not in its domain goes.
        left_out: Parameters that are not in the space any more: their values go.
    """
    domain = {parameter.name: parameter for parameter in space.parameters}
    points = []
    for entry in start:
        point = {name: value for name, value in entry.items() if name not in left_out}
        if point and all(
            domain[n].contains(point[n]) for n in changed if n in point and n in domain
        ):
            points.append(point)
    return points
