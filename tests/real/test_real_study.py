"""A short study on real photos with real weights: the whole pipeline, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import SHARED
from tests.e2e.conftest import REPOSITORY, run_search


def test_cats_and_dogs_with_a_frozen_pretrained_backbone(tmp_path: Path) -> None:
    done = run_search(
        tmp_path,
        *("--space", str(REPOSITORY / "spaces" / "cats_dogs.yaml")),
        *("--data", str(SHARED / "data" / "cats_dogs"), "--weights", str(SHARED / "weights")),
        *("--trials", "3", "--epochs", "4"),
        *("--set", "space.backbone=mobilenetv2_100", "--set", "space.freeze=backbone"),
        *("--set", "space.lr.float=[0.003, 0.02]", "--set", "space.optimizer=adamw"),
        # Of the space's own, 224 px in five views takes minutes on two cores.
        *("--set", "space.size_px=128", "--set", "dataset.size_px=128"),
        *("--set", "space.num_views.value=1"),
        *("--set", "start_with=[{trainable: linear_probe, augment_strength: 0.5}]"),
        *("--set", "confirm={top_k: 1, num_seeds: 1}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "results" / "cats_dogs" / "summary.json").read_text())
    assert summary["dataset"]["num_test"] == 420, "the given test split is left whole"
    assert summary["dataset"]["is_sample"] is False
    assert summary["warnings"] == [], "weights are there, nothing fell back"
    accuracy = summary["test"]["accuracy"]
    assert accuracy["value"] > 0.88, "far above a CNN from scratch on so few epochs"
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert summary["trials"]["failed"] == 0
    cam = json.loads((tmp_path / "results/cats_dogs/test/cam/cam.json").read_text())
    assert {entry["group"] for entry in cam} >= {"right"}
