"""The `budget` section of a space file: how much may be spent, and on which trials."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from search.findings import Finding
from search.ranges import is_number
from search.rungs import rung_epochs
from search.sections import Section, Whole, auto_or, count_or_none, or_none

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")

WITHOUT_EFFECT = {
    "hyperband": ("brackets",),
    "median": ("reduction_factor", "brackets"),
    "none": ("min_epochs", "reduction_factor", "brackets"),
}
"""Scheduler -> the settings of a budget that it does not read."""


def _refuse_pbt(value: Any) -> Any:
    if value == "pbt":
        raise ValueError(
            "must be asha, hyperband, median or none: population-based training changes the "
            "parameters of a trial while it trains, and leaves no one configuration to confirm and "
            "retrain; what it would find out, how lr should change, is searched as `schedule`"
        )
    return value


def auto_min_epochs(max_epochs: int, reduction_factor: int) -> int:
    """Return the first rung for `min_epochs: auto`, in epochs.

    Two rungs below the top where the epochs allow it, such as 3, 9 under 27 with factor 3.
    """
    return max(1, max_epochs // reduction_factor**2)


def parse_seconds(value: Any) -> float | None:
    """Read a time limit: none, 90s, 20m, 1h30m or a number of seconds.

    Raises:
        ValueError: It is none of these, or not above 0.
    """
    if value is None or value == "none":
        return None
    seconds = float(value) if is_number(value) else 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.replace(" ", ""))):
        parts = zip(_SECONDS.values(), match.groups(), strict=True)
        seconds = sum(unit * float(number) for unit, number in parts if number)
    if not 0 < seconds < float("inf"):
        raise ValueError("must be none, or a time above 0 such as 90s, 20m, 1h30m")
    return seconds


class BudgetConfig(Section):
    """How much may be spent, and how early a trial may be stopped."""

    num_trials: Whole = Field(
        default=24, ge=1, le=100_000, description="Configurations to try.", examples=[24]
    )
    max_epochs: Whole = Field(
        default=12,
        ge=1,
        le=10_000,
        description="Epochs of a trial that is never stopped.",
        examples=[12],
    )
    scheduler: Annotated[
        Literal["asha", "hyperband", "median", "none"], BeforeValidator(_refuse_pbt)
    ] = Field(
        default="asha",
        description="asha compares trials at a few epochs and lets the best go on, hyperband lets "
        "some trials start late or never to be compared, median stops a trial below the median of "
        "the others, none stops no trial.",
        examples=["asha"],
    )
    reduction_factor: Whole = Field(
        default=3,
        ge=2,
        le=100,
        description="One in this many trials goes on at each rung.",
        examples=[3],
    )
    min_epochs: Annotated[
        int,
        auto_or("a whole number of epochs >= 1", whole=True, low=1),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(
        default=cast(int, "auto"),
        validate_default=True,
        description="Epochs every trial gets before it may be stopped: the first rung.",
        examples=["auto"],
    )
    brackets: Whole = Field(
        default=1,
        ge=1,
        le=10,
        description="Ladders of rungs; each starts one rung later.",
        examples=[1],
    )
    total_epochs: Annotated[int | None, *count_or_none(1)] = Field(
        default=None,
        description="No trial starts after this many epochs of all trials together, or none.",
        examples=[100],
    )
    plateau_trials: Annotated[int | None, *count_or_none(1)] = Field(
        default=None,
        description="No trial starts after this many ended without a new best one, or none.",
        examples=[12],
    )
    time_limit: Annotated[
        float | None,
        BeforeValidator(parse_seconds),
        or_none({"type": "string"}),
    ] = Field(
        default=None,
        description="Wall time of one command, report included; a study that goes on gets it anew: "
        "none, 90s, 20m, 1h30m or seconds.",
        examples=["20m"],
    )

    @property
    def size(self) -> tuple[int | None, ...]:
        """What decides when a search is done; with more of it, one that is done goes on."""
        return self.num_trials, self.total_epochs, self.plateau_trials

    @field_validator("min_epochs", mode="before")
    @classmethod
    def _resolve_auto(cls, value: Any, info: ValidationInfo) -> Any:
        max_epochs = info.data.get("max_epochs", 0)
        if value == "auto":
            return auto_min_epochs(max_epochs, info.data.get("reduction_factor", 3))
        if max_epochs and is_number(value) and value > max_epochs:
            raise ValueError(f"must be <= max_epochs ({max_epochs})")
        return value

    @field_validator("brackets")
    @classmethod
    def _have_a_rung_each(cls, value: int, info: ValidationInfo) -> int:
        names = ("min_epochs", "max_epochs", "reduction_factor")
        if all(name in info.data for name in names):
            rungs = max(1, len(rung_epochs(*(info.data[name] for name in names))))
            if value > rungs:
                raise ValueError(f"must be <= the number of rungs below max_epochs ({rungs})")
        return value


def narrow_budget(budget: Any, keys: Sequence[str]) -> None:
    """Leave out what a scheduler named by an override does not read.

    Args:
        budget: The section as it was read; changed in place.
        keys: Dotted keys that were overridden; what these set is kept.
    """
    if "budget.scheduler" in keys and isinstance(budget, dict):
        for name in WITHOUT_EFFECT.get(str(budget["scheduler"]), ()):
            if f"budget.{name}" not in keys:
                budget.pop(name, None)


def check_budget(budget: BudgetConfig) -> list[Finding]:
    """Check that the scheduler reads what was given; a default written out does no harm."""
    plain = BudgetConfig(max_epochs=budget.max_epochs)
    return [
        Finding(
            f"budget.{name}",
            f"has no effect when scheduler is {budget.scheduler}, got {getattr(budget, name)}. "
            "Remove it.",
        )
        for name in WITHOUT_EFFECT.get(budget.scheduler, ())
        if name in budget.model_fields_set and getattr(budget, name) != getattr(plain, name)
    ]
