"""Points of a space: whether two are the same, and which ones there are. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from search.space import Fixed, Float, Space, SpaceParameter

PointKey = tuple[tuple[str, str], ...]
"""Name and value of every searched parameter that is active."""


def point_key(space: Space, params: Mapping[str, Any]) -> PointKey:
    """Return what two params share when they are the same point: equal where they are active."""
    active = [p for p in space.parameters if p.name in params and not isinstance(p, Fixed)]
    # `nearest` names a value of a grid alike, whichever sum of floats led there.
    return tuple((p.name, repr(p.nearest(params[p.name]))) for p in active)


def points(space: Space, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield every point of a space, one after the other.

    A continuous parameter has no end of values: each point gets one, drawn at random.
    """
    yield from _points(space, rng, 0, {})


def _points(
    space: Space, rng: random.Random, position: int, params: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if position == len(space.parameters):
        yield params
        return
    parameter = space.parameters[position]
    if not space.is_active(parameter.name, params):
        yield from _points(space, rng, position + 1, params)
        return
    for value in parameter.values or (_draw(parameter, rng),):
        yield from _points(space, rng, position + 1, params | {parameter.name: value})


def random_point(space: Space, rng: random.Random) -> dict[str, Any]:
    """Return a point, every value of a parameter as likely as any other."""
    params: dict[str, Any] = {}
    for parameter in space.parameters:
        if space.is_active(parameter.name, params):
            values = parameter.values
            params[parameter.name] = rng.choice(values) if values else _draw(parameter, rng)
    return params


def _draw(parameter: SpaceParameter, rng: random.Random) -> float:
    assert isinstance(parameter, Float), "everything else has values to count"
    if parameter.log:
        return math.exp(rng.uniform(math.log(parameter.low), math.log(parameter.high)))
    return rng.uniform(parameter.low, parameter.high)
