"""The report's trade-offs: the table against a count by hand, the plot with few and many trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.records import TrialRecord, TrialState, write_csv, write_json
from search.report import pareto, tables
from search.report.answer import answer_lines
from search.report.load import NothingToShowError, StudyFiles, read_study
from search.report.page import write_report
from search.report.style import plot_style, save_figure
from search.report.table import write_table
from search.results import ResultsFolder
from search.trial_table import trial_columns, trial_row

BOTH = [
    {"metric": "val_accuracy", "direction": "maximize"},
    {"metric": "latency_ms", "direction": "minimize"},
]


def study(
    root: Path, trials: list[TrialRecord], objective: object = BOTH, **limits: str
) -> StudyFiles:
    folder = ResultsFolder(root)
    write_csv(folder.study / "trials.csv", trial_columns(trials), map(trial_row, trials))
    budget = {"min_epochs": 1, "max_epochs": 9, "reduction_factor": 3}
    told = {"objective": objective, "constraints": limits, "trainable": "classifier"}
    confirm = {"winner": "trial 2", "params": {"width": 2}}
    write_json(folder.summary, {"study": told | {"budget": budget}, "confirm": confirm})
    return read_study(folder)


def trial(
    number: int, value: float | None, latency: float, count: int, state: str = "complete"
) -> TrialRecord:
    return TrialRecord(
        number, TrialState(state), {"width": number, "lr": 0.1}, 9, best_value=value, best_epoch=1,
        seconds=3.0, latency_ms=latency, num_parameters=count, model_mb=count * 4e-6,
    )  # fmt: skip


TRIALS = [
    trial(0, 0.70, 2.0, 50_000),
    trial(1, 0.60, 1.0, 90_000),
    trial(2, 0.90, 9.0, 11_181_642),
    trial(3, 0.65, 2.5, 60_000),  # beaten by the default recipe in all
    trial(4, 0.80, 9.5, 10_000),  # beaten in speed, but small
    trial(5, 0.99, 0.1, 10, "pruned"),
    replace(trial(6, None, 50.0, 90_000_000, "infeasible"), epochs_run=0,
            error="num_parameters must be <= 20e6, has 90e6"),
    replace(trial(7, None, 51.0, 91_000_000, "infeasible"), epochs_run=0,
            error="num_parameters must be <= 20e6, has 91e6"),
]  # fmt: skip


def test_the_table_has_the_complete_trials_that_none_beats(tmp_path: Path) -> None:
    files = study(tmp_path, TRIALS, num_parameters="<= 2e7")
    table = pareto.pareto(files)
    assert table.frame["number"].tolist() == [2, 0, 1], "the best by the first objective first"
    assert table.frame["latency_ms"].tolist() == [9.0, 2.0, 1.0]
    assert "params.lr" not in table.frame, "the same in all of them"
    assert "params.width" in table.frame
    write_table(table, tmp_path)
    text = (tmp_path / "pareto.md").read_text(encoding="utf-8")
    assert "val accuracy | latency (ms) | parameters | size (MB)" in text
    assert "| 90.0 % | 9 | 11.2 M |" in text


def test_of_one_objective_speed_and_size_are_weighed_too(tmp_path: Path) -> None:
    files = study(tmp_path, TRIALS, BOTH[0])
    assert pareto.pareto(files).frame["number"].tolist() == [2, 4, 0, 1], "4 is the smallest"
    assert not [line for line in answer_lines(files) if line.label == "Trade-offs"]


def test_the_answer_says_what_is_to_be_had_for_less(tmp_path: Path) -> None:
    lines = {line.label: line.text for line in answer_lines(study(tmp_path, TRIALS))}
    assert lines["Trade-offs"] == (
        "Trial 2 reaches 90.0 % at 9 ms an image with 11.2 M parameters, trial 1 60.0 % at 1 ms an "
        "image with 90 k parameters; 3 trials to choose from."
    )


def test_infeasible_trials_are_counted_by_reason_and_lead_nothing(tmp_path: Path) -> None:
    files = study(tmp_path, TRIALS, num_parameters="<= 2e7")
    frame = tables.infeasible(files).frame
    assert frame["num_trials"].tolist() == [2]
    assert frame["reason"].tolist() == ["num_parameters must be <= 20e6, has 90e6"]
    assert tables.leaderboard(files).frame["number"].tolist() == [2, 4, 0, 3, 1, 5]
    assert files.ranked()["number"].tolist()[-2:] == [6, 7]
    with pytest.raises(NothingToShowError, match="No trial failed"):
        tables.failures(files)


def test_a_study_without_footprints_says_so(tmp_path: Path) -> None:
    bare = [replace(t, latency_ms=None, num_parameters=None, model_mb=None) for t in TRIALS]
    files = study(tmp_path, bare)
    for make in (pareto.pareto, pareto.trade_off_data):
        with pytest.raises(NothingToShowError, match="no trade-off to show"):
            make(files)
    assert pareto.trade_off_text(files) == ""


def test_each_panel_has_the_front_of_its_own_pair(tmp_path: Path) -> None:
    data = pareto.trade_off_data(study(tmp_path, TRIALS, latency_ms="<= 10"))
    latency, size = data.panels
    assert [data.numbers[k] for k in latency.front] == [1, 0, 2], "cheapest first"
    assert [data.numbers[k] for k in size.front] == [4, 2]
    assert (data.winner, data.limits) == (2, {"latency_ms": 10.0})


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_the_plot_is_drawn(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    trials = [
        trial(
            k, float(rng.uniform(0.3, 0.9)), float(rng.uniform(1, 30)), int(rng.integers(1e4, 1e7))
        )
        for k in range(count)
    ]
    data = pareto.trade_off_data(study(tmp_path, trials))
    with plot_style():
        figure = pareto.draw_trade_offs(data)
        save_figure(figure, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 5000
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert 0 < len(texts) <= 15, "numbers that do not overlap"
    assert figure.axes[1].get_xlabel() == "number of parameters"


def test_the_page_holds_table_plot_and_reasons(tmp_path: Path) -> None:
    study(tmp_path, TRIALS, num_parameters="<= 2e7")
    page = write_report(ResultsFolder(tmp_path)).read_text(encoding="utf-8")
    assert 'id="plot-pareto"' in page
    assert "Which constraints trials broke" in page
    assert '<span class="state infeasible">infeasible</span>' in page
    assert "2 infeasible" in page
