"""Whether a results folder needs no more work: answered in a moment, without torch or Ray."""

from __future__ import annotations

from pathlib import Path

from search.config import StudyConfig
from search.data.index import build_index
from search.identity import check_fingerprint, settings_fingerprint
from search.results import ResultsFolder
from search.summary import read_summary


def is_finished(
    config: StudyConfig, results: ResultsFolder, roots: tuple[Path, ...], weights: Path | None
) -> bool:
    """Tell whether this very study, on these very files, has its report.

    One that its time limit cut short is not finished for a command that allows more time.
    """
    report, limit = results.read_marker("report"), config.budget.time_limit or float("inf")
    if not read_summary(results) or not (results.report / "index.html").exists():
        return False
    if report.get("settings") != settings_fingerprint(config, weights):
        return False
    if report.get("was_cut_short") and limit > (report.get("time_limit") or float("inf")):
        return False
    index = build_index(roots, config.dataset.classes)
    return results.is_done("check", check_fingerprint(index, config.dataset.max_dropped))
