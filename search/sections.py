"""The sections of a space file other than `dataset` and `space`: names, ranges, defaults.

Each description and example is used three times: by readers, by error messages, by the JSON Schema.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from search.ranges import is_number
from search.rungs import rung_epochs

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")

Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]


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


def or_none(text: dict[str, str]) -> WithJsonSchema:
    """Describe a number above 0, nothing, or such a text."""
    number = {"type": "number", "exclusiveMinimum": 0}
    return WithJsonSchema({"anyOf": [text, number, {"type": "null"}]})


def _auto_or(rule: str, *, whole: bool, low: float) -> BeforeValidator:
    """Accept "auto" or a number; pydantic's own unions would report one problem per member."""

    def check(value: Any) -> Any:
        is_kind = is_number(value) and (not whole or isinstance(value, int))
        if value == "auto" or (is_kind and value >= low):
            return value
        raise ValueError(f"must be auto or {rule}")

    return BeforeValidator(check)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Metric = Literal["val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss"]
Direction = Literal["maximize", "minimize"]


class ObjectiveConfig(Section):
    """What makes one trial better than another."""

    metric: Metric = Field(default="val_accuracy", description="Figure of the best epoch.")
    direction: Direction = Field(
        default=cast(Direction, None),
        validate_default=True,
        description="Follows from the metric; may be left out.",
    )

    @field_validator("direction", mode="before")
    @classmethod
    def _agree_with_the_metric(cls, value: Any, info: ValidationInfo) -> Any:
        metric = info.data.get("metric", "")
        expected = "minimize" if metric.endswith("_loss") else "maximize"
        if metric and value in ("maximize", "minimize") and value != expected:
            raise ValueError(f"must be {expected} for {metric}")
        return expected if value is None else value


class BudgetConfig(Section):
    """How much may be spent, and how early ASHA may stop a trial."""

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
    reduction_factor: Whole = Field(
        default=3,
        ge=2,
        le=100,
        description="One in this many trials goes on at each rung.",
        examples=[3],
    )
    min_epochs: Annotated[
        int,
        _auto_or("a whole number of epochs >= 1", whole=True, low=1),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(
        default=cast(int, "auto"),
        validate_default=True,
        description="Epochs every trial gets before ASHA may stop it: the first rung.",
        examples=["auto"],
    )
    brackets: Whole = Field(
        default=1,
        ge=1,
        le=10,
        description="Ladders of rungs; each starts one rung later.",
        examples=[1],
    )
    time_limit: Annotated[
        float | None,
        BeforeValidator(parse_seconds),
        or_none({"type": "string"}),
    ] = Field(
        default=None,
        description="Wall time of the search: none, 90s, 20m, 1h30m or seconds.",
        examples=["20m"],
    )

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


class ResourcesConfig(Section):
    """What one trial may use, and how many may train at once."""

    cpus: Number = Field(default=1.0, gt=0, le=1024, description="CPUs of a trial.", examples=[1])
    gpus: Annotated[
        float | Literal["auto"],
        _auto_or("a number of GPUs >= 0", whole=False, low=0),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "number", "minimum": 0}]}),
    ] = Field(default="auto", description="GPUs of a trial, or a share of one.", examples=["auto"])
    max_concurrent: Annotated[
        int | Literal["auto"],
        _auto_or("a whole number of trials >= 1", whole=True, low=1),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(default="auto", description="Trials training at once.", examples=["auto"])

    @field_validator("gpus")
    @classmethod
    def _share_only_one(cls, value: float | Literal["auto"]) -> float | Literal["auto"]:
        if value != "auto" and value > 1 and value != int(value):
            raise ValueError("must be a share below 1, or a whole number of GPUs")
        return value


class ConfirmConfig(Section):
    """Training the best again with fresh seeds before one is chosen."""

    top_k: Whole = Field(default=3, ge=1, le=100, description="Finalists.", examples=[3])
    num_seeds: Whole = Field(
        default=3,
        ge=0,
        le=100,
        description="Fresh seeds of each; 0 skips confirming.",
        examples=[3],
    )


class ReportConfig(Section):
    """What the report shows."""

    cam_images: Whole = Field(
        default=12, ge=0, le=1000, description="Test images explained by Grad-CAM.", examples=[12]
    )
