"""Which parameters of a space can ever be active, and which would be searched without an effect."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from search.findings import Finding, listed
from search.ranges import is_one_of
from search.space import Fixed, SpaceParameter
from search.trainable_table import TRAINABLE, defaults
from trainables.parameters import AnyBut, Parameter

Parameters = Mapping[str, SpaceParameter]


def idle_findings(
    parameters: Parameters, known: Mapping[str, Parameter], unread: Collection[str]
) -> list[Finding]:
    """Find parameters that are never active, or that would be searched without an effect.

    Args:
        parameters: A space without cycles.
        known: The trainables' table; `applies_when` tells where a parameter has an effect.
        unread: Names that have findings of their own: nothing can be said of what hangs on them.
    """
    found = []
    for name, parameter in parameters.items():
        if any(other in unread for other in _depends_on(name, parameters, known)):
            continue
        if not _reachable(name, parameters):
            text = "can never hold with the values that space gives. Change it, or remove the name."
            found.append(Finding(f"space.{name}.when", text))
            continue
        for other, good, bad in _effects(name, parameters, known):
            text = f"has no effect when {other} is {listed(bad)}"
            if not good:
                found.append(Finding(f"space.{name}", f"{text}, as it always is here. Remove it."))
                break
            if not isinstance(parameter, Fixed):
                allowed = listed(good) if len(good) == 1 else f"[{listed(good)}]"
                text += f". Add when: {{{other}: {allowed}}}."
            else:
                continue
            found.append(Finding(f"space.{name}", text))
    return found


def _depends_on(name: str, parameters: Parameters, known: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield the parameters that decide whether this one is active and has an effect."""
    yield from _conditions(name, parameters)
    for other in known[name].applies_when:
        yield other
        yield from _conditions(other, parameters)


def remove_idle(
    parameters: dict[str, SpaceParameter],
    known: Mapping[str, Parameter],
    removable: Collection[str],
) -> None:
    """Take out removable parameters that nowhere have an effect, and what hangs on them."""
    while idle := [
        name
        for name in parameters
        if name in removable and not _can_matter(name, parameters, known)
    ]:
        for name in idle:
            del parameters[name]


def _can_matter(name: str, parameters: Parameters, known: Mapping[str, Parameter]) -> bool:
    return _reachable(name, parameters) and all(
        good for _, good, _ in _effects(name, parameters, known)
    )


def _reachable(name: str, parameters: Parameters) -> bool:
    return all(
        parent in parameters and any(parameters[parent].contains(value) for value in values)
        for parent, values in _conditions(name, parameters).items()
    )


def _effects(
    name: str, parameters: Parameters, known: Mapping[str, Parameter]
) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each parameter this one's effect hangs on, its good values here and its bad ones."""
    for other, needed in known[name].applies_when.items():
        values = _values_while(name, other, parameters, known)
        if values is not None:
            good = [value for value in values if _meets(value, needed)]
            bad = [value for value in values if not _meets(value, needed)]
            if bad:
                yield other, good, bad


def _meets(value: Any, needed: tuple[Any, ...] | AnyBut) -> bool:
    if isinstance(needed, AnyBut):
        return not is_one_of(value, needed.values)
    return is_one_of(value, needed)


def _conditions(name: str, parameters: Parameters) -> dict[str, list[Any]]:
    """Return all that must hold while a parameter is active: its `when` and its ancestors'."""
    result: dict[str, list[Any]] = {}
    for parent, values in parameters[name].when.items() if name in parameters else ():
        sources = [(parent, list(values)), *_conditions(parent, parameters).items()]
        for key, allowed in sources:
            result[key] = [v for v in allowed if is_one_of(v, result.get(key, allowed))]
    return result


def _values_while(
    active: str, other: str, parameters: Parameters, known: Mapping[str, Parameter]
) -> Sequence[Any] | None:
    """Return the values `other` can have while `active` is active; None when it is continuous."""
    conditions = _conditions(active, parameters)
    trainables = conditions.get(TRAINABLE) or list(parameters[TRAINABLE].values or ())
    if other not in parameters:
        return defaults(other, trainables)
    values = parameters[other].values
    if values is None:
        return None
    if other in conditions:
        return [value for value in values if is_one_of(value, conditions[other])]
    for parent, allowed in parameters[other].when.items():
        possible = _values_while(active, parent, parameters, known)
        if possible is None or not all(is_one_of(value, allowed) for value in possible):
            # Where `other` is inactive, the trainable uses its default.
            return [*values, *defaults(other, trainables)]
    return values
