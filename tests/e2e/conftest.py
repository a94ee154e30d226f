"""One real, tiny study that several tests read, and how to run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.images import make_folder

REPOSITORY = Path(__file__).resolve().parents[2]

SPACE = """
name: tiny
dataset: {root: photos, size_px: 32, val_fraction: 0.2, test_fraction: 0.25}
budget: {num_trials: 4, max_epochs: 6, min_epochs: 1, reduction_factor: 3}
confirm: {top_k: 2, num_seeds: 1}
report: {cam_images: 6, tensorboard: true}
space:
  backbone: {choice: [small_cnn, separable_cnn]}
  depth: 2
  width: 16
  lr: {float: [2.0e-3, 2.0e-2], log: true}
  augment_strength: 0.1
  optimizer: {choice: [adamw, sgd]}
  momentum: {float: [0.5, 0.95], when: {optimizer: sgd}}
  batch_size: 8
start_with:
  - {optimizer: sgd, momentum: 0.9}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "search.run", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}


Run = Callable[..., subprocess.CompletedProcess[str]]


def run_search(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m search.run` in a folder, to its end; `env` adds to the environment."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment() | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


def start_search(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `python -m search.run` in a folder, in a process group of its own."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment() | dict(env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 400) -> None:
    """Wait until something is true, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def make_study(folder: Path, **replace: str) -> Path:
    """Write photos/ and tiny.yaml; `replace` swaps lines of the space file by their first word."""
    names = ("red [box] ", "-blå\n'ring'", '<b>"green"</b>')
    make_folder(folder / "photos", names, per_class=40)
    (next((folder / "photos").glob("red*")) / "dangling.jpg").symlink_to(folder / "gone.jpg")
    lines = [replace.get(line.split(":")[0].strip(), line) for line in SPACE.splitlines()]
    (folder / "tiny.yaml").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that ran to its end: photos/, tiny.yaml, results/tiny/."""
    folder = make_study(tmp_path_factory.mktemp("study of 'photos' ü"))
    done = run_search(folder, "--space", "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "terminal.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder
