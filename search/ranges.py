"""Arithmetic of a parameter's values: equality, ranges and grids."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

MAX_STEPS = 10_000


def same(one: Any, other: Any) -> bool:
    """Compare values of a space: true is not 1, but 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_one_of(value: Any, options: Iterable[Any]) -> bool:
    """Tell whether a value is among the options."""
    return any(same(value, option) for option in options)


def range_faults(low: float, high: float, log: bool, step: float | None) -> list[tuple[str, str]]:
    """List what is wrong with a range: the attribute and a sentence; empty for a good one."""
    if not low < high:
        return [("low", f"must be < high ({high}), got {low}. Write the smaller number first.")]
    faults = []
    if log and low <= 0:
        advice = "Use a small positive number such as 1.0e-5."
        faults.append(("low", f"must be > 0 when log is true, got {low}. {advice}"))
    if step is None:
        return faults
    if log:
        faults.append(("step", f"must not be given with log, got {step}. Leave out one of them."))
        return faults
    width = Decimal(str(high)) - Decimal(str(low))
    if not 0 < Decimal(str(step)) <= width:
        faults.append(("step", f"must be > 0 and <= high - low, got {step}. Use another step."))
    elif width / Decimal(str(step)) > MAX_STEPS:
        faults.append(("step", f"must fit at most {MAX_STEPS} times, got {step}. Leave it out."))
    elif width % Decimal(str(step)):
        last = on_grid(high, low, high, step)
        faults.append(
            ("step", f"must lead from low to high, got {step}. Use {last:g} as the high end.")
        )
    return faults


def on_grid(value: float, low: float, high: float, step: float) -> float:
    """Return the value of low, low + step, … <= high that is nearest."""
    start, width = Decimal(str(low)), Decimal(str(step))
    last = int((Decimal(str(high)) - start) // width)
    number = round((Decimal(str(min(max(value, low), high))) - start) / width)
    return float(start + min(number, last) * width)


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number; a whole number too large for a float is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def grid(low: float, high: float, step: float) -> tuple[float, ...]:
    """Return low, low + step, … high, without the drift of adding floats."""
    start, width = Decimal(str(low)), Decimal(str(step))
    count = int((Decimal(str(high)) - start) / width) + 1
    return tuple(float(start + number * width) for number in range(count))
