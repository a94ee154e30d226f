"""One table: its frame, how its cells are written, its CSV and Markdown files, its page view."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from search.records import write_text
from search.report.format import (
    count_of_parameters,
    is_number,
    metric_text,
    metric_title,
    number_text,
    seconds_text,
)
from search.report.load import NothingToShowError


@dataclass(frozen=True)
class Table:
    """A table to write and show.

    `kinds` tells how to write a column: "seconds", "text" for text that may look like a number,
    "metric" for names of metrics, or a metric whose values it holds. `hidden` columns are written
    to CSV only. `titles` name columns otherwise than their own name does.
    """

    name: str
    title: str
    frame: pd.DataFrame
    kinds: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        return [str(c) for c in self.frame.columns if c not in self.hidden]

    def cell(self, column: str, value: Any) -> str:
        """Write one cell for people; blank where there is nothing."""
        if value is None or value is pd.NA:
            return ""
        kind = self.kinds.get(column)
        if kind == "text":
            return str(value)
        if kind == "metric":
            return metric_title(str(value))
        if kind == "seconds":
            return seconds_text(value)
        if column == "num_parameters":
            return count_of_parameters(value)
        if column == "mcnemar_p" and is_number(value) and float(value) < 0.001:
            return "< 0.001"
        if column == "peak_memory_mb" and is_number(value):
            return f"{float(value):,.0f}"
        return metric_text(kind, value) if kind else number_text(value)


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it: titles, rows of (text, sort key), which columns are numbers."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[tuple[str, str]]]
    numeric: frozenset[int] = frozenset()
    num_more: int = 0


def column_title(table: Table, column: str) -> str:
    """Name a column for people; a column that holds a metric says which."""
    plain = {"number": "trial", "epochs_run": "epochs", "fanova": "f-ANOVA", "f1": "F1",
             "ped_anova": "PED-ANOVA", "best_epoch": "best epoch", "latency_ms": "latency (ms)",
             "num_parameters": "parameters", "model_mb": "size (MB)", "mcnemar_p": "McNemar p",
             "auc": "AUC", "seconds": "time", "mean_seconds": "mean time",
             "peak_memory_mb": "memory (MB)", "share_of_true": "share of its class"}  # fmt: skip
    if column in table.titles:
        return table.titles[column]
    if column == "best_value":
        return metric_title(table.kinds[column])
    if column.startswith("params."):
        return column.removeprefix("params.").replace("_", " ")
    return plain.get(column) or column.removeprefix("num_").replace("_", " ")


def write_table(table: Table, folder: Path) -> None:
    """Write NAME.csv (full precision, every column) and NAME.md (as people read it)."""
    write_text(folder / f"{table.name}.csv", table.frame.to_csv(index=False, lineterminator="\n"))
    titles = [_markdown(column_title(table, column)) for column in table.shown]
    lines = [f"# {_markdown(table.title)}", "", _row(titles), _row(["---"] * len(titles))]
    for values in table.frame[table.shown].itertuples(index=False, name=None):
        cells = zip(table.shown, values, strict=True)
        lines.append(_row([_markdown(table.cell(column, value)) for column, value in cells]))
    write_text(folder / f"{table.name}.md", "\n".join(lines) + "\n")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown(text: str) -> str:
    """Keep a cell's text from ending the cell, the row or becoming markup."""
    return re.sub(r"([\\|<>*_`$\[\]])", r"\\\1", " ".join(text.split()))


def write_tables(
    makers: Mapping[str, Callable[[], Table]], folder: Path, limits: Mapping[str, int | None]
) -> tuple[dict[str, TableView], dict[str, tuple[str, bool]]]:
    """Write every table; return those there are, and why others are not (reason, is a failure).

    Args:
        limits: Rows on the page, None for all; 25 for a table not named.
    """
    views, reasons = {}, {}
    for name, make in makers.items():
        try:
            table = make()
            write_table(table, folder)
            views[name] = table_view(table, limit=limits.get(name, 25))
        except NothingToShowError as reason:
            reasons[name] = (str(reason), False)
        except OSError:
            raise
        except Exception as error:  # as for plots: one broken table must not cost the report
            text = f"The table {name} could not be made: {type(error).__name__}: {error}"
            reasons[name] = (text, True)
    return views, reasons


def table_view(table: Table, limit: int | None = None) -> TableView:
    """Prepare a table's first `limit` rows for the page, without the columns that are blank."""
    shown = table.frame[table.shown].head(limit) if limit else table.frame[table.shown]
    rows = [
        [_cell(table, column, value) for column, value in zip(table.shown, values, strict=True)]
        for values in shown.itertuples(index=False, name=None)
    ]
    titles = [column_title(table, column) for column in table.shown]
    filled = [k for k in range(len(titles)) if not rows or any(row[k][0] for row in rows)]
    titles, rows = [titles[k] for k in filled], [[row[k] for k in filled] for row in rows]
    numeric = frozenset(
        k
        for k in range(len(titles))
        if rows and all(is_number(key or 0) for _, key in _at(rows, k))
    )
    return TableView(table.name, table.title, titles, rows, numeric, len(table.frame) - len(rows))


def _at(rows: list[list[tuple[str, str]]], column: int) -> list[tuple[str, str]]:
    return [row[column] for row in rows]


def _cell(table: Table, column: str, value: Any) -> tuple[str, str]:
    text = table.cell(column, value)
    return text, repr(float(value)) if text and is_number(value) else text
