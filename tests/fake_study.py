"""Write a finished results folder from seeded numbers, for tests of whatever reads one."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.calibration import Temperature, describe_calibration
from search.records import (
    ConfirmRun,
    EpochRecord,
    ImageRow,
    Problem,
    TrialRecord,
    TrialState,
    write_csv,
    write_json,
    write_text,
)
from search.results import ResultsFolder
from search.scores import per_class_scores, score_predictions, tempered
from search.trial_table import trial_columns, trial_row
from search.verdicts import compare_models
from tests.fake_heat import write_cam
from tests.fake_search import MAX_EPOCHS, MIN_EPOCHS, REDUCTION_FACTOR, fake_search


def class_names(num_classes: int) -> list[str]:
    """Names as people have them: short, long, with spaces, accents and sharp edges."""
    first = [
        "cat", "dog", "Škoda", "Rolls-Royce", "Mercedes Benz Commercial", "<script>", "sea $x_1$",
        "Aston Martin Lagonda Limited Edition (DBS)", "-dash", 'quo"te', "new\nline", "_hidden",
    ]  # fmt: skip
    return (first + [f"species {k:03d} of the coral reef" for k in range(num_classes)])[
        :num_classes
    ]


def write_fake_study(
    root: Path,
    *,
    num_classes: int = 10,
    num_trials: int = 30,
    num_images: int = 600,
    seed: int = 0,
    classes: Sequence[str] = (),
    is_sample: bool = False,
    without: Sequence[str] = (),
) -> ResultsFolder:
    """Write the whole folder, then delete `without` (paths in it), and return it."""
    rng = np.random.default_rng(seed)
    folder = ResultsFolder(root)
    names = sorted(classes or class_names(num_classes))
    trials, epochs = fake_search(rng, num_trials)
    best = max(trials, key=lambda t: (t.state is TrialState.COMPLETE, t.best_value or 0.0))
    _write_study(folder, trials, epochs)
    rows = _write_data(folder, names, num_images, rng)
    runs = _write_confirm(folder, trials, best, rng)
    _write_best(folder, best, names, rng)
    test_rows = [row for row in rows if row.split == "test"]
    told = _write_test(folder, names, test_rows, rng)
    _write_summary(folder, trials, best, runs, names, rows, told, is_sample)
    for name in without:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return folder


def _write_study(
    folder: ResultsFolder, trials: list[TrialRecord], epochs: list[EpochRecord]
) -> None:
    write_csv(folder.study / "trials.csv", trial_columns(trials), map(trial_row, trials))
    columns = [f.name for f in fields(EpochRecord)]
    write_csv(folder.study / "epochs.csv", columns, map(asdict, epochs))
    shares = {"backbone": (0.46, 0.3), "lr": (0.38, 0.55), "augment_strength": (0.09, 0.05),
              "optimizer": (0.04, 0.06), "dropout": (0.02, 0.01),
              "batch_size": (0.01, 0.03)}  # fmt: skip
    write_csv(
        folder.study / "importance.csv",
        ["evaluator", "parameter", "importance"],
        [
            {"evaluator": evaluator, "parameter": name, "importance": pair[k]}
            for k, evaluator in enumerate(("fanova", "ped_anova"))
            for name, pair in shares.items()
        ],
    )


def _write_data(
    folder: ResultsFolder, names: list[str], num_images: int, rng: np.random.Generator
) -> list[ImageRow]:
    weights = rng.dirichlet(np.full(len(names), 4.0))
    labels = np.r_[np.repeat(range(len(names)), 6), rng.choice(len(names), num_images, p=weights)]
    sizes = ((640, 480), (480, 640), (1024, 768), (300, 300), (1920, 1080))
    rows, salt = [], rng.bit_generator.seed_seq.entropy  # other photos for another seed
    for k, label in enumerate(sorted(labels)):
        width, height = sizes[rng.integers(len(sizes))]
        wobble = int(rng.integers(-60, 60))
        split = ("train", "val", "test")[rng.choice(3, p=(0.6, 0.15, 0.25)) if k % 6 else 2]
        rows.append(
            ImageRow(
                f"{names[label]}/{k:05d}.jpg".replace("\n", " "), 0, names[label], split,
                width + wobble, height + wobble, "RGB", 40_000 + k, f"{salt:08x}{k:056x}",
                f"{k:016x}", k,
            )
        )  # fmt: skip
    write_csv(folder.data / "index.csv", [f.name for f in fields(ImageRow)], map(asdict, rows))
    write_csv(
        folder.data / "splits.csv",
        ["id", "path", "label", "split"],
        [asdict(row) | {"id": k} for k, row in enumerate(rows)],
    )
    kinds = ("near_duplicate", "exact_duplicate", "leak", "unreadable", "converted")
    problems = [
        Problem(row.path, row.label, kinds[k % 5], "seen twice", ("kept", "dropped")[k % 2])
        for k, row in enumerate(rows[:17])
    ]
    columns = [f.name for f in fields(Problem)]
    write_csv(folder.data / "problems.csv", columns, map(asdict, problems))
    return rows


def _write_confirm(
    folder: ResultsFolder,
    trials: list[TrialRecord],
    best: TrialRecord,
    rng: np.random.Generator,
) -> list[ConfirmRun]:
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.number]
    rest = sorted(complete, key=lambda t: -(t.best_value or 0))
    top = [best, *(t for t in rest if t is not best)][:3]
    runs = []
    for trial in [*top, trials[0]]:
        name = f"trial {trial.number}" if trial is not trials[0] else "default recipe"
        for seed in (11, 12, 13):
            value = float(np.clip((trial.best_value or 0.3) + rng.normal(-0.01, 0.01), 0, 1))
            runs.append(
                ConfirmRun(name, trial.number, trial.params, seed, value, 8, MAX_EPOCHS, 31.0)
            )
    columns = [f.name for f in fields(ConfirmRun) if f.name != "params"]
    write_csv(folder.confirm / "confirm.csv", columns, map(asdict, runs))
    return runs


def _write_best(
    folder: ResultsFolder, best: TrialRecord, names: list[str], rng: np.random.Generator
) -> None:
    write_json(folder.best / "params.json", best.params)
    model = {"trainable": "classifier", "params": best.params, "classes": names, "size_px": 96}
    write_json(folder.best / "model.json", model | {"fit": "crop", "mean": [0.5] * 3})
    columns = [f.name for f in fields(EpochRecord) if f.name != "trial_number"]
    curve = [
        {"epoch": e, "train_loss": 2.1 * math.exp(-e / 3) + 0.2 + rng.normal(0, 0.02),
         "lr": 0.001 * (1 + math.cos(math.pi * e / 9)) / 2, "seconds": 3.0,
         "images_per_second": 400.0}
        for e in range(1, 9)
    ]  # fmt: skip
    write_csv(folder.best / "epochs.csv", columns, curve)


def _write_test(
    folder: ResultsFolder, names: list[str], rows: list[ImageRow], rng: np.random.Generator
) -> dict[str, Any]:
    count = len(names)
    y_true = np.array([names.index(row.label) for row in rows])
    logits = rng.normal(0, 1, (len(rows), count))
    logits[np.arange(len(rows)), y_true] += 2.2 + 0.35 * math.log(count)
    logits[np.arange(len(rows)), (y_true + 1) % count] += 0.7
    raw = tempered(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 1 / 1.6)
    probabilities = tempered(raw, 1.3)
    predicted = probabilities.argmax(1)
    table = [
        {"id": row.group, "path": row.path, "label": row.label, "predicted": names[predicted[k]],
         "confidence": probabilities[k].max()}
        | {f"p.{name}": p for name, p in zip(names, probabilities[k], strict=True)}
        for k, row in enumerate(rows)
    ]  # fmt: skip
    columns = ["id", "path", "label", "predicted", "confidence", *(f"p.{n}" for n in names)]
    write_csv(folder.test / "predictions.csv", columns, table)
    metrics = {name: vars(m) for name, m in score_predictions(y_true, probabilities).items()}
    other, next_best = (
        np.where(rng.random((len(rows), 1)) < share, np.roll(raw, 1, axis=1), raw)
        for share in (0.05, 0.01)
    )
    told = {
        "metrics": metrics,
        "per_class": per_class_scores(names, y_true, predicted),
        "comparison": compare_models(y_true, raw, other),
        "runner_up": compare_models(y_true, raw, next_best, "trial 7"),
        "calibration": describe_calibration(
            y_true, raw, Temperature(1.3, "3 fresh-seed trainings of the winner, on val")
        ),
        "cautions": ["2 images of the test split look like another one there: too narrow"],
    }
    write_json(folder.test / "metrics.json", told)
    write_cam(folder.test / "cam", table, rng)
    return told


def _write_summary(
    folder: ResultsFolder,
    trials: list[TrialRecord],
    best: TrialRecord,
    runs: list[ConfirmRun],
    names: list[str],
    rows: list[ImageRow],
    told: dict[str, Any],
    is_sample: bool,
) -> None:
    study = {
        "name": folder.root.name, "space_file": "spaces/cars.yaml", "trainable": "classifier",
        "objective": {"metric": "val_accuracy", "direction": "maximize"}, "seed": 7,
        "budget": {"num_trials": len(trials), "max_epochs": MAX_EPOCHS, "min_epochs": MIN_EPOCHS,
                   "reduction_factor": REDUCTION_FACTOR, "brackets": 1, "time_limit": None},
    }  # fmt: skip
    states = [trial.state for trial in trials]
    splits = [row.split for row in rows]
    mine = [run.value or 0.0 for run in runs if run.trial_number == best.number]
    default = [run.value or 0.0 for run in runs if run.candidate == "default recipe"]
    environment = {
        "command": "python -m search.run --space spaces/cars.yaml --data 'my photos'",
        "versions": {"python": "3.11.9", "torch": "2.15.0", "ray": "2.60.0", "optuna": "5.0.0"},
        "git": {"commit": "0123abcd", "dirty": False},
        "hardware": {"cpus": 2, "gpus": 0, "memory_gib": 24.0, "platform": "Linux x86_64"},
        "seeds": {"study": 7, "split": 7},
    }
    write_json(folder.environment, environment)
    space = {"lr": {"float": [1e-5, 0.3], "log": True}, "dropout": {"float": [0.0, 0.6]}}
    write_text(folder.study_file, yaml.safe_dump({"name": study["name"], "space": space}))
    write_json(
        folder.summary,
        {
            "study": study,
            "dataset": {
                "roots": ["my photos"], "classes": names, "num_images": len(rows),
                **{f"num_{split}": splits.count(split) for split in ("train", "val", "test")},
                "num_dropped": 8, "problems": {"near_duplicate": 4, "leak": 3, "unreadable": 3},
                "fingerprint": "ab12cd34ef56ab12", "is_sample": is_sample, "size_px": 96,
                "source": "sample: rendered_cars" if is_sample else "folder", "fit": "crop",
            },
            "trials": {str(state): states.count(state) for state in TrialState},
            "best": {"trial_number": best.number, "params": best.params,
                     "value": best.best_value, "epoch": best.best_epoch},
            "confirm": {
                "winner": f"trial {best.number}", "num_seeds": 3,
                "mean": np.mean(mine), "std": np.std(mine, ddof=1), "note": "",
                "params": best.params,
                "optimism": {"text": f"the best of {len(trials)} trials was too good by 0.0100"},
                "default_mean": np.mean(default), "default_std": np.std(default, ddof=1),
            },
            "test": told["metrics"] | {"num_images": splits.count("test"), "num_looks": 1},
            **{key: told[key] for key in ("comparison", "runner_up", "calibration", "cautions")},
            "stage_seconds": {"index": 0.4, "check": 3.1, "split": 0.1, "cache": 2.2,
                              "search": 310.0, "confirm": 290.0, "retrain": 41.0, "test": 2.0,
                              "explain": 9.0},
            "warnings": ["weights: no network, so backbones start from random weights"],
            "reason": "all trials done",
            "started": "2025-01-31T10:00:00+01:00", "finished": "2025-01-31T10:11:00+01:00",
        } | {k: environment[k] for k in ("command", "hardware", "versions")},
    )  # fmt: skip
