"""What stands in which section of the page, and what does not and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from search.report.answer import remarks
from search.report.figures import Drawn
from search.report.group_tables import categorical
from search.report.load import StudyFiles
from search.report.table import TableView

_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "search",
        "Search",
        (
            "leaderboard",
            "by_lr_and_batch_size",
            "pareto",
            "importance",
            "rungs",
            "infeasible",
            "failures",
            "time",
            "cost",
        ),
    ),
    ("winner", "Winner", ("best_params", "confirm")),
    (
        "test",
        "Test",
        ("test_metrics", "comparisons", "calibration", "per_class", "confusions", "top_losses"),
    ),
    ("explanations", "Explanations", ("faithfulness",)),
    ("data", "Data", ("problems", "class_counts")),
)
_DATA_PAGE = "../data/index.html"
_ABSENT = {
    "lr_batch_size": "learning rate and batch size",
    "by_lr_and_batch_size": "by learning rate and batch size",
    "pareto": "value against cost",
    "slices": "each parameter alone",
    "contour": "two parameters together",
    "infeasible": "broken constraints",
    "data": "plots of the images",
    "class_attention": "where it looks",
    "faithfulness": "trust in the heat maps",
}
"""What to call a plot or table that is not there, where its own name does not say."""


@dataclass(frozen=True)
class Part:
    """One section of the page; `absent` are plots and tables that are not in it, and why."""

    id: str
    title: str
    plots: list[Drawn] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    page: str = ""  # more about it, relative to the report
    cautions: list[str] = field(default_factory=list)  # what its figures must be read with
    told: list[str] = field(default_factory=list)


def parts_of_page(
    files: StudyFiles,
    drawn: dict[str, list[Drawn]],
    views: dict[str, TableView],
    reasons: dict[str, tuple[str, bool]],
) -> list[Part]:
    """Sort plots, tables and what is missing into the sections of the page.

    Args:
        drawn: Plots by section.
        views: Tables by name.
        reasons: Table that is not there -> why, and whether making it failed.
    """
    parts = []
    for ident, title, names in _SECTIONS:
        plots = drawn.get(ident, [])
        wanted = list(names)
        if ident == "search":
            wanted[1:1] = [f"by_{name}" for name in categorical(files)] if len(files.trials) else []
        why = [(p.name, p.missing, p.failed) for p in plots if p.missing]
        why += [(name, *reasons[name]) for name in wanted if name in reasons]
        absent = [(name, text) for name, text, failed in why if not (failed or files.at_work)]
        failures = dict.fromkeys(text for _, text, failed in why if failed)
        shown = [p for p in plots if p.uri]
        tables = [views[name] for name in wanted if name in views]
        page = _DATA_PAGE if ident == "data" and shown else ""
        if files.at_work and not (shown or tables or failures):
            continue  # its stage is still to come
        cautions, told = remarks(files, ident)
        texts = absent_by_reason(absent), list(failures), page, cautions, told
        parts.append(Part(ident, title, shown, tables, *texts))
    return parts


def absent_by_reason(absent: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turn (name, reason) into (what is not there, reason), each reason once. Pure."""
    named: dict[str, list[str]] = {}
    for name, reason in absent:
        plain = name.replace("_", " ", 1 if name.startswith("by_") else -1)
        named.setdefault(reason, []).append(_ABSENT.get(name, plain))
    return [(", ".join(dict.fromkeys(names)), reason) for reason, names in named.items()]
