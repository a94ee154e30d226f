"""Tables of trials in groups, of rungs and of epochs: every cell against a sum done by hand."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

from search.records import EpochRecord, TrialRecord, TrialState, write_csv, write_json
from search.report import group_tables, tables
from search.report.load import NothingToShowError, StudyFiles, read_study
from search.report.table import Table, write_table
from search.results import ResultsFolder
from search.trial_table import trial_columns, trial_row

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED
# Val accuracy of each epoch of each trial. Rungs are at epochs 1 and 3, the end at 9.
CURVES = {
    0: [0.30, 0.40, 0.50, 0.55, 0.60, 0.62, 0.64, 0.66, 0.65],
    1: [0.20],
    2: [0.25, 0.35, 0.45],
    3: [0.40, 0.50, 0.60, 0.65, 0.70, 0.72, 0.74, 0.76, 0.78],
    4: [0.10, 0.15],
}
STATES = {0: COMPLETE, 1: PRUNED, 2: PRUNED, 3: COMPLETE, 4: FAILED}


def study(root: Path, *trials: TrialRecord, metric: str = "val_accuracy") -> StudyFiles:
    folder = ResultsFolder(root)
    write_csv(folder.study / "trials.csv", trial_columns(trials), map(trial_row, trials))
    epochs = [
        EpochRecord(
            n, epoch, 1.5 - value, 1.25 - value, value, value - 0.01, None, 1e-3, 2.0, 400.0
        )
        for n, curve in reversed(CURVES.items())
        for epoch, value in enumerate(curve, 1)
    ]
    columns = [field.name for field in fields(EpochRecord)]
    write_csv(folder.study / "epochs.csv", columns, map(asdict, epochs))
    direction = "minimize" if metric.endswith("loss") else "maximize"
    budget = {"min_epochs": 1, "max_epochs": 9, "reduction_factor": 3}
    objective = {"metric": metric, "direction": direction}
    write_json(folder.summary, {"study": {"objective": objective, "budget": budget}})
    return read_study(folder)


def trials(**params: list[object]) -> list[TrialRecord]:
    """The trials of CURVES, each with its own value of every parameter; None where it had none."""
    return [
        TrialRecord(
            n, STATES[n], {k: v[n] for k, v in params.items() if v[n] is not None}, len(curve),
            max(curve), curve.index(max(curve)) + 1, seconds=10.0 * len(curve),
        )
        for n, curve in CURVES.items()
    ]  # fmt: skip


def written(table: Table, folder: Path) -> list[list[str]]:
    """Write a table and return the rows of its Markdown, without title and rule."""
    write_table(table, folder)
    lines = (folder / f"{table.name}.md").read_text("utf-8").splitlines()[2:]
    return [line.strip("| ").split(" | ") for line in [lines[0], *lines[2:]]]


def test_learning_rates_are_grouped_in_halves_of_a_decade(tmp_path: Path) -> None:
    # 1e-3 and 2.9e-3 share a half, 3e-3 begins the next; the same half with another batch size is
    # another group; a trial without a batch size is in none.
    found = trials(lr=[1e-3, 2.9e-3, 3e-3, 2e-3, 1e-3], batch_size=[16, 16, 16, 32, None])
    table = group_tables.by_lr_and_batch_size(study(tmp_path, *found))
    shown = ["lr", "batch_size", "num_trials", "num_complete", "best", "median", "mean_seconds"]
    assert table.frame[shown].values.tolist() == [
        ["0.001 to 0.003", "32", 1, 1, 0.78, 0.78, 90.0],
        ["0.001 to 0.003", "16", 2, 1, 0.66, pytest.approx(0.43), 50.0],
        ["0.003 to 0.01", "16", 1, 0, 0.45, 0.45, 30.0],
    ]
    assert written(table, tmp_path / "tables") == [
        ["lr", "batch size", "trials", "complete", "best", "median, 95 % interval", "mean time"],
        ["0.001 to 0.003", "32", "1", "1", "78.0 %", "78.0 %", "1 min 30 s"],
        ["0.001 to 0.003", "16", "2", "1", "66.0 %", "43.0 %", "50 s"],
        ["0.003 to 0.01", "16", "1", "0", "45.0 %", "45.0 %", "30 s"],
    ]  # fmt: skip


def test_a_group_of_six_has_the_interval_of_its_median(tmp_path: Path) -> None:
    values = [0.7, 0.0, 0.5, 0.2, 0.6, 0.3, 0.9]
    found = [
        TrialRecord(n, COMPLETE, {"lr": 0.01, "batch_size": 16 if n < 6 else 32}, 9, value, 1)
        for n, value in enumerate(values)
    ]
    found[0] = TrialRecord(0, COMPLETE, {"lr": 0.02, "batch_size": 16}, 9, 0.7, 1)
    table = group_tables.by_lr_and_batch_size(study(tmp_path, *found))
    columns = ["batch_size", "median", "median_low", "median_high"]
    one, six = table.frame[columns].values.tolist()
    assert one[:2] == ["32", 0.9]
    assert np.isnan(one[2:]).all()  # one trial tells no interval
    assert six == ["16", pytest.approx(0.4), 0.0, 0.7]
    cells = written(table, tmp_path / "tables")
    assert cells[2][5] == r"40.0 % \[0.0, 70.0\]"


def test_a_loss_has_the_group_with_the_lowest_first(tmp_path: Path) -> None:
    found = trials(lr=[1e-3, 1e-3, 5e-3, 5e-3, 1e-3], batch_size=[16, 16, 16, 16, 32])
    frame = group_tables.by_lr_and_batch_size(study(tmp_path, *found, metric="val_loss")).frame
    assert frame["best"].tolist() == [0.15, 0.2, 0.45]  # the least of what stands as best value


def test_one_of_the_two_alone_makes_no_groups(tmp_path: Path) -> None:
    found = trials(lr=[1e-3, 2e-3, 3e-3, 4e-3, 5e-3], batch_size=[16] * 5)
    with pytest.raises(NothingToShowError, match="not both varied"):
        group_tables.by_lr_and_batch_size(study(tmp_path, *found))


def test_rungs_tell_who_came_who_stopped_and_how_good_they_were(tmp_path: Path) -> None:
    table = group_tables.rung_table(study(tmp_path, *trials(lr=[1, 2, 3, 4, 5])))
    columns = ["epoch", "reached", "stopped_here", "share_stopped", "best", "median"]
    assert list(table.frame.columns) == columns
    assert table.frame.values.tolist() == [
        [1, 5, 1, 1 / 5, 0.40, 0.25],  # of .30 .20 .25 .40 .10
        [3, 3, 1, 1 / 3, 0.60, 0.50],  # of .50 .45 .60
        [9, 2, 0, 0, 0.78, pytest.approx(0.715)],  # of .65 .78
    ]
    assert written(table, tmp_path / "tables") == [
        ["epoch", "reached", "stopped here", "share stopped", "best", "median"],
        ["1", "5", "1", "20.0 %", "40.0 %", "25.0 %"],
        ["3", "3", "1", "33.3 %", "60.0 %", "50.0 %"],
        ["9", "2", "0", "0.0 %", "78.0 %", "71.5 %"],
    ]


def test_the_best_at_a_rung_is_the_least_loss(tmp_path: Path) -> None:
    files = study(tmp_path, *trials(lr=[1, 2, 3, 4, 5]), metric="val_loss")
    frame = group_tables.rung_table(files).frame
    assert frame["best"].tolist() == pytest.approx([0.85, 0.65, 0.47])  # 1.25 - accuracy
    assert frame["median"].tolist() == pytest.approx([1.00, 0.75, 0.535])


def test_epochs_are_listed_by_trial_and_epoch_without_what_was_not_measured(tmp_path: Path) -> None:
    table = tables.epochs(study(tmp_path, *trials(lr=[1, 2, 3, 4, 5])))
    frame = table.frame
    pairs = [(n, e) for n, curve in CURVES.items() for e in range(1, len(curve) + 1)]
    assert list(zip(frame["trial_number"], frame["epoch"], strict=True)) == pairs
    assert frame["val_accuracy"].tolist() == [CURVES[n][e - 1] for n, e in pairs]
    assert frame["val_loss"].tolist() == pytest.approx([1.25 - CURVES[n][e - 1] for n, e in pairs])
    assert frame["train_loss"].tolist() == pytest.approx([1.5 - CURVES[n][e - 1] for n, e in pairs])
    assert "val_macro_f1" not in frame.columns  # nobody measured it
    lines = written(table, tmp_path / "tables")
    first = dict(zip(lines[0], lines[1], strict=True))
    assert (first["trial number"], first["epoch"], first["val accuracy"]) == ("0", "1", "30.0 %")
    with (tmp_path / "tables" / "epochs.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["trial_number"], last["epoch"], last["val_accuracy"]) == ("4", "2", "0.15")
