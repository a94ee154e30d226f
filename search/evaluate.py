"""Judge the final model once, on the test images nothing before this stage has seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.calibration import Temperature, describe_calibration
from search.data.loader import open_trial_data
from search.errors import ResultsError
from search.records import (
    DatasetIndex,
    Evaluation,
    Ids,
    ImageCache,
    Metric,
    Split,
    read_csv,
    write_csv,
    write_json,
)
from search.results import ResultsFolder
from search.scores import per_class_scores, score_predictions, tempered
from search.statistics import Floats
from search.verdicts import compare_models
from trainables.saved import INFO_FILE, load_model, predict_probabilities

BATCH_SIZE = 128


def evaluate_on_test(
    results: ResultsFolder,
    cache: ImageCache,
    split: Split,
    index: DatasetIndex,
    *,
    baseline_folder: Path | None,
    runner_up: str = "",
    cautions: Sequence[str] = (),
    device: str = "cpu",
    num_threads: int = 1,
) -> Evaluation:
    """Predict the test images with the final model, write every figure, and return them.

    Args:
        baseline_folder: The default recipe retrained alike, judged on the same images; a folder
            without a model, or None, leaves the comparison out.
        runner_up: Name of the next best, if its model was to be put into `results.runner_up`.
        cautions: What the score must be read with.
        num_threads: CPU threads the prediction may use.

    Raises:
        ResultsError: The saved model knows other classes than the data set.
    """
    torch.set_num_threads(num_threads)
    ids = split.test

    def predict(folder: Path) -> tuple[Ids, Floats]:
        model, info = load_model(folder)
        _check_classes(folder, info.classes, cache.classes)
        data = open_trial_data(cache, split.train, split.val, size_px=info.size_px)
        batches = data.clean_batches(ids, batch_size=BATCH_SIZE)
        return predict_probabilities(model, batches, device)

    y_true, raw = predict(results.best)
    temperature = _read_temperature(results.best)
    probabilities = tempered(raw, temperature.value)
    scores = score_predictions(y_true, probabilities)
    evaluation = Evaluation(cache.classes, ids, y_true, probabilities, scores)
    told = {
        "comparison": _compare(y_true, raw, predict, baseline_folder, ""),
        "runner_up": _compare(
            y_true, raw, predict, results.runner_up if runner_up else None, runner_up
        ),
        "calibration": describe_calibration(y_true, raw, temperature),
        "cautions": list(cautions),
    }
    _write_evaluation(results, evaluation, index, told)
    return evaluation


def _compare(
    y_true: Ids,
    raw: Floats,
    predict: Callable[[Path], tuple[Ids, Floats]],
    folder: Path | None,
    name: str,
) -> dict[str, Any] | None:
    """Compare the final model with another one on the same images, None where there is none.

    Args:
        name: Of the runner-up, "" for the default recipe.
    """
    if folder is not None and (folder / INFO_FILE).exists():
        return compare_models(y_true, raw, predict(folder)[1], name)
    if not name:
        return None
    text = f"The runner-up, {name}, could not be trained on train + val."
    return {"name": name, "text": text}


def _read_temperature(folder: Path) -> Temperature:
    """Return a model's temperature, none where it has no record of it."""
    try:
        return Temperature(**json.loads((folder / "calibration.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Temperature()


def read_cautions(results: ResultsFolder) -> list[str]:
    """Return what the test score must be read with."""
    written = json.loads((results.test / "metrics.json").read_text(encoding="utf-8"))
    return list(written.get("cautions", ()))


def _check_classes(folder: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    if tuple(found) != tuple(expected):
        raise ResultsError(
            f"{folder}: the model's classes must be those of the data set, got {len(found)} "
            f"others where {len(expected)} were expected. Start again with --fresh."
        )


def _write_evaluation(
    results: ResultsFolder,
    evaluation: Evaluation,
    index: DatasetIndex,
    told: dict[str, Any],
) -> None:
    classes = evaluation.classes
    predicted = evaluation.probabilities.argmax(axis=1)
    chances = [f"p.{name}" for name in classes]
    rows = (
        {
            "id": int(image_id),
            "path": index.rows[image_id].path,
            "label": classes[true],
            "predicted": classes[guess],
            "confidence": f"{probs[guess]:.7g}",
        }
        | {name: f"{p:.7g}" for name, p in zip(chances, probs, strict=True)}
        for image_id, true, guess, probs in zip(
            evaluation.ids, evaluation.y_true, predicted, evaluation.probabilities, strict=True
        )
    )
    columns = ["id", "path", "label", "predicted", "confidence", *chances]
    write_csv(results.test / "predictions.csv", columns, rows)
    write_json(
        results.test / "metrics.json",
        {
            "metrics": evaluation.metrics,
            "per_class": per_class_scores(classes, evaluation.y_true, predicted),
            "num_images": len(evaluation.ids),
        }
        | told,
    )


def read_evaluation(results: ResultsFolder) -> Evaluation:
    """Load what `evaluate_on_test` wrote; probabilities come back to seven digits.

    Raises:
        ResultsError: The files are missing or damaged.
    """
    path = results.test / "predictions.csv"
    try:
        written = json.loads((results.test / "metrics.json").read_text(encoding="utf-8"))
        metrics = {name: Metric(**figures) for name, figures in written["metrics"].items()}
        rows = read_csv(path)
        classes = tuple(name[2:] for name in rows[0] if name.startswith("p."))
        number = {name: k for k, name in enumerate(classes)}
        y_true = np.array([number[row["label"]] for row in rows], dtype=np.int64)
        ids = np.array([row["id"] for row in rows], dtype=np.int64)
        probabilities = _probabilities(rows, classes)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ResultsError(
            f"{path}: must hold the test predictions, got {error!r}. Start again with --fresh."
        ) from error
    return Evaluation(classes, ids, y_true, probabilities, metrics)


def _probabilities(rows: list[dict[str, str]], classes: Sequence[str]) -> Floats:
    return np.array([[float(row[f"p.{name}"]) for name in classes] for row in rows])
