"""One table: its frame, how its cells are written, and its CSV and Markdown files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from search.records import write_text
from search.report.format import metric_text, metric_title, number_text, seconds_text


@dataclass(frozen=True)
class Table:
    """A table to write and show.

    `kinds` tells how to write a column: "seconds", "metric"
    for names of metrics, or a metric whose values it holds. `hidden`
    columns are written to CSV only.
    """

    name: str
    title: str
    frame: pd.DataFrame
    kinds: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()

    @property
    def shown(self) -> list[str]:
        return [str(c) for c in self.frame.columns if c not in self.hidden]

    def cell(self, column: str, value: Any) -> str:
        """Write one cell for people; blank where there is nothing."""
        if value is None or value is pd.NA:
            return ""
        kind = self.kinds.get(column)
        if kind == "metric":
            return metric_title(str(value))
        if kind == "seconds":
            return seconds_text(value)
        return metric_text(kind, value) if kind else number_text(value)


def column_title(table: Table, column: str) -> str:
    """Name a column for people; a column that holds a metric says which."""
    plain = {"number": "trial", "epochs_run": "epochs", "fanova": "f-ANOVA", "f1": "F1",
             "ped_anova": "PED-ANOVA", "best_epoch": "best epoch"}  # fmt: skip
    if column == "best_value":
        return metric_title(table.kinds[column])
    return plain.get(column) or column.removeprefix("params.").replace("_", " ")


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
