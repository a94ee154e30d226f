"""A study of two objectives and a limit, as a user runs it, to the table of trade-offs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from tests.e2e.conftest import make_study, run_search

MOST = 20_000
SPACE = """
name: tiny
dataset: {root: photos, size_px: 32, val_fraction: 0.2, test_fraction: 0.25}
objective: [{metric: val_accuracy}, {metric: latency_ms}]
constraints: {num_parameters: "<= 2e4"}
budget: {num_trials: 7, max_epochs: 3, min_epochs: 1, reduction_factor: 3}
confirm: {top_k: 1, num_seeds: 0}
report: {cam_images: 0}
space:
  backbone: small_cnn
  depth: 2
  width: {choice: [8, 16, 24, 64], default: 16}
  lr: {float: [2.0e-3, 2.0e-2], log: true}
  augment_strength: 0.1
  batch_size: 8
start_with:
  - {width: 64}
  - {width: 8}
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_study(tmp_path_factory.mktemp("trade offs"))
    (folder / "tiny.yaml").write_text(SPACE, encoding="utf-8")
    done = run_search(folder, "--space", "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by val_accuracy and latency_ms, with num_parameters <= 20000" in done.stdout
    assert "ms an image, 5.24 k parameters" in done.stdout, "the default recipe's, as space has it"
    assert "breaks the constraints" not in done.stderr
    return folder / "results" / "tiny"


def test_what_breaks_the_limit_is_not_trained(results: Path) -> None:
    trials = rows(results / "study" / "trials.csv")
    assert len(trials) == 7
    large = [row for row in trials if float(row["num_parameters"]) > MOST]
    first, *others = large
    known_s = float(first["started_s"]) + float(first["seconds"])
    assert all(float(row["started_s"]) <= known_s for row in others), "known, and not drawn again"
    assert (first["number"], first["params.width"]) == ("1", "64")
    for trial in large:
        assert (trial["state"], trial["epochs_run"], trial["best_value"]) == ("infeasible", "0", "")
        assert trial["error"].startswith("num_parameters must be <= 20000, has ")
    ended = [row for row in trials if row["state"] in ("complete", "pruned")]
    assert len(ended) == 7 - len(large)
    assert all(float(row["latency_ms"]) > 0 and float(row["model_mb"]) > 0 for row in trials)
    by_width = {(row["params.width"], row["latency_ms"]) for row in ended}
    assert len(by_width) == len({width for width, _ in by_width}), "one latency a network"
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["trials"]["infeasible"] == len(large)
    assert summary["confirm"]["footprint"]["num_parameters"] <= MOST
    assert summary["study"]["constraints"] == {"num_parameters": "<= 20000"}


def test_optuna_reads_both_values_and_the_constraint(results: Path) -> None:
    ours = {int(r["number"]): r for r in rows(results / "study" / "trials.csv")}
    storage = JournalStorage(JournalFileBackend(str(results / "study" / "optuna.journal")))
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert study.metric_names == ["val_accuracy", "latency_ms"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [t.number for t in study.trials] == sorted(ours)
    for trial in study.trials:
        row = ours[trial.number]
        (excess,) = trial.constraints.values()
        assert (excess > 0) == (row["state"] == "infeasible")
        if row["state"] == "complete":
            assert trial.values == pytest.approx(
                [float(row["best_value"]), float(row["latency_ms"])]
            )
        else:
            assert trial.state is optuna.trial.TrialState.PRUNED
            assert trial.values is None
    table = {int(r["number"]) for r in rows(results / "report" / "tables" / "pareto.csv")}
    assert {t.number for t in study.best_trials} == table, "Optuna's own front"


def test_the_table_of_trade_offs_is_the_front(results: Path) -> None:
    complete = {
        row["number"]: (float(row["best_value"]), float(row["latency_ms"]))
        for row in rows(results / "study" / "trials.csv")
        if row["state"] == "complete"
    }
    front = {
        number
        for number, (value, latency) in complete.items()
        if not any(
            v >= value and ms <= latency and (v, ms) != (value, latency)
            for v, ms in complete.values()
        )
    }
    table = rows(results / "report" / "tables" / "pareto.csv")
    assert {row["number"] for row in table} == front
    values = [float(row["val_accuracy"]) for row in table]
    assert values == sorted(values, reverse=True)
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert [str(row["trial_number"]) for row in summary["pareto"]] == [r["number"] for r in table]
    winner = summary["confirm"]["winner"].removeprefix("trial ").replace("default recipe", "0")
    best = max(value for value, _ in complete.values())
    assert complete[winner][0] == best, "the first objective ranks"
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="plot-pareto"' in page
    assert "infeasible" in page


def test_another_limit_is_another_study(results: Path) -> None:
    other = run_search(
        results.parents[1], "--space", "tiny.yaml", "--set", "constraints.num_parameters=<= 3e4"
    )
    assert other.returncode == 2
    assert "constraints.num_parameters: there '<= 20000', now '<= 30000'" in other.stderr
