"""A whole study, as a user runs it: what comes out, and what a second run does."""

from __future__ import annotations

import csv
import json
import math
import re
import time
import warnings
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages.journal import JournalFileBackend, JournalStorage

from tests.e2e.conftest import run_search


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_promised_file_is_there(finished: Path) -> None:
    results = finished / "results" / "tiny"
    for name in (
        "study.yaml", "environment.json", "summary.json",
        "data/index.csv", "data/problems.csv", "data/splits.csv",
        "study/trials.csv", "study/epochs.csv", "study/optuna.journal", "study/events.jsonl",
        "confirm/confirm.csv", "best/params.json", "best/weights.safetensors", "best/model.json",
        "test/predictions.csv", "test/metrics.json", "test/cam/cam.json",
        "report/index.html", "export/weights.safetensors", "export/model.json",
    ):  # fmt: skip
        assert (results / name).stat().st_size > 0, name
    assert list((results / "report" / "plots").glob("*.png"))
    assert list((results / "report" / "tables").glob("*.csv"))
    assert not (results / "study" / "ray").exists(), "Ray's own files are not a result"


def test_summary_agrees_with_the_tables(finished: Path) -> None:
    results = finished / "results" / "tiny"
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    trials = rows(results / "study" / "trials.csv")
    assert sum(summary["trials"].values()) == len(trials) == 4
    assert summary["trials"]["failed"] == summary["trials"]["interrupted"] == 0
    parts = [row["split"] for row in rows(results / "data" / "splits.csv")]
    dataset = summary["dataset"]
    assert parts.count("test") == dataset["num_test"] == summary["test"]["num_images"]
    assert (summary["test"]["num_looks"], summary["warm_start"]) == (1, None)
    assert parts.count("train") == dataset["num_train"]
    predictions = rows(results / "test" / "predictions.csv")
    right = sum(row["label"] == row["predicted"] for row in predictions)
    assert summary["test"]["accuracy"]["value"] == pytest.approx(right / len(predictions))
    assert summary["test"]["accuracy"]["value"] > 0.6, "three plain shapes are easy"
    complete = [r for r in trials if r["state"] == "complete"]
    best = max(float(r["best_value"]) for r in complete)
    assert summary["best"]["value"] == pytest.approx(best)
    assert summary["best"]["low"] < best <= summary["best"]["high"]
    assert {
        "check",
        "cache",
        "search",
        "confirm",
        "retrain",
        "evaluate",
        "explain",
        "export",
    } <= set(summary["stage_seconds"])
    assert all(int(r["epochs_run"]) == 6 for r in complete)


def test_the_winner_is_judged_beside_others_made_alike(finished: Path) -> None:
    results = finished / "results" / "tiny"
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    confirmed = {row["candidate"] for row in rows(results / "confirm" / "confirm.csv")}
    models = {n for n in ("baseline", "runner_up") if (results / n / "model.json").exists()}
    winner = summary["confirm"]["winner"]
    wanted = {"baseline"} if winner != "default recipe" else set()
    rivals = {"comparison": "baseline", "runner_up": "runner_up"}
    if summary["runner_up"]:  # else it is the default recipe, which has a model already
        wanted |= {"runner_up"}
        assert summary["runner_up"]["name"] in confirmed - {winner, "default recipe"}
    assert models == wanted
    for key, folder in rivals.items():
        assert bool(summary[key] and "p_value" in summary[key]) == (folder in models), key
    optimism = summary["confirm"]["optimism"]
    assert optimism["search_value"] - optimism["confirmed_mean"] == pytest.approx(optimism["best"])


def test_the_exported_model_has_the_temperature_of_the_confirmations(finished: Path) -> None:
    results = finished / "results" / "tiny"
    told = json.loads((results / "test" / "metrics.json").read_text(encoding="utf-8"))
    exported = json.loads((results / "export" / "model.json").read_text(encoding="utf-8"))
    winner = json.loads((results / "summary.json").read_text(encoding="utf-8"))["confirm"]["winner"]
    runs = rows(results / "confirm" / "confirm.csv")
    found = [float(row["temperature"]) for row in runs if row["candidate"] == winner]
    assert exported["temperature"] == pytest.approx(math.prod(found) ** (1 / len(found)))
    assert told["calibration"]["temperature"] == exported["temperature"]
    assert told["calibration"]["source"] == "1 fresh-seed training of the winner, on val"


def test_what_was_written_to_look_at_while_it_ran(finished: Path) -> None:
    results = finished / "results" / "tiny"
    files = [len(list((results / "tensorboard" / str(k)).iterdir())) for k in range(4)]
    assert files == [1, 1, 1, 1]
    trouble = (results / "study" / "logs" / "report.txt").read_text(encoding="utf-8")
    assert trouble == "", "of the live page"
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert "Running." not in page, "the last page is the final one"
    assert "reload" not in page


def test_a_dangling_link_is_dropped_and_named(finished: Path) -> None:
    found = rows(finished / "results" / "tiny" / "data" / "problems.csv")
    assert [(r["kind"], r["action"]) for r in found if "dangling" in r["path"]] == [
        ("unreadable", "dropped")
    ]


def test_trial_0_is_the_default_recipe_and_never_pruned(finished: Path) -> None:
    first = rows(finished / "results" / "tiny" / "study" / "trials.csv")[0]
    assert (first["number"], first["state"]) == ("0", "complete")
    assert (first["params.backbone"], first["params.optimizer"]) == ("small_cnn", "adamw")
    assert first["params.momentum"] == "", "inactive params are blank"


def optuna_study(results: Path) -> optuna.Study:
    backend = JournalFileBackend(str(results / "study" / "optuna.journal"))
    return optuna.load_study(study_name="tiny", storage=JournalStorage(backend))


def test_optuna_reads_the_same_trials_from_our_journal(finished: Path) -> None:
    results = finished / "results" / "tiny"
    ours = {int(r["number"]): r for r in rows(results / "study" / "trials.csv")}
    epochs = rows(results / "study" / "epochs.csv")
    trials = optuna_study(results).trials
    assert [t.number for t in trials] == sorted(ours)
    for trial in trials:
        row = ours[trial.number]
        assert trial.state.name.lower() == row["state"]
        assert trial.intermediate_values == {
            int(e["epoch"]): pytest.approx(float(e["val_accuracy"]))
            for e in epochs
            if int(e["trial_number"]) == trial.number
        }
        assert trial.value == (
            pytest.approx(float(row["best_value"])) if row["state"] == "complete" else None
        )
        assert {name: str(value) for name, value in trial.params.items()} == {
            name: row[f"params.{name}"]
            for name in ("backbone", "lr", "optimizer", "momentum")
            if row[f"params.{name}"]
        }


def test_optuna_draws_its_plots_from_our_journal(finished: Path) -> None:
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    study = optuna_study(finished / "results" / "tiny")
    for plot in (
        plots.plot_optimization_history,
        plots.plot_param_importances,
        plots.plot_parallel_coordinate,
        plots.plot_slice,
        plots.plot_intermediate_values,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plot(study)
        assert plt.gcf().axes, plot.__name__
        plt.close("all")


def test_terminal_is_calm(finished: Path) -> None:
    text = (finished / "terminal.txt").read_text(encoding="utf-8")
    assert not re.search(r"WARNING|INFO|ray\.|raylet|FutureWarning|Traceback|\[I \d", text), text
    assert len(text.splitlines()) < 40
    assert text.count("complete") >= 1


def test_class_names_are_shown_as_text(finished: Path) -> None:
    page = (finished / "results" / "tiny" / "report" / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert '<b>"green"</b>' not in page


def test_the_same_command_on_a_finished_study_ends_in_seconds(finished: Path) -> None:
    results = finished / "results" / "tiny"
    before = (results / "summary.json").read_bytes()
    begin = time.monotonic()
    again = run_search(finished, "--space", "tiny.yaml")
    assert again.returncode == 0, again.stderr
    assert "already finished" in again.stdout
    assert "test accuracy" in again.stdout
    assert time.monotonic() - begin < 30
    assert (results / "summary.json").read_bytes() == before


def test_another_space_is_refused_with_what_differs(finished: Path) -> None:
    other = run_search(finished, "--space", "tiny.yaml", "--set", "space.lr.float=[0.01, 0.02]")
    assert other.returncode == 2
    assert "space.lr.float" in other.stderr
    assert "--fresh" in other.stderr
    assert "Traceback" not in other.stderr


def test_changed_photos_are_refused(finished: Path) -> None:
    extra = next((finished / "photos").glob("red*")) / "extra.png"
    source = next((finished / "photos").glob("red*/*.png"))
    pixels = source.read_bytes()
    try:
        from PIL import Image

        Image.open(source).transpose(Image.Transpose.ROTATE_90).save(extra)
        other = run_search(finished, "--space", "tiny.yaml")
    finally:
        extra.unlink(missing_ok=True)
    assert source.read_bytes() == pixels
    assert other.returncode == 2
    assert "other images" in other.stderr
    assert "--fresh" in other.stderr


def test_resolved_space_file_loads_again(finished: Path) -> None:
    from search.config import load_study

    path = finished / "results" / "tiny" / "study.yaml"
    study = load_study(path)
    assert study.resolved() == yaml.safe_load(path.read_text(encoding="utf-8"))
