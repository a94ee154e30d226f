"""What makes the same training another one in another study: then its values do not count."""

from __future__ import annotations

import json
from collections.abc import Iterable

from search.config import StudyConfig
from search.goals import Figures
from search.identity import study_identity
from search.results import ResultsFolder


def differences_of(config: StudyConfig, results: ResultsFolder, other: ResultsFolder) -> list[str]:
    """List what makes the same training give another value there than here."""
    now, then = study_identity(config), other.read_marker("study").get("identity", {})
    names = [
        name
        for name in sorted(now.keys() | then.keys())
        if name.startswith("dataset.") or name in ("budget.max_epochs", "seed")
    ]
    found = [
        f"{name} is {now.get(name)}, not {then.get(name)}"
        for name in names
        if now.get(name) != then.get(name)
    ]
    if results.read_marker("images").get("fingerprint") != other.read_marker("images").get(
        "fingerprint"
    ):
        found.insert(0, "the images are others")
    ours = results.read_marker("weights").get("files", {})
    theirs = other.read_marker("weights").get("files", {})
    found += [
        f"{name} starts from other weights"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    return found


def unmeasured(
    config: StudyConfig, results: ResultsFolder, other: ResultsFolder, figures: Iterable[Figures]
) -> list[str]:
    """List the metrics that count here and are not known of the trials there, or not of here.

    Args:
        figures: What is known of each trial there.
    """
    known = list(figures)
    rest = config.goals.metrics[1:]
    missing = [name for name in rest if any(name not in row for row in known)]
    is_elsewhere = _processor(results) != _processor(other)
    if is_elsewhere and "latency_ms" in rest and "latency_ms" not in missing:
        missing.append("latency_ms")
    return [f"{name} has to be measured anew" for name in missing]


def _processor(results: ResultsFolder) -> str:
    try:
        value = json.loads(results.environment.read_text(encoding="utf-8"))
        return str(value["hardware"]["processor"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
