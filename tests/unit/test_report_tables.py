"""The report's tables: what they say of a study whose numbers are known."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from search.records import TrialRecord, TrialState, write_csv, write_json
from search.report import curve_plots, group_tables, tables
from search.report.answer import answer_lines, remarks
from search.report.load import NothingToShowError, StudyFiles, numbers, read_study
from search.report.table import Table, table_view, write_table
from search.report.why import why_text
from search.results import ResultsFolder
from search.trial_table import trial_columns, trial_row
from tests.fake_study import write_fake_study
from trainables.parameters import default_params

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED


def trial(number: int, state: TrialState, value: float | None, **params: object) -> TrialRecord:
    epochs = {COMPLETE: 9, PRUNED: 3, FAILED: 0}[state]
    error = f"OutOfMemoryError: needs {number} GiB" if state is FAILED else ""
    return TrialRecord(number, state, dict(params), epochs, value, 1, value, 10.0, error=error)


def study(root: Path, *trials: TrialRecord, direction: str = "maximize") -> StudyFiles:
    folder = ResultsFolder(root)
    write_csv(folder.study / "trials.csv", trial_columns(trials), map(trial_row, trials))
    metric = "val_accuracy" if direction == "maximize" else "val_loss"
    write_json(folder.summary, {"study": {
        "objective": {"metric": metric, "direction": direction}, "trainable": "classifier",
        "budget": {"min_epochs": 1, "max_epochs": 9, "reduction_factor": 3}}})  # fmt: skip
    return read_study(folder)


def test_a_complete_trial_ranks_above_a_pruned_one_with_a_better_value(tmp_path: Path) -> None:
    files = study(
        tmp_path, trial(0, PRUNED, 0.9), trial(1, FAILED, None), trial(2, COMPLETE, 0.5),
        trial(3, COMPLETE, 0.7), trial(4, FAILED, 0.95),
    )  # fmt: skip
    assert files.ranked()["number"].tolist() == [3, 2, 0, 4, 1]
    assert tables.leaderboard(files).frame["number"].tolist() == [3, 2, 0, 4]


def test_a_loss_ranks_the_lowest_first(tmp_path: Path) -> None:
    files = study(
        tmp_path, trial(0, COMPLETE, 0.9, optimizer="sgd"),
        trial(1, COMPLETE, 0.4, optimizer="adam"), direction="minimize",
    )  # fmt: skip
    assert files.ranked()["number"].tolist() == [1, 0]
    assert group_tables.by_parameter(files, "optimizer").frame["best"].tolist() == [0.4, 0.9]
    assert tables.leaderboard(files).cell("best_value", 0.4) == "0.400"


def test_inactive_parameters_are_blank_everywhere(tmp_path: Path) -> None:
    files = study(
        tmp_path, trial(0, COMPLETE, 0.9, optimizer="sgd", momentum=0.9),
        trial(1, COMPLETE, 0.4, optimizer="None"),
    )  # fmt: skip
    table = tables.trials(files)
    write_table(table, tmp_path / "tables")
    text = (tmp_path / "tables" / "trials.csv").read_text() + (
        tmp_path / "tables" / "trials.md"
    ).read_text()
    assert "nan" not in text.lower()
    assert "<NA>" not in text
    with (tmp_path / "tables" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["params.momentum"] for row in rows] == ["0.9", ""]
    assert [row["params.optimizer"] for row in rows] == ["sgd", "None"]  # text, not a missing value


def test_by_parameter_counts_every_trial_that_used_the_level(tmp_path: Path) -> None:
    files = study(
        tmp_path, trial(0, COMPLETE, 0.5, backbone="a"), trial(1, PRUNED, 0.7, backbone="a"),
        trial(2, FAILED, None, backbone="a"), trial(3, FAILED, None, backbone="b"),
    )  # fmt: skip
    frame = group_tables.by_parameter(files, "backbone").frame.set_index("backbone")
    assert frame.loc["a", ["num_trials", "num_complete"]].tolist() == [3, 1]
    assert frame.loc["a", "best"] == 0.7
    assert frame.loc["a", "median"] == pytest.approx(0.6)
    assert frame.loc["b", "num_complete"] == 0
    assert pd.isna(frame.loc["b", "best"])


def test_the_winner_shows_only_parameters_that_do_something(tmp_path: Path) -> None:
    study(tmp_path, trial(0, COMPLETE, 0.5, backbone="small_cnn"))
    params = {"backbone": "small_cnn", "pretrained": "auto", "depth": 4, "momentum": 0.9,
              "optimizer": "adam", "lr": 0.01, "size_px": 64}  # fmt: skip
    write_json(tmp_path / "best" / "params.json", params)
    files = read_study(ResultsFolder(tmp_path))
    summary = files.summary | {"dataset": {"size_px": 96}}
    frame = tables.best_params(replace(files, summary=summary)).frame
    assert frame["parameter"].tolist() == ["optimizer", "lr", "size_px", "backbone", "depth"]
    recipe = default_params("classifier") | {"size_px": 96}  # the study's own
    assert frame["default"].tolist() == [recipe[name] for name in frame["parameter"]]


def test_the_default_recipe_beside_the_winner_is_trial_0_as_it_was_trained(tmp_path: Path) -> None:
    trials = (
        trial(0, COMPLETE, 0.5, trainable="linear_probe", backbone="resnet18", augment_strength=0),
        trial(
            1, COMPLETE, 0.6, trainable="linear_probe", backbone="resnet50", augment_strength=0.5
        ),
    )
    study(tmp_path, *trials)
    params = {"trainable": "linear_probe", "backbone": "resnet50", "augment_strength": 0.5,
              "optimizer": "sgd", "momentum": 0.9, "batch_size": 256}  # fmt: skip
    write_json(tmp_path / "best" / "params.json", params)
    frame = tables.best_params(read_study(ResultsFolder(tmp_path))).frame.set_index("parameter")
    assert frame["default"].to_dict() == {
        "backbone": "resnet18",
        "augment_strength": "0",
        "optimizer": "adamw",
        "momentum": "",  # has no effect beside it
        "trainable": "linear_probe",
        "batch_size": default_params("linear_probe")["batch_size"],
    }


def test_what_is_the_same_in_all_rows_is_left_out(tmp_path: Path) -> None:
    trials = [trial(k, COMPLETE, 0.5 + k / 10, freeze="none" if k else "") for k in range(3)]
    files = study(tmp_path, *(replace(t, latency_ms=7.5, model_mb=float(t.number)) for t in trials))
    view = table_view(tables.leaderboard(files))
    assert "size (MB)" in view.columns
    assert "latency (ms)" not in view.columns
    with pytest.raises(NothingToShowError, match="had the same value"):
        group_tables.by_parameter(files, "freeze")


def test_small_and_large_figures_read_well() -> None:
    frame = pd.DataFrame({"mcnemar_p": [4e-19, 0.0123], "peak_memory_mb": ["1893.2", ""]})
    view = table_view(Table("t", "T", frame))
    assert view.columns == ["McNemar p", "memory (MB)"]
    assert [[text for text, _ in row] for row in view.rows] == [
        ["< 0.001", "1,893"],
        ["0.0123", ""],
    ]
    assert view.rows[0][1][1] == "1893.2", "sorted by the number"


def test_candidates_are_compared_over_the_seeds_that_all_have(tmp_path: Path) -> None:
    files = study(tmp_path, trial(0, COMPLETE, 0.5), trial(1, COMPLETE, 0.6))
    rows = [("trial 1", 1, 7, 0.62), ("default recipe", 0, 7, 0.55), ("trial 1", 1, 8, 0.50)]
    runs = pd.DataFrame(rows, columns=["candidate", "trial_number", "seed", "value"])
    confirm = {"winner": "trial 1", "params": {"lr": 0.1}, "mean": 0.62, "num_seeds": 1}
    files = replace(files, confirm=runs, summary=files.summary | {"confirm": confirm})
    assert why_text(files) == (
        "Val accuracy 62.0 % with 1 fresh seed, ahead of the default recipe's 55.0 %; one seed "
        "cannot tell how much of that is luck."
    )
    clear = confirm | {"std": 0.01, "num_seeds": 3}
    assert why_text(replace(files, summary=files.summary | {"confirm": clear})).endswith("55.0 %.")
    assert "Compared over the 1 seed that every candidate" in remarks(files, "winner")[1][0]


def test_rungs_add_up(tmp_path: Path) -> None:
    files = study(
        tmp_path, trial(0, COMPLETE, 0.5), trial(1, PRUNED, 0.4), trial(2, PRUNED, 0.3),
        trial(3, FAILED, None),
    )  # fmt: skip
    frame = group_tables.rung_table(files).frame
    assert frame["epoch"].tolist() == [1, 3, 9]
    assert frame["reached"].tolist() == [3, 3, 1]
    assert frame["stopped_here"].tolist() == [0, 2, 0]


def test_failures_that_differ_only_in_numbers_are_one_reason(tmp_path: Path) -> None:
    files = study(tmp_path, trial(0, COMPLETE, 0.5), trial(4, FAILED, None), trial(7, FAILED, None))
    frame = tables.failures(files).frame
    assert frame["num_trials"].tolist() == [2]
    assert frame["trials"].tolist() == ["4, 7"]
    assert frame["reason"].tolist() == ["OutOfMemoryError: needs 4 GiB"]


def test_markdown_cells_cannot_break_the_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"class": ["a|b", "new\nline", "<script>", "_x_*y*"]})
    write_table(Table("t", "T", frame), tmp_path)
    lines = (tmp_path / "t.md").read_text().splitlines()[4:]
    assert lines == [r"| a\|b |", "| new line |", r"| \<script\> |", r"| \_x\_\*y\* |"]


def test_confusions_are_ranked_and_match_the_predictions(tmp_path: Path) -> None:
    files = read_study(write_fake_study(tmp_path / "s", num_classes=12, num_trials=5))
    table = tables.confusions(files).frame
    wrong = files.predictions[files.predictions["label"] != files.predictions["predicted"]]
    assert table["num_images"].sum() == len(wrong)
    assert table["num_images"].is_monotonic_decreasing
    top = table.iloc[0]
    pair = (wrong["label"] == top["true"]) & (wrong["predicted"] == top["predicted"])
    assert pair.sum() == top["num_images"]
    assert {"new\nline", "<script>", "_hidden"} <= set(files.classes)


def test_classes_have_the_areas_under_the_curves_that_are_drawn(tmp_path: Path) -> None:
    files = read_study(write_fake_study(tmp_path / "s", num_classes=12, num_trials=5))
    first = files.metrics["per_class"][0] | {"class": "never seen", "support": 0}
    metrics = files.metrics | {"per_class": [*files.metrics["per_class"], first]}
    table = tables.per_class(replace(files, metrics=metrics))
    frame = table.frame.set_index("class")
    for curve in curve_plots.class_curves(files):
        row = frame.loc[curve.name]
        assert (row["auc"], row["average_precision"]) == (curve.auc, curve.average_precision)
        assert row["auc_low"] < row["auc"] <= row["auc_high"]
        assert row["auc_interval"] == f"{row['auc_low']:.2f} to {row['auc_high']:.2f}"
    assert frame.loc["never seen", ["auc", "average_precision"]].isna().all()
    assert frame["f1"].is_monotonic_increasing
    write_table(table, tmp_path / "tables")
    text = (tmp_path / "tables" / "per_class.md").read_text("utf-8")
    assert "| AUC | interval | average precision |" in text
    assert "nan" not in text
    bare = tables.per_class(replace(files, predictions=files.predictions[["label", "predicted"]]))
    assert "auc" not in bare.frame.columns


def test_numbers_read_only_numbers() -> None:
    assert numbers(pd.Series(["1e-3", "", "2"])).tolist()[::2] == [0.001, 2.0]  # type: ignore[union-attr]
    assert numbers(pd.Series(["none", "1"])) is None
    assert numbers(pd.Series(["True", "False"])) is None
    assert numbers(pd.Series(["", ""])) is None


def test_the_answer_of_a_finished_study(tmp_path: Path) -> None:
    files = read_study(write_fake_study(tmp_path / "s", num_classes=3))
    best, test, why, mistakes, default, mattered, following = answer_lines(files)
    assert files.best_params["backbone"] in best.text
    accuracy = files.metrics["metrics"]["accuracy"]
    shown = [f"{100 * accuracy[key]:.1f}" for key in ("value", "low", "high")]
    assert test.text.startswith("{} % [{}, {}]".format(*shown))
    assert default.text.startswith(files.metrics["comparison"]["worth_it"].capitalize())
    assert "backbone (46 %)" in mattered.text
    assert "f-ANOVA" in mattered.text
    assert following.text
    assert not any(line.missing for line in (best, test, default, mattered))
    means = files.confirm.groupby("candidate")["value"].mean()
    rival = means.drop(files.summary["confirm"]["winner"]).idxmax()
    assert f" {rival}'s {100 * means[rival]:.1f} %" in why.text
    assert "within the spread between seeds. Best of each backbone" in why.text
    assert "efficientnet_b0 80.9 %, " in why.text
    assert why.text.endswith(" and 1 more.")
    wrong = (files.predictions["label"] != files.predictions["predicted"]).sum()
    of = len(files.predictions)
    assert mistakes.text.startswith(f"{wrong} wrong answers on {of} test images. Mixed up most: ")


def test_a_gain_smaller_than_the_spread_is_not_called_better(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=5)
    files = read_study(folder)
    confirm = {"mean": 0.80, "std": 0.02, "default_mean": 0.79, "default_std": 0.02, "num_seeds": 3}
    write_json(folder.summary, files.summary | {"confirm": confirm, "comparison": None})
    assert "within the spread" in worth_it(folder)
    clear = confirm | {"default_mean": 0.60}
    write_json(folder.summary, files.summary | {"confirm": clear, "comparison": None})
    assert "better by 20.0 points" in worth_it(folder)


def worth_it(folder: ResultsFolder) -> str:
    lines = {line.label: line.text for line in answer_lines(read_study(folder))}
    return lines["Is tuning worth it here?"]


def test_a_winner_without_rival_or_second_training_says_so(tmp_path: Path) -> None:
    trials = (trial(k, COMPLETE, 0.5 + 0.1 * k, backbone="only_one") for k in range(3))
    study(tmp_path, *trials)
    write_json(tmp_path / "summary.json", {"confirm": {"winner": "trial 2", "params": {"lr": 0.1}}})
    lines = {line.label: line.text for line in answer_lines(read_study(ResultsFolder(tmp_path)))}
    assert lines["Why this one"] == (
        "Val accuracy 70.0 % in the search, the best of 3 trials; not confirmed with fresh seeds. "
        "No other backbone was tried."
    )
    assert "What it gets wrong" not in lines


def test_the_answer_without_any_value_says_so(tmp_path: Path) -> None:
    lines = answer_lines(study(tmp_path, trial(0, FAILED, None, backbone="a")))
    assert [line.missing for line in lines[:4]] == [True] * 4
    assert len(lines) == 5


@pytest.mark.parametrize("name", tables.TABLES)
def test_an_empty_folder_has_no_table_but_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "study.yaml").write_text("name: empty\n")
    files = read_study(ResultsFolder(tmp_path))
    with pytest.raises(NothingToShowError, match=r"\.$"):
        tables.TABLES[name](files)
