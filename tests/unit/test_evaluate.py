"""The test stage: every figure agrees with scikit-learn, and comes back from disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from search.errors import ResultsError
from search.evaluate import evaluate_on_test, read_cautions, read_evaluation
from search.predict import predict_images
from search.records import read_csv
from search.results import ResultsFolder
from tests.tiny_model import CLASSES, TinyStudy, make_study, train_model
from trainables.saved import load_model, save_model


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> TinyStudy:
    return make_study(tmp_path_factory.mktemp("study"))


def evaluate(study, baseline_folder=None):
    return evaluate_on_test(
        study.results,
        study.cache,
        study.split,
        study.index,
        baseline_folder=baseline_folder,
        device="cpu",
        num_threads=1,
    )


def test_exactly_the_test_images_are_judged(study):
    evaluation = evaluate(study)
    assert (evaluation.ids == study.split.test).all()
    assert (evaluation.y_true == study.index.labels[study.split.test]).all()
    assert evaluation.classes == tuple(sorted(CLASSES))
    assert np.allclose(evaluation.probabilities.sum(axis=1), 1)
    assert evaluation.metrics["accuracy"].value > 0.5  # it learned: chance is .25


def test_files_are_written_as_documented(study):
    evaluation = evaluate(study)
    rows = read_csv(study.results.test / "predictions.csv")
    assert [int(row["id"]) for row in rows] == study.split.test.tolist()
    first = rows[0]
    assert first["path"] == study.index.rows[int(first["id"])].path
    chances = {name: float(first[f"p.{name}"]) for name in CLASSES}
    assert first["predicted"] == max(chances, key=chances.get)
    assert float(first["confidence"]) == max(chances.values())
    written = json.loads((study.results.test / "metrics.json").read_text("utf-8"))
    assert written["num_images"] == len(study.split.test)
    assert written["comparison"] is None
    assert written["metrics"]["accuracy"]["value"] == evaluation.metrics["accuracy"].value
    assert [row["class"] for row in written["per_class"]] == sorted(CLASSES)
    assert not [p for p in study.results.test.iterdir() if p.name.startswith(".")]


def test_an_evaluation_comes_back_from_disk(study):
    evaluation = evaluate(study)
    again = read_evaluation(study.results)
    assert again.classes == evaluation.classes
    assert (again.ids == evaluation.ids).all()
    assert (again.y_true == evaluation.y_true).all()
    assert np.allclose(again.probabilities, evaluation.probabilities, atol=1e-6)
    assert again.metrics == evaluation.metrics


@pytest.mark.parametrize("damage", ["predictions.csv", "metrics.json"])
def test_damaged_files_are_an_error_of_ours(study, damage):
    evaluate(study)
    (study.results.test / damage).write_text("nonsense\n1\n")
    with pytest.raises(ResultsError, match="--fresh"):
        read_evaluation(study.results)


def test_the_baseline_is_judged_on_the_same_images(study, tmp_path):
    train_model(tmp_path, study.cache, study.split, epochs=0, seed=5)
    evaluation = evaluate(study, tmp_path)
    comparison = json.loads((study.results.test / "metrics.json").read_text("utf-8"))["comparison"]
    assert comparison["difference"] > 0.3
    assert comparison["low"] > 0
    assert comparison["p_value"] < 0.05
    assert comparison["text"].startswith("Tuning gained ")
    assert comparison["text"].endswith(": more than noise.")
    assert evaluation.metrics["accuracy"].value > comparison["difference"]


def test_a_model_sees_images_of_its_own_size_from_the_store_of_all(study, tmp_path):
    model, info = load_model(study.results.best)
    smaller = replace(info, size_px=20)  # a CNN takes any size; the store is made for 32
    results = ResultsFolder(tmp_path)
    save_model(model, results.best, smaller)
    evaluation = evaluate(replace(study, results=results))
    files = [study.index.file(int(k)) for k in evaluation.ids]
    guesses, _ = predict_images(results.best, files)
    found = [guess.probabilities[0] for guess in guesses]
    assert found == pytest.approx(evaluation.probabilities.max(axis=1).tolist(), abs=1e-6)
    assert not np.allclose(evaluation.probabilities, evaluate(study).probabilities, atol=1e-3)


def test_the_same_model_as_baseline_makes_no_difference(study):
    evaluate(study, study.results.best)
    comparison = json.loads((study.results.test / "metrics.json").read_text("utf-8"))["comparison"]
    assert (comparison["difference"], comparison["p_value"]) == (0.0, 1.0)


def test_a_baseline_folder_without_a_model_means_no_comparison(study, tmp_path):
    evaluate(study, tmp_path / "never made")
    written = json.loads((study.results.test / "metrics.json").read_text("utf-8"))
    assert written["comparison"] is None


def test_a_model_of_other_classes_is_refused(study):
    other = replace(study, cache=replace(study.cache, classes=("a", "b", "c", "d")))
    with pytest.raises(ResultsError, match="classes"):
        evaluate(other)


def test_the_runner_up_is_judged_on_the_same_images(study, tmp_path):
    def judge(name: str) -> dict:
        evaluate_on_test(
            study.results, study.cache, study.split, study.index,
            baseline_folder=None, runner_up=name, cautions=["look at this"],
        )  # fmt: skip
        return json.loads((study.results.test / "metrics.json").read_text("utf-8"))

    assert judge("")["runner_up"] is None
    missing = judge("trial 3")["runner_up"]
    assert missing["text"] == "The runner-up, trial 3, could not be trained on train + val."
    train_model(study.results.runner_up, study.cache, study.split, epochs=0, seed=5)
    told = judge("trial 3")
    assert told["runner_up"]["name"] == "trial 3"
    assert told["runner_up"]["difference"] > 0.3
    assert read_cautions(study.results) == told["cautions"] == ["look at this"]
