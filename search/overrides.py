"""Overrides of a space file: `--set dotted.key=value`, and the command line's other flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.errors import SpaceError
from search.findings import Finding, show
from search.yaml_file import parse_yaml


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Put each override into the file's values, later ones last.

    Returns:
        The dotted keys that were set.

    Raises:
        SpaceError: An override is not `dotted.key=value`, or leads through a plain value.
    """
    keys, problems = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            example = "For example --set budget.num_trials=30."
            problems.append(f"{override}: must be dotted.key=value. {example}")
            continue
        try:
            problem = _put(raw, key.split("."), parse_yaml(text, key))
        except SpaceError as error:
            problem = " ".join(error.problems)
        if problem:
            problems.append(f"{key}: {problem}")
        keys.append(key)
    if problems:
        raise SpaceError("--set", problems)
    return keys


def _put(raw: dict[str, Any], parts: Sequence[str], value: Any) -> str:
    """Set a nested value, making sections on the way; return what stood in the way, or ""."""
    section = raw
    for depth, part in enumerate(parts[:-1], start=1):
        inner = section.get(part)
        if inner is None:
            inner = section[part] = {}
        if not isinstance(inner, dict):
            outer, rest = ".".join(parts[:depth]), ".".join(parts[depth:])
            return (
                f"{outer} must be a section to have {rest}, got {show(inner)}. "
                f"Set it whole: {outer}='{{{parts[depth]}: …}}'."
            )
        section = inner
    section[parts[-1]] = value
    return ""


def name_overrides(
    findings: Sequence[Finding], keys: Sequence[str], flags: Mapping[str, str]
) -> list[str]:
    """Write findings as problems; those of a value that an override set start with `--set`.

    Args:
        flags: Dotted key -> the flag by which it was set, which is named in its place.
    """
    # Within space the whole parameter counts: `space.lr.float` is to blame for `space.lr.low`.
    roots = [".".join(key.split(".")[:2]) if key.startswith("space.") else key for key in keys]
    problems = []
    for path, text in findings:
        blamed = any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)
        where = flags.get(path, f"--set {path}") if blamed else path
        problems.append(f"{where}: {text}")
    return problems
