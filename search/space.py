"""What is searched: numbers, choices and fixed values, some only `when:` others have a value.

Optuna is never imported: `Space.suggest` talks to anything with `suggest_float`, `suggest_int` and
`suggest_categorical`. Everything pickles, so that a study can send its space to a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from search.ranges import grid, is_number, is_one_of, on_grid, range_faults, same

When = Mapping[str, tuple[Any, ...]]
"""Parent parameter -> the values of it that switch this one on; all parents must agree."""


class SuggestingTrial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...


def _refuse(name: str, faults: Iterable[tuple[str, str]]) -> None:
    text = " ".join(f"{name}.{attribute}: {sentence}" for attribute, sentence in faults)
    if text:
        raise ValueError(text)


@dataclass(frozen=True)
class Float:
    """A number between two ends, both included."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: When = field(default_factory=dict)
    default: float | None = None

    def __post_init__(self) -> None:
        _refuse(self.name, range_faults(self.low, self.high, self.log, self.step))

    @property
    def first(self) -> float:
        return self.low

    @property
    def values(self) -> tuple[float, ...] | None:
        """Every value, None when there is no end of them."""
        return None if self.step is None else grid(self.low, self.high, self.step)

    def suggest(self, trial: SuggestingTrial) -> float:
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return bool(abs(steps - round(steps)) < 1e-8)

    def nearest(self, value: Any) -> float | None:
        """Return the value of the range nearest to a number, None for anything else."""
        if not is_number(value):
            return None
        if self.step is None:
            return min(max(float(value), self.low), self.high)
        return on_grid(value, self.low, self.high, self.step)


@dataclass(frozen=True)
class Int:
    """A whole number between two ends, both included."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int | None = None
    when: When = field(default_factory=dict)
    default: int | None = None

    def __post_init__(self) -> None:
        _refuse(self.name, range_faults(self.low, self.high, self.log, self.step))

    @property
    def first(self) -> int:
        return self.low

    @property
    def values(self) -> Sequence[int]:
        """Every value, smallest first."""
        return range(self.low, self.high + 1, self.step or 1)

    def suggest(self, trial: SuggestingTrial) -> int:
        return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return bool((value - self.low) % (self.step or 1) == 0)

    def nearest(self, value: Any) -> int | None:
        """Return the value of the range nearest to a number, None for anything else."""
        if not is_number(value):
            return None
        return int(on_grid(value, self.low, self.high, self.step or 1))


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    options: tuple[Any, ...]
    when: When = field(default_factory=dict)
    default: Any = None

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"{self.name}.choice: must have options, got none.")

    @property
    def first(self) -> Any:
        return self.options[0]

    @property
    def values(self) -> tuple[Any, ...]:
        return self.options

    def suggest(self, trial: SuggestingTrial) -> Any:
        return trial.suggest_categorical(self.name, list(self.options))

    def contains(self, value: Any) -> bool:
        return is_one_of(value, self.options)

    def nearest(self, value: Any) -> Any:
        """Return the option equal to a value, None when there is none."""
        return next((option for option in self.options if same(option, value)), None)


@dataclass(frozen=True)
class Fixed:
    """A value that every trial shares: not searched."""

    name: str
    value: Any
    when: When = field(default_factory=dict)

    @property
    def default(self) -> Any:
        return self.value

    @property
    def first(self) -> Any:
        return self.value

    @property
    def values(self) -> tuple[Any, ...]:
        return (self.value,)

    def suggest(self, trial: SuggestingTrial) -> Any:
        return self.value

    def contains(self, value: Any) -> bool:
        return same(value, self.value)

    def nearest(self, value: Any) -> Any:
        return self.value


SpaceParameter = Float | Int | Choice | Fixed


def parents_first(
    parameters: Mapping[str, SpaceParameter],
) -> tuple[tuple[SpaceParameter, ...], tuple[str, ...]]:
    """Order parameters so that each comes after those its `when` names, else as given.

    Returns:
        The ordered parameters, and the names left over because they wait for one another or for
        a name that is not there.
    """
    waiting, ordered = dict(parameters), dict[str, SpaceParameter]()
    while ready := [p for p in waiting.values() if all(parent in ordered for parent in p.when)]:
        ordered[ready[0].name] = waiting.pop(ready[0].name)
    return tuple(ordered.values()), tuple(waiting)


@dataclass(frozen=True)
class Space:
    """All parameters of a study, parents before children.

    Raises:
        ValueError: Two parameters share a name, or a `when` names an unknown one or itself.
    """

    parameters: tuple[SpaceParameter, ...]

    def __post_init__(self) -> None:
        named = {parameter.name: parameter for parameter in self.parameters}
        if len(named) != len(self.parameters):
            raise ValueError("space: every name must be unique.")
        ordered, stuck = parents_first(named)
        if stuck:
            raise ValueError(
                f"space: when of {', '.join(stuck)} is circular or names no parameter."
            )
        object.__setattr__(self, "parameters", ordered)

    @property
    def searched(self) -> tuple[str, ...]:
        """Names whose value differs between trials."""
        return tuple(p.name for p in self.parameters if not isinstance(p, Fixed))

    @property
    def num_configurations(self) -> int | None:
        """How many different points there are, None when a number is continuous."""
        return self._count(0, {})

    def suggest(self, trial: SuggestingTrial) -> dict[str, Any]:
        """Ask a trial for every active parameter; inactive ones are absent, fixed ones included."""
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if _holds(parameter.when, params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def complete(self, partial: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Fill a partial point, so that every active parameter has a value of its domain.

        Args:
            partial: Values to keep; a number outside its range moves to the nearest end.
            recipe: Defaults of the trainable, used where the space names no default of its own.

        Returns:
            Active parameters only, fixed ones included.
        """
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if _holds(parameter.when, params):
                wishes = (
                    partial.get(parameter.name),
                    parameter.default,
                    recipe.get(parameter.name),
                )
                fitting = (parameter.nearest(wish) for wish in wishes if wish is not None)
                params[parameter.name] = next(
                    (value for value in fitting if value is not None), parameter.first
                )
        return params

    def possible_values(self, name: str, default: Any) -> tuple[Any, ...]:
        """Return every value a name can have, of a choice, a whole or a fixed number.

        Args:
            default: Its value where it is left out, or not active.
        """
        parameter = next((p for p in self.parameters if p.name == name), None)
        if parameter is None:
            return (default,)
        values = tuple(parameter.values or ())
        return (*values, default) if parameter.when and default not in values else values

    def backbones_with(self, name: str) -> tuple[str, ...]:
        """Return the backbones that a number other than 0 can come with."""
        parameter = next((p for p in self.parameters if p.name == name), None)
        if parameter is None or parameter.values == (0,):
            return ()
        return tuple(parameter.when.get("backbone", self.possible_values("backbone", "")))

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Tell whether a parameter does anything at a point, its parents' conditions included."""
        when = next(p.when for p in self.parameters if p.name == name)
        return _holds(when, params) and all(self.is_active(parent, params) for parent in when)

    def _count(self, position: int, params: dict[str, Any]) -> int | None:
        if position == len(self.parameters):
            return 1
        parameter = self.parameters[position]
        if not _holds(parameter.when, params):
            return self._count(position + 1, params)
        if parameter.values is None:
            return None
        # Only values that some `when` mentions lead to different children; the others count alike.
        mentioned = {v for p in self.parameters for v in p.when.get(parameter.name, ())}
        telling = [value for value in mentioned if parameter.contains(value)]
        groups = [(value, 1) for value in telling]
        if rest := len(parameter.values) - len(telling):
            groups.append((None, rest))
        total = 0
        for value, weight in groups:
            below = self._count(position + 1, params | {parameter.name: value})
            if below is None:
                return None
            total += weight * below
        return total


def _holds(when: When, params: Mapping[str, Any]) -> bool:
    return all(
        parent in params and is_one_of(params[parent], values) for parent, values in when.items()
    )
