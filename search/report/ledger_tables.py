"""trials.csv and epochs.csv as they will be: a search writes them when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from search.records import EpochRecord
from search.trial_table import trial_columns, trial_row
from search.tune.ledger import Ledger

RUNNING = "running"
"""A state of the page only: in the records a trial that has no end was interrupted."""


def is_newer(events: Path, table: Path) -> bool:
    """Tell whether a ledger knows more than a table that was written from it."""
    if not events.is_file():
        return False
    return not table.is_file() or table.stat().st_mtime < events.stat().st_mtime


def tables_of_ledger(
    events: Path, metric: str, direction: str, running_since: float
) -> dict[str, pd.DataFrame]:
    """Return both tables with cells of text, as they would be read from CSV.

    Args:
        running_since: See `Ledger`; infinite where no driver is at work.

    Raises:
        ResultsError: The ledger is damaged.
    """
    ledger = Ledger(events, metric, direction, read_since=running_since)
    trials = ledger.trial_records()
    rows = [trial_row(trial) for trial in trials]
    for row in rows:
        if ledger.trials[row["number"]].state is None:
            row["state"] = RUNNING
    epochs = [vars(epoch) for epoch in ledger.epoch_records()]
    return {
        "trials": _cells(trial_columns(trials), rows),
        "epochs": _cells(list(EpochRecord.__dataclass_fields__), epochs),
    }


def _cells(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    texts = [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    return pd.DataFrame(texts, columns=list(columns), dtype=str)
