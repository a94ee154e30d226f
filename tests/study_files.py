"""Space files as text, and loading them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from search.config import StudyConfig, load_study
from search.errors import SpaceError

REPO = Path(__file__).resolve().parent.parent
SHIPPED = sorted((REPO / "spaces").glob("*.yaml"))

MINIMAL = """
name: mine
dataset: {root: data/mine}
space:
  lr: {float: [1e-4, 1e-2], log: true}
"""
FULL = """
name: mine
dataset: {root: [data/a, "data/b, c: #1"], source: sklearn:digits, size_px: 64, fit: pad}
objective: {metric: val_loss}
budget: {num_trials: 5, max_epochs: 27, time_limit: 1h30m, brackets: 2}
resources: {cpus: 0.5, gpus: 0.25, max_concurrent: 3}
confirm: {top_k: 2, num_seeds: 0}
report: {cam_images: 0}
seed: 7
space:
  backbone: {choice: [small_cnn, resnet18, resnet50.a1_in1k], default: resnet18}
  freeze: {choice: [none, early_stages], when: {backbone: [resnet18, resnet50.a1_in1k]}}
  pretrained: {value: true, when: {freeze: early_stages}}
  width: {int: [16, 48], step: 16, when: {backbone: small_cnn}}
  optimizer: {choice: [adamw, sgd]}
  momentum: {float: [0.5, 0.9], step: 0.1, default: 0.8, when: {optimizer: sgd}}
  batch_size: {choice: [16, 64]}
  lr: {float: [1e-4, 1e-2], log: true}
  dropout: 0
start_with:
  - {backbone: small_cnn, width: 48}
  - {optimizer: sgd, lr: 1e-2}
"""


def load(text: str, *overrides: str) -> StudyConfig:
    """Write a space file and load it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "-my study.yaml"
        path.write_text(text, encoding="utf-8")
        return load_study(path, overrides)


def problems(text: str, *overrides: str) -> list[str]:
    """Load a space file that must be refused; return its problems."""
    with pytest.raises(SpaceError) as caught:
        load(text, *overrides)
    return caught.value.problems
