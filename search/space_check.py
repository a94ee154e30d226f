"""Read the `space` part of a space file against what the trainables accept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from search.accept import is_step, value_fault
from search.findings import Finding, closest, did_you_mean, got, listed, show, unknown_name
from search.ranges import is_number, is_one_of, range_faults
from search.reach import idle_findings, remove_idle
from search.space import Choice, Fixed, Float, Int, Space, SpaceParameter, When, parents_first
from search.trainable_table import TRAINABLE, parameter_table, tables_for, trainable_parameter
from trainables.parameters import Parameter

KINDS = ("float", "int", "choice", "value")
_KEYS = {
    "float": ("log", "step", "when", "default"),
    "int": ("log", "step", "when", "default"),
    "choice": ("when", "default"),
    "value": ("when",),
}


class _Refused(Exception):
    """A part that cannot be read; the finding is already noted."""


def read_space(
    entries: Mapping[str, Any], trainables: Sequence[str], removable: Collection[str] = ()
) -> tuple[Space | None, list[Finding]]:
    """Read the `space` part.

    Args:
        entries: Name -> fixed value, or a mapping such as {float: [1.0e-4, 1.0e-2], log: true}.
        trainables: Those of the study. Several make `trainable` the space's first parameter.
        removable: Names to leave out, rather than to report, where they can never have an effect.

    Returns:
        The space, None when it has findings; and all the findings.
    """
    known = parameter_table(trainables)
    reader = _Reader(known, trainables, entries)
    parameters: dict[str, SpaceParameter] = {TRAINABLE: trainable_parameter(trainables)}
    for name, entry in entries.items():
        try:
            parameters[name] = reader.parameter(name, entry)
        except _Refused:
            continue
    found = reader.found
    if circular := _cycles(parameters):
        found += circular
    else:
        unread = entries.keys() - parameters.keys()
        remove_idle(parameters, known, () if found else removable)
        found += idle_findings(parameters, known, unread)
    if len(trainables) == 1 and not any(TRAINABLE in p.when for p in parameters.values()):
        del parameters[TRAINABLE]
    if not found and all(isinstance(p, Fixed) for p in parameters.values()):
        advice = "Give one parameter a range, such as lr: {float: [1.0e-4, 1.0e-2], log: true}."
        found = [Finding("space", f"must search something, got only fixed values. {advice}")]
    return (None, found) if found else (Space(tuple(parameters.values())), [])


class _Reader:
    """Reads one entry at a time and notes what is wrong with it."""

    def __init__(
        self, known: Mapping[str, Parameter], trainables: Sequence[str], entries: Mapping[str, Any]
    ) -> None:
        self.known = known
        self.trainables = trainables
        self.entries = entries
        self.found: list[Finding] = []

    def refuse(self, path: str, text: str) -> _Refused:
        self.found.append(Finding(path, text))
        return _Refused()

    def parameter(self, name: str, entry: Any) -> SpaceParameter:
        """Read an entry by the table of every trainable that it is for."""
        path = f"space.{name}"
        if name == TRAINABLE:
            raise self.refuse(path, "must stand at the top of the file. Move it there.")
        if name not in self.known:
            raise self.refuse(path, unknown_name(name, list(self.known)))
        conditions = entry.get("when") if isinstance(entry, dict) else None
        conditions = conditions if isinstance(conditions, dict) else {}
        read: list[SpaceParameter] = []
        content, noted = list[str](), list[Finding]()
        for trainable, table in tables_for(name, conditions, self.trainables).items():
            before = len(self.found)
            with suppress(_Refused):
                read.append(self.read(name, table, entry))
            found, self.found = self.found[before:], self.found[:before]
            noted = noted or found
            content += [] if found else [trainable]
        advice = f" Or add when: {{trainable: {listed(content)}}}." if content else ""
        self.found += [Finding(where, f"{text}{advice}") for where, text in noted]
        if not read or (noted and content):
            raise _Refused
        return read[0]

    def read(self, name: str, table: Parameter, entry: Any) -> SpaceParameter:
        path = f"space.{name}"
        if isinstance(entry, list):
            advice = f"Write {{choice: {show(entry)}}}."
            raise self.refuse(path, f"must be a value or a mapping, got a list. {advice}")
        if not isinstance(entry, dict):
            return Fixed(name, self.value(path, table, entry))
        kind = self.kind(path, entry, table)
        before = len(self.found)
        when = self.when(f"{path}.when", name, entry.get("when", {}))
        read = self.options if kind in ("choice", "value") else self.numbers
        parameter = read(kind, name, table, entry, when)
        if len(self.found) > before:
            raise _Refused
        return parameter

    def kind(self, path: str, entry: Mapping[str, Any], table: Parameter) -> str:
        kinds = [key for key in KINDS if key in entry]
        if len(kinds) != 1:
            unknown = [key for key in entry if key not in _KEYS["float"]]
            guess = next((match for key in unknown if (match := closest(key, KINDS, 0.75))), None)
            advice = f"Did you mean {guess}?" if guess else f"Write {_example(table)}."
            counted = listed(kinds) if kinds else listed(entry) or "nothing"
            raise self.refuse(
                path, f"must have exactly one of {listed(KINDS)}, got {counted}. {advice}"
            )
        allowed = (kinds[0], *_KEYS[kinds[0]])
        for key in entry:
            if key in _KEYS["float"] and key not in allowed:
                text = f"must not be given with {kinds[0]}, got {show(entry[key])}. Leave it out."
                self.refuse(f"{path}.{key}", text)
            elif key not in allowed:
                self.refuse(f"{path}.{key}", unknown_name(key, allowed))
        return kinds[0]

    def options(
        self, kind: str, name: str, table: Parameter, entry: Mapping[str, Any], when: When
    ) -> Choice | Fixed:
        path = f"space.{name}"
        if kind == "value":
            return Fixed(name, self.value(f"{path}.value", table, entry["value"]), when)
        given = entry["choice"]
        if not isinstance(given, list) or len(given) < 2:
            advice = f"Write it as a fixed value: {name}: "
            advice += f"{listed(given) if isinstance(given, list) and given else 'VALUE'}."
            raise self.refuse(
                f"{path}.choice", f"must list two options or more, {got(given)}. {advice}"
            )
        values: list[Any] = []
        for number, option in enumerate(given):
            try:
                value = self.value(f"{path}.choice[{number}]", table, option)
            except _Refused:
                continue
            if is_one_of(value, values):
                text = f"must be listed once, got {show(value)} again. Remove one of them."
                self.refuse(f"{path}.choice[{number}]", text)
            values.append(value)
        if len(values) < len(given):
            raise _Refused
        choice = Choice(name, tuple(values), when)
        return replace(choice, default=self.default(entry, table, choice))

    def numbers(
        self, kind: str, name: str, table: Parameter, entry: Mapping[str, Any], when: When
    ) -> Float | Int:
        path = f"space.{name}"
        if kind != table.kind:
            text = f"must be {'an int' if table.kind == 'int' else f'a {table.kind}'}, got {kind}."
            raise self.refuse(f"{path}.{kind}", f"{text} Write {_example(table)}.")
        pair = entry[kind]
        if not isinstance(pair, list) or len(pair) != 2:
            advice = f"Write {_example(table)}."
            raise self.refuse(f"{path}.{kind}", f"must be [low, high], {got(pair)}. {advice}")
        log, step = entry.get("log", False), entry.get("step")
        before = len(self.found)
        if not isinstance(log, bool):
            self.refuse(f"{path}.log", f"must be true or false, {got(log)}.")
        if step is not None and not is_step(step, kind):
            rule = "a whole number" if kind == "int" else "a finite number"
            self.refuse(f"{path}.step", f"must be {rule}, {got(step)}.")
        low, high = self.ends(path, table, pair, log is True)
        if len(self.found) == before:
            for attribute, text in range_faults(low, high, log, step):
                self.refuse(f"{path}.{attribute}", text)
        if len(self.found) > before:
            raise _Refused
        make: type[Float] | type[Int] = Float if kind == "float" else Int
        bare = make(name, low, high, log, step, when)
        return replace(bare, default=self.default(entry, table, bare))

    def ends(self, path: str, table: Parameter, pair: Sequence[Any], log: bool) -> list[Any]:
        """Read [low, high]; the rule for log goes first, as 0 may be fine without it."""
        ends = []
        for end, value in zip(("low", "high"), pair, strict=True):
            if log and is_number(value) and value <= 0:
                advice = "Use a small positive number such as 1.0e-5."
                self.refuse(
                    f"{path}.{end}", f"must be > 0 when log is true, got {show(value)}. {advice}"
                )
                continue
            try:
                ends.append(self.value(f"{path}.{end}", table, value))
            except _Refused:
                continue
        if len(ends) < 2:
            raise _Refused
        return ends

    def default(self, entry: Mapping[str, Any], table: Parameter, parameter: SpaceParameter) -> Any:
        if "default" not in entry:
            return None
        path = f"space.{parameter.name}.default"
        value = self.value(path, table, entry["default"])
        if not parameter.contains(value):
            text = f"must be {domain_text(parameter)}, {got(value)}. Change it, or the range."
            raise self.refuse(path, text)
        return value

    def when(self, path: str, name: str, conditions: Any) -> When:
        if not isinstance(conditions, dict) or (not conditions and "when" in self.entries[name]):
            text = f"must be `parameter: value` pairs, {got(conditions)}."
            raise self.refuse(path, f"{text} For example {{optimizer: sgd}}.")
        result = {}
        for parent, given in conditions.items():
            if parent not in self.entries and parent != TRAINABLE:
                advice = f"{did_you_mean(parent, list(self.entries))} Or add it to space."
                if parent in self.known:
                    fixed = show(self.known[parent].default)
                    advice = f"Add it to space, or remove this condition: it is always {fixed}."
                self.refuse(f"{path}.{parent}", f"must be a parameter in space. {advice}")
                continue
            if parent not in self.known:
                continue  # already noted at the parameter itself
            values = given if isinstance(given, list) else [given]
            if "float" in _ways(self.entries.get(parent)):
                text = "must be on a choice or a whole number, got a float. Leave it out."
                self.refuse(f"{path}.{parent}", text)
                continue
            if not values:
                self.refuse(f"{path}.{parent}", "must have a value, got none. Leave it out.")
            read = []
            for value in values:
                try:
                    read.append(self.value(f"{path}.{parent}", self.known[parent], value))
                except _Refused:
                    continue
            result[parent] = tuple(read)
        return result

    def value(self, path: str, table: Parameter, value: Any) -> Any:
        """Return a value as the trainable wants it, or note why it does not."""
        fault = value_fault(table, value)
        if fault:
            raise self.refuse(path, fault)
        if table.kind in ("float", "int"):
            return float(value) if table.kind == "float" else int(value)
        return value


def _ways(entry: Any) -> Collection[str]:
    return entry.keys() if isinstance(entry, dict) else ()


def _example(table: Parameter) -> str:
    if table.kind == "backbone":
        return "{choice: [small_cnn, resnet18]}"
    values = table.options[:2] if table.kind == "choice" else (table.low, table.high)
    return f"{{{table.kind}: [{listed(values)}]}}"


def domain_text(parameter: SpaceParameter) -> str:
    """Describe the values a parameter can have, to follow "must be"."""
    if isinstance(parameter, Fixed):
        return f"{show(parameter.value)}, as space fixes it"
    if isinstance(parameter, Choice):
        return f"one of {listed(parameter.options)}"
    step = f" in steps of {parameter.step}" if parameter.step else ""
    return f"in {parameter.low} to {parameter.high}{step}"


def _cycles(parameters: Mapping[str, SpaceParameter]) -> list[Finding]:
    inner = {
        name: p for name, p in parameters.items() if all(parent in parameters for parent in p.when)
    }
    _, stuck = parents_first(inner)
    circular = [name for name in stuck if all(parent in stuck for parent in inner[name].when)]
    return [
        Finding(
            f"space.{name}.when",
            f"must not lead back to itself, got {listed(inner[name].when)}. "
            "Remove one condition of the circle.",
        )
        for name in circular
    ]
