"""The section `dataset` of a space file: where the photos are and what becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from search.errors import DatasetError
from search.findings import show
from search.sections import (
    Number,
    Section,
    Text,
    Whole,
    count_or_none,
    or_none,
    parse_gigabytes,
)
from search.storage import SCHEMES, is_storage_url, is_url

_MIN_CAP = 10  # images of a class: below, no split can be made of it


def _paths(value: Any) -> tuple[Path, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    bad = [p for p in given if not isinstance(p, str | Path) or not str(p) or "\0" in str(p)]
    if bad or not given:
        raise ValueError("must be a folder or a list of folders")
    if any(is_url(str(path)) for path in given):
        raise ValueError("must be folders, or one URL of s3, gs, abfs, hdfs or file alone")
    try:
        # Path() takes the ./ off ./~, which then is no home folder any more.
        return tuple(
            Path(path).expanduser() if str(path).startswith("~") else Path(path) for path in given
        )
    except RuntimeError:
        raise ValueError("must start with the home folder of a known user after ~") from None


def local_copy(url: str) -> Path:
    """Return where photos at a URL are kept here; no two URLs share a place."""
    path = Path(url.partition("?")[0].rstrip("/"))
    return Path("data") / f"{path.stem}-{hashlib.sha256(url.encode()).hexdigest()[:6]}{path.suffix}"


def _only_url(given: Any) -> str | None:
    one = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
    return one if isinstance(one, str) and is_storage_url(one) else None


def data_roots(flag: str, given: Sequence[str]) -> tuple[Path, ...]:
    """Read the folders, lists and zips that a command line names; a URL is where its copy will be.

    Raises:
        DatasetError: One is empty, as an unset variable of a shell is, or in nobody's home.
    """
    if url := _only_url(list(given)):
        return (local_copy(url),)
    for text in given:
        try:
            _paths(text)
        except ValueError as error:
            raise DatasetError(f"{flag}: {error}, got {show(text)}. Check the path.") from None
    return _paths(list(given)) if given else ()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _new_names(value: Any) -> Any:
    named = isinstance(value, dict) and all(map(_is_name, (*value, *value.values())))
    if not named:
        raise ValueError("must be `name: new name` lines of text; quote numbers, yes and no")
    return value


def _names(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(map(_is_name, value)):
        raise ValueError("must be a list of names; quote numbers, yes and no")
    return value


class ClassesConfig(Section):
    """Which classes the study has, under which names, of how many images."""

    rename: Annotated[dict[str, str], BeforeValidator(_new_names)] = Field(
        default_factory=dict,
        description="New names of classes; several with one new name are merged.",
        examples=["{cane: dog, gatto: cat}"],
    )
    drop: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(),
        description="Classes to leave out, called as they are after renaming.",
        examples=["[spider]"],
    )
    max_images: Annotated[int | None, *count_or_none(_MIN_CAP)] = Field(
        default=None,
        description="Most images used of a class, or none; every seed uses the same ones.",
        examples=[500],
    )

    @field_validator("drop")
    @classmethod
    def _drop_new_names(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        rename = info.data.get("rename", {})
        for name in value:
            if name in rename and name not in rename.values():
                raise ValueError(f"must call {name} as it is after renaming: {rename[name]}")
        return value


class DatasetConfig(Section):
    """Where the photos are and how they become square images."""

    root: Annotated[
        tuple[Path, ...],
        BeforeValidator(_paths),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                ]
            }
        ),
    ] = Field(
        description="Folder with one folder per class, CSV list or .zip of photos; or several; or "
        "a URL such as s3://bucket/photos, which is fetched once.",
        examples=["data/cars"],
    )
    source: Text | None = Field(
        default=None,
        pattern=r"^(kaggle:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|sklearn:digits"
        rf"|({SCHEMES})://.+)$",
        description="Where a missing root is fetched from: kaggle:OWNER/NAME, sklearn:digits or "
        "a URL.",
        json_schema_extra={"patternErrorMessage": "kaggle:OWNER/NAME, sklearn:digits or a URL"},
        examples=["kaggle:alessiocorrado99/animals10"],
    )
    sample: Literal["rendered_cars"] | None = Field(
        default=None, description="Drawn images to go on with when the source cannot be reached."
    )
    size_px: Whole = Field(
        default=128, ge=16, le=512, description="Side of the square images, in px.", examples=[128]
    )
    fit: Literal["crop", "squash", "pad"] = Field(
        default="crop", description="How a photo becomes square: cut, squeezed, or with margins."
    )
    val_fraction: Number = Field(
        default=0.15,
        gt=0,
        le=0.5,
        description="Share held out to compare trials, unless the folders have a val split.",
        examples=[0.15],
    )
    test_fraction: Number = Field(
        default=0.15,
        gt=0,
        le=0.5,
        description="Share held out to judge the winner, unless the folders have a test split.",
        examples=[0.15],
    )
    max_dropped: Number = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Largest share of images that may be unusable.",
        examples=[0.1],
    )
    classes: Annotated[
        ClassesConfig, BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(
        default_factory=ClassesConfig, description="Classes to rename, merge, leave out or cap."
    )
    cache: Literal["auto", "pixels", "jpeg"] = Field(
        default="auto",
        description="How decoded images are stored: auto is pixels, or JPEG beyond cache_gb.",
    )
    cache_gb: Annotated[
        float | None,
        BeforeValidator(parse_gigabytes),
        or_none({"const": "none"}),
    ] = Field(default=20.0, description="Disk that pixels may take, in GB, or none.", examples=[20])

    @model_validator(mode="before")
    @classmethod
    def _fetch_url(cls, value: Any) -> Any:
        url = _only_url(value.get("root")) if isinstance(value, dict) else None
        return value | {"root": [str(local_copy(url))], "source": url} if url else value

    @field_validator("test_fraction")
    @classmethod
    def _leave_some_to_train_on(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("val_fraction", 0) >= 1:
            raise ValueError("must leave images to train on beside val_fraction")
        return value

    @field_serializer("root", when_used="json")
    def _plain_root(self, root: tuple[Path, ...]) -> list[str]:
        return [f"./{path}" if str(path).startswith("~") else str(path) for path in root]
