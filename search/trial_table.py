"""Trials as rows of trials.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from search.records import TrialRecord


def trial_columns(trials: Sequence[TrialRecord]) -> list[str]:
    """Columns of trials.csv: the record's fields, each of its params as `params.<name>`."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    plain = [f.name for f in fields(TrialRecord) if f.name != "params"]
    return [*plain, *(f"params.{name}" for name in names)]


def trial_row(trial: TrialRecord) -> dict[str, Any]:
    """Flatten a trial to one row of trials.csv; inactive params stay blank."""
    row = {f.name: getattr(trial, f.name) for f in fields(TrialRecord) if f.name != "params"}
    return row | {f"params.{name}": value for name, value in trial.params.items()}
