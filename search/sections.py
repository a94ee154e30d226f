"""The smaller sections of a space file, and what all sections are made of: names, ranges, defaults.

Each description and example is used three times: by readers, by error messages, by the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)

from search.ranges import is_number

Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]


def count_or_none(low: int) -> tuple[BeforeValidator, WithJsonSchema]:
    """Accept a whole number from `low` on, or none, and describe it."""

    def check(value: Any) -> int | None:
        if value is None or value == "none":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"must be none, or a whole number >= {low}")
        return value

    number = {"type": "integer", "minimum": low}
    schema = {"anyOf": [{"const": "none"}, number, {"type": "null"}]}
    return BeforeValidator(check), WithJsonSchema(schema)


def parse_gigabytes(value: Any) -> float | None:
    """Read a size of disk: none, or a number of GB.

    Raises:
        ValueError: It is neither, or not above 0.
    """
    if value is None or value == "none":
        return None
    if not is_number(value) or not value > 0:
        raise ValueError("must be none, or a number of GB above 0")
    return float(value)


def or_none(text: dict[str, str]) -> WithJsonSchema:
    """Describe a number above 0, nothing, or such a text."""
    number = {"type": "number", "exclusiveMinimum": 0}
    return WithJsonSchema({"anyOf": [text, number, {"type": "null"}]})


def auto_or(rule: str, *, whole: bool, low: float) -> BeforeValidator:
    """Accept "auto" or a number; pydantic's own unions would report one problem per member."""

    def check(value: Any) -> Any:
        is_kind = is_number(value) and (not whole or isinstance(value, int))
        if value == "auto" or (is_kind and value >= low):
            return value
        raise ValueError(f"must be auto or {rule}")

    return BeforeValidator(check)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SearchConfig(Section):
    """How configurations are proposed."""

    sampler: Literal["tpe", "gp", "random"] = Field(
        default="tpe",
        description="tpe learns from every trial, gp suits few continuous parameters, random none.",
        examples=["tpe"],
    )


class ResourcesConfig(Section):
    """What one trial may use, and how many may train at once."""

    cpus: Number = Field(default=1.0, gt=0, le=1024, description="CPUs of a trial.", examples=[1])
    gpus: Annotated[
        float | Literal["auto"],
        auto_or("a number of GPUs >= 0", whole=False, low=0),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "number", "minimum": 0}]}),
    ] = Field(default="auto", description="GPUs of a trial, or a share of one.", examples=["auto"])
    max_concurrent: Annotated[
        int | Literal["auto"],
        auto_or("a whole number of trials >= 1", whole=True, low=1),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(default="auto", description="Trials training at once.", examples=["auto"])
    disk_gb: Annotated[
        float | None, BeforeValidator(parse_gigabytes), or_none({"const": "none"})
    ] = Field(
        default=None,
        description="Disk that the results may take while the study runs, in GB, or none.",
        examples=[20],
    )

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
    """What the report shows, and what else is written for people to look at."""

    cam_images: Whole = Field(
        default=12, ge=0, le=1000, description="Test images explained by Grad-CAM.", examples=[12]
    )
    tensorboard: bool = Field(
        default=False,
        strict=True,
        description="Write every trial's curves and parameters for TensorBoard, while it trains.",
        examples=[True],
    )
