"""What can be said of one searchable name. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class AnyBut:
    """A condition met by every value except these."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter:
    """One searchable name.

    Attributes:
        kind: "float", "int", "choice", or "backbone" (any timm model name).
        default: Value of the default recipe, and of every trial whose space leaves the name out.
        low, high: Inclusive range of a number.
        options: Allowed values of a choice; of a backbone, those beside the timm names.
        applies_when: Other parameter -> values (or AnyBut) without which this one does nothing.
        unit: Of the number, "" for a plain one.
        doc: One sentence, with the source of the default or method.
    """

    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    options: tuple[Any, ...] = ()
    applies_when: Mapping[str, tuple[Any, ...] | AnyBut] = field(default_factory=dict)
    unit: str = ""
    doc: str = ""
