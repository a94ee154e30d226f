"""A temperature makes confidences true, and comes from models that had not seen val."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from search.calibration import (
    Temperature,
    choose_temperature,
    describe_calibration,
    temperature_epoch,
)
from search.evaluate import evaluate_on_test, read_evaluation
from search.predict import predict_images
from search.records import Confirmation, ConfirmRun, EpochRecord, TrialRecord, TrialState
from search.retrain import set_temperature
from search.scores import tempered
from tests.tiny_model import TinyStudy, make_study
from trainables.calibration import TemperatureFit

WINNER = TrialRecord(4, TrialState.COMPLETE, best_value=0.9, best_epoch=3)


def overconfident(
    num_images: int, factor: float, num_classes: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes from true probabilities; return logits `factor` times as large as they were."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (num_images, num_classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y_true = (chances.cumsum(axis=1) > rng.random((num_images, 1))).argmax(axis=1)
    return y_true, factor * logits


def fit(y_true: np.ndarray, logits: np.ndarray, batch_size: int = 100) -> float:
    found = TemperatureFit("cpu")
    for start in range(0, len(y_true), batch_size):
        rows = slice(start, start + batch_size)
        found.add(torch.from_numpy(logits[rows]), torch.from_numpy(y_true[rows]))
    return found.best()


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.7])
def test_it_is_the_one_of_least_loss(factor: float) -> None:
    y_true, logits = overconfident(2000, factor)

    def loss(log_t: float) -> float:
        rows = torch.from_numpy(logits / np.exp(log_t))
        return float(torch.nn.functional.cross_entropy(rows, torch.from_numpy(y_true)))

    best = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
    found = fit(y_true, logits)
    assert found == pytest.approx(best, rel=0.03)
    assert found == pytest.approx(factor, rel=0.15)
    assert fit(y_true, logits, batch_size=7) == pytest.approx(found, rel=1e-4)
    assert fit(y_true, logits + 1000.0) == pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("num_images", [5, 50, 500])
def test_no_mistake_on_few_images_is_no_certainty(num_images: int) -> None:
    y_true = np.arange(num_images) % 3
    found = fit(y_true, 4.0 * np.eye(3)[y_true])
    chance = 1 / (1 + 2 * np.exp(-4.0 / found))
    assert 0.3 / num_images < 1 - chance < 2 / num_images, "as the rule of succession has it"


def test_no_image_at_all_gives_a_finite_number() -> None:
    assert np.isfinite(TemperatureFit("cpu").best())


def confirmation(*temperatures: float | None, number: int = 4, error: str = "") -> Confirmation:
    runs = [
        ConfirmRun(f"trial {number}", number, {}, seed, 0.9, 3, 5, 1.0, error, temperature)
        for seed, temperature in enumerate(temperatures)
    ]
    return Confirmation(tuple(runs), WINNER, 0.9, 0.0)


def epochs(*temperatures: float | None) -> list[EpochRecord]:
    return [
        EpochRecord(4, e, 1, 1, 1, 1, 1, 1, 1, 1, val_temperature=t)
        for e, t in enumerate(temperatures, 1)
    ]


def test_the_winners_fresh_seeds_tell_it_together() -> None:
    found = choose_temperature(confirmation(1.0, 4.0), epochs(9.0), "cosine")
    assert found.value == pytest.approx(2.0)
    assert found.source == "2 fresh-seed trainings of the winner, on val"


def test_without_them_the_trial_of_the_search_does() -> None:
    others = confirmation(5.0, number=7), confirmation(None), confirmation(3.0, error="it diverged")
    for nothing in others:
        assert choose_temperature(nothing, epochs(1.1, 1.2, 1.3, 1.4), "cosine").value == 1.4
        assert choose_temperature(nothing, epochs(1.1, 1.2, 1.3, 1.4), "constant").value == 1.3
    cut = replace(confirmation(), winner=replace(WINNER, state=TrialState.INTERRUPTED))
    assert choose_temperature(cut, epochs(1.1, 1.2), "cosine") == Temperature(1.0, "")
    assert choose_temperature(confirmation(), epochs(None), "cosine") == Temperature(1.0, "")


def test_it_is_of_the_epoch_a_retraining_stops_at() -> None:
    assert temperature_epoch("one_cycle", 3, 9) == 9
    assert temperature_epoch("step", 3, 9) == 3
    assert temperature_epoch("step", None, 9) == 9


def test_what_it_did_is_told_with_its_interval() -> None:
    y_true, logits = overconfident(800, 3.0)
    raw = tempered(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1.0)
    told = describe_calibration(y_true, raw, Temperature(3.0, "2 fresh-seed trainings"))
    assert told["before"]["ece"].value > 0.1 > told["after"]["ece"].value
    assert told["log_loss_change"].high < 0
    assert "less sure" in told["text"]
    assert told["text"].endswith("; the log loss is lower for it.")
    worse = describe_calibration(y_true, raw, Temperature(0.5, "val"))
    assert worse["text"].endswith("; the log loss is higher for it.")
    none = describe_calibration(y_true, raw, Temperature())
    assert "as the model gives them" in none["text"]
    assert none["before"] == none["after"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    return make_study(tmp_path_factory.mktemp("study"))


def test_the_test_and_every_prediction_use_it(study: TinyStudy) -> None:
    def judge() -> tuple[np.ndarray, dict[str, object]]:
        found = evaluate_on_test(
            study.results, study.cache, study.split, study.index, baseline_folder=None
        )
        told = json.loads((study.results.test / "metrics.json").read_text("utf-8"))
        assert read_evaluation(study.results).probabilities == pytest.approx(
            found.probabilities, abs=1e-6
        )
        return found.probabilities, told["calibration"]

    plain, untold = judge()
    assert untold["source"] == ""
    set_temperature(study.results.best, Temperature(2.0, "val"))
    soft, told = judge()
    assert soft == pytest.approx(tempered(plain, 2.0))
    assert told["before"]["log_loss"]["value"] != told["after"]["log_loss"]["value"]
    assert (told["temperature"], told["source"]) == (2.0, "val")
    file = study.index.file(int(study.split.test[0]))
    guesses, _ = predict_images(study.results.best, [file])
    assert guesses[0].probabilities[0] == pytest.approx(soft[0].max(), abs=1e-6)
