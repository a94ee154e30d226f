"""What studies were run with, flattened to names and texts, and where they differ. Pure."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.report.data_files import PARTS
from search.report.load import StudyFiles, section
from search.report.studies import Compared

GROUPS = ("flags", "data", "space", "budget", "settings", "seeds", "code", "versions", "machine")
"""What differs is listed in this order: first what people change."""
MEANT = frozenset(GROUPS[:6])
"""Groups that somebody chose; the others come with the machine."""
NOT_SET, NOT_KNOWN = "not set", "not known"

_UNTOLD_FLAGS = {"--results", "--fresh", "--space", "-q", "--quiet", "-v", "--verbose"}
_WEIGHTS = "weights."
_WHERE = {"name": "", "seed": "seeds", "trainable": "space", "dataset": "data", "space": "space",
          "default": "space", "start_with": "space", "budget": "budget"}  # fmt: skip
_DATA = ("source", "is_sample", "num_images", "num_train", "num_val", "num_test", "given_splits",
         "num_dropped")  # fmt: skip

_MEASURED = {*_DATA, "classes", "images", "train images", "val images", "test images"}

Facts = dict[tuple[str, str], str]
"""(group, name) -> text."""


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all studies; `values` in their order."""

    group: str
    name: str
    values: tuple[str, ...]


def facts_of(files: StudyFiles) -> Facts:
    """Return everything a study was run with."""
    facts: Facts = {}
    for name, value in _flags(_command(files)):
        facts["flags", name] = value
    for top, value in files.study.items():
        group = _WHERE.get(top, "settings")
        if group:
            facts |= {(group, name): text for name, text in _settings(top, value)}
    dataset = section(files.summary, "dataset")
    images = _images(files)
    counted = {f"num_{part}" for part in PARTS if f"{part} images" in images}
    names = [name for name in _DATA if name in dataset and name not in counted]
    facts |= {("data", name): show(dataset[name]) for name in names}
    facts |= {("data", name): text for name, text in images.items()}
    if started := section(files.summary, "warm_start").get("source"):
        facts["settings", "warm_start"] = show(started)
    weights = files.folder.read_marker("weights").get("files")
    for name, content in (weights if isinstance(weights, dict) else {}).items():
        facts["data", f"{_WEIGHTS}{name}"] = str(content)[:12]
    environment = files.environment
    if environment.get("git") is not None:
        facts |= {("code", name): text for name, text in _flat("git", environment["git"])}
    for name in ("versions", "hardware"):
        group = "versions" if name == "versions" else "machine"
        told = section(environment, name) or section(files.summary, name)
        facts |= {(group, key): text for key, text in _flat("", told)}
    return facts


def find_differences(studies: Sequence[Compared]) -> list[Difference]:
    """Return what is not the same everywhere, what people choose first."""
    told = [facts_of(study.files) for study in studies]
    known = [{group for group, _ in facts} for facts in told]
    names = sorted({key for facts in told for key in facts}, key=_order)
    found = []
    for group, name in names:
        values = tuple(
            facts.get((group, name), NOT_SET if group in groups and told_by(name) else NOT_KNOWN)
            for facts, groups in zip(told, known, strict=True)
        )
        if len(set(values) - {NOT_KNOWN}) > 1:
            found.append(Difference(group, name, values))
    return found


def told_by(name: str) -> bool:
    """Tell whether it says something of a study that it does not have this on record.

    What was measured of the images comes with the end of a study, and weights with a backbone.
    """
    return name not in _MEASURED and not name.startswith(_WEIGHTS)


def same_everywhere(studies: Sequence[Compared]) -> list[tuple[str, str, str]]:
    """Return (group, name, value) of what all studies share."""
    told = [facts_of(study.files) for study in studies]
    shared = set.intersection(*(set(facts.items()) for facts in told))
    return [(*key, value) for key, value in sorted(shared, key=lambda pair: _order(pair[0]))]


def _order(key: tuple[str, str]) -> tuple[int, str]:
    return GROUPS.index(key[0]), key[1]


def show(value: Any) -> str:
    """Write a setting on one line."""
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or NOT_SET
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_inner(item)}" for key, item in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _inner(value: Any) -> str:
    text = show(value)
    return f"[{text}]" if isinstance(value, list | tuple) else text


def _command(files: StudyFiles) -> str:
    return str(files.environment.get("command") or files.summary.get("command") or "")


def _flags(command: str) -> Iterator[tuple[str, str]]:
    """Yield the flags of a command with their values; a flag given twice has both."""
    try:
        words = shlex.split(command)
    except ValueError:
        return
    found: dict[str, list[str]] = {}
    flag = ""
    for word in words[3:]:  # python -m search.run
        if word.startswith("-") and not word[1:2].isdigit():
            flag, _, value = word.partition("=")
            found.setdefault(flag, [])
            if value:
                found[flag].append(value)
        elif flag:
            found[flag].append(word)
    for text in found.pop("--set", []):
        name, _, value = text.partition("=")
        yield f"--set {name}", value
    for flag, values in found.items():
        if flag not in _UNTOLD_FLAGS:
            yield flag, ", ".join(values) or "on"


def _settings(top: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of one section; a searched parameter is one of them, with its range."""
    if isinstance(value, Mapping) and top != "start_with":
        for name, inner in value.items():
            # A searched parameter is told whole: its range, scale and condition belong together.
            yield f"{top}.{name}", show(inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield f"{top}[{number}]", show(inner)
    else:
        yield top, show(value)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, show(value)


def _images(files: StudyFiles) -> dict[str, str]:
    """Return the classes, and a fingerprint of the images of each part."""
    found: dict[str, str] = {}
    if files.classes:
        found["classes"] = f"{len(files.classes)}: {', '.join(sorted(files.classes))}"
    content = section(files.summary, "dataset").get("fingerprint")
    content = content or files.environment.get("data_fingerprint")
    if content:
        found["images"] = f"fingerprint {content}"
    if "sha256" not in files.index.columns or files.splits.empty:
        return found
    content_of = dict(enumerate(files.index["sha256"].astype(str)))
    for part in PARTS:
        ids = files.splits.loc[files.splits["split"] == part, "id"].dropna()
        listed = sorted(content_of.get(int(number), "?") for number in ids)
        found[f"{part} images"] = f"{len(listed)}, fingerprint {_hash(listed)}"
    return found


def _hash(values: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:8]
