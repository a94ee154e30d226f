"""What studies over one or several trainables can search: the trainables' tables read as one.

`trainable` is itself a parameter there: searched when the study names several, fixed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from search.findings import did_you_mean
from search.ranges import is_one_of
from search.space import Choice, Fixed
from trainables.parameters import TRAINABLES, Parameter

TRAINABLE = "trainable"
DEFAULT_TRAINABLE = "classifier"


def read_trainables(value: Any) -> tuple[str, ...]:
    """Read `trainable:` of a space file: a name, or a list of names.

    Raises:
        ValueError: It holds an unknown name, one name twice, or none.
    """
    given = tuple(value) if isinstance(value, list | tuple) else (value,)
    for name in given:
        if not isinstance(name, str) or name not in TRAINABLES:
            raise ValueError(f"must be a trainable ({did_you_mean(name, list(TRAINABLES))})")
    if not given or len(set(given)) < len(given):
        raise ValueError("must be a trainable, or a list of different ones")
    return given


def _one_or_several(value: Any) -> str | tuple[str, ...]:
    names = read_trainables(value)
    return names if len(names) > 1 else names[0]


_ONE = {"enum": list(TRAINABLES)}
_SEVERAL = {"type": "array", "items": _ONE, "minItems": 1, "uniqueItems": True}
OneOrSeveral = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_one_or_several),
    WithJsonSchema({"anyOf": [_ONE, _SEVERAL]}),
]
"""The type of `trainable:` in a space file."""


def trainable_parameter(trainables: Sequence[str]) -> Choice | Fixed:
    """Return `trainable` as the space has it."""
    if len(trainables) > 1:
        return Choice(TRAINABLE, tuple(trainables))
    return Fixed(TRAINABLE, trainables[0])


def parameter_table(trainables: Sequence[str]) -> dict[str, Parameter]:
    """Return every name that any trainable knows, as a study over these ones may use it.

    A name that not all trainables know depends on `trainable`, so the space check refuses it where
    it would have no effect. One that several know is described as the first of them has it.
    """
    order = (*trainables, *(name for name in TRAINABLES if name not in trainables))
    table = {TRAINABLE: Parameter("choice", order[0], options=order, doc="What is trained.")}
    for trainable in order:
        for name, parameter in TRAINABLES[trainable].items():
            owners = tuple(owner for owner in order if name in TRAINABLES[owner])
            needed = dict(parameter.applies_when)
            if len(owners) < len(order):
                needed = {TRAINABLE: owners, **needed}
            table.setdefault(name, replace(parameter, applies_when=needed))
    return table


def tables_for(
    name: str, conditions: Mapping[str, Any], trainables: Sequence[str]
) -> dict[str, Parameter]:
    """Return what each trainable says of a parameter: those of the study that it can be for.

    Args:
        conditions: Its `when:`, or a point it belongs to; its `trainable` is one name or several.
    """
    wanted = conditions.get(TRAINABLE, list(trainables))
    wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
    owners = [owner for owner in TRAINABLES if name in TRAINABLES[owner]]
    chosen = [owner for owner in trainables if owner in owners and is_one_of(owner, wanted)]
    return {owner: TRAINABLES[owner][name] for owner in chosen or owners}


def defaults(name: str, trainables: Iterable[str]) -> list[Any]:
    """Return the values that a parameter can have where space leaves it out."""
    found: list[Any] = []
    for trainable in trainables:
        table = TRAINABLES[trainable]
        if name in table and not is_one_of(table[name].default, found):
            found.append(table[name].default)
    return found
