"""Whether a results folder belongs to this space file and these images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.errors import ResultsError
from search.records import DatasetIndex, fingerprint, write_text
from search.results import ResultsFolder
from search.yaml_file import dump_yaml

# What may change between two runs of one study: where things are, how much is done, how it is
# shown. All else changes what a trial means: also `cache`, since JPEG changes pixels a little. What
# `auto` chose, with the `cache_gb` of then, stays: the data stage notes it.
_FREE = {
    "dataset": {"root", "source", "sample", "max_dropped", "cache_gb"},
    "budget": {"num_trials", "total_epochs", "plateau_trials", "time_limit"},
    "search": {"sampler"},
    "confirm": {"top_k", "num_seeds"},
    "resources": {"cpus", "gpus", "max_concurrent", "disk_gb"},
    "report": {"cam_images", "tensorboard"},
}

_LONGER = (
    "More trials can be added to a study (--trials), more epochs cannot: schedules and rungs are "
    "made for max_epochs. A new study can begin with this one's best: --warm-start.\n"
)

_CHECK_RULES = 2  # raised whenever the check judges images otherwise than before


def study_identity(config: StudyConfig) -> dict[str, Any]:
    """Return the part of a study that may not change, as flat dotted keys."""
    resolved = config.resolved()
    kept = {
        section: (
            {k: v for k, v in value.items() if k not in _FREE[section]}
            if section in _FREE
            else value
        )
        for section, value in resolved.items()
    }
    return _flatten(kept)


def refuse_other_study(config: StudyConfig, results: ResultsFolder) -> None:
    """Refuse a folder that holds another study; nothing is written.

    Raises:
        ResultsError: With every setting that differs.
    """
    before = results.read_marker("study").get("identity")
    way_out = (
        "Use --fresh to start anew (the old folder is kept under a dated name), or "
        "--results to name another folder."
    )
    refuse_other_identity(config, before, str(results.root), way_out)


def refuse_other_identity(
    config: StudyConfig, before: Mapping[str, Any] | None, where: str, way_out: str
) -> None:
    """Refuse to go on with another study.

    Args:
        before: What is noted there, None for nothing.
        where, way_out: For the message: what holds it, and what to do.

    Raises:
        ResultsError: With every setting that differs.
    """
    now = study_identity(config)
    if before is not None and before != now:
        names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
        changes = "\n".join(
            f"  {n}: there {_show(before, n)}, now {_show(now, n)}" for n in names[:20]
        )
        raise ResultsError(
            f"{where}: must hold this very study, got one that differs in\n{changes}\n"
            f"{_LONGER if 'budget.max_epochs' in names else ''}{way_out}"
        )


def write_study(config: StudyConfig, results: ResultsFolder) -> None:
    """Write study.yaml, and note in a new folder which study it belongs to."""
    write_text(results.study_file, dump_yaml(config.resolved()))
    if not results.read_marker("study"):
        now = study_identity(config)
        results.mark_done("study", fingerprint(now), 0.0, identity=now)


def settings_fingerprint(config: StudyConfig, weights: Path | None) -> str:
    """Return the identity of what may change between runs but changes what a report says."""
    resolved = config.resolved()
    where = str(weights.resolve()) if weights else ""
    disk_gb = config.resources.disk_gb
    return fingerprint(config.budget.size, resolved["confirm"], resolved["report"], where, disk_gb)


def check_data(config: StudyConfig, results: ResultsFolder, content: str) -> str:
    """Refuse a folder whose study ran on other images.

    Args:
        content: Fingerprint of the checked images and labels.

    Returns:
        The identity of study and data together.

    Raises:
        ResultsError: The images changed.
    """
    before = results.read_marker("images").get("fingerprint")
    if before is not None and before != content:
        raise ResultsError(
            f"{results.root}: its study ran on other images (fingerprint {before}), must be the "
            f"same ones, got {content}. Use --fresh to start anew (the old folder is kept under "
            "a dated name), or --results to name another folder."
        )
    if before is None:
        results.mark_done("images", content, 0.0)
    return fingerprint(study_identity(config), content)


def check_fingerprint(index: DatasetIndex, max_dropped: float) -> str:
    """Return the identity of a check, without reading an image.

    Files count by name, size, date, label and split.
    """
    files = [[_stamp(index.file(k)), row.label, row.split] for k, row in enumerate(index.rows)]
    return fingerprint(_CHECK_RULES, max_dropped, files)


def _stamp(file: Path) -> tuple[str, int, int]:
    try:
        stat = file.stat()
    except OSError:  # a dangling link or an unreadable folder: the check names it
        return str(file), -1, 0
    return str(file), stat.st_size, stat.st_mtime_ns


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flatten(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat


def _show(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "not set"
