"""Trials that fail in real processes: a row with its reason each, never the end of a search."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.e2e.conftest import REPOSITORY, make_study, run_search

# Every Python process of the run imports this first: the classifier fails as its trial's number,
# which is its seed, says.
SABOTAGE = """
import importlib.abc
import importlib.util
import os
import signal
import sys
from pathlib import Path


class Saboteur(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainables.classifier":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            train = module.train
            module.train = lambda inputs, report: fail(inputs.seed) or train(inputs, report)

        spec.loader.exec_module = exec_module
        return spec


def fail(number):
    if "ALL_FAIL" in os.environ:
        raise ValueError("width must be even")
    if number == 1:
        raise ValueError("width must be even")
    if number == 2:
        from trainables.contract import NonFiniteLossError

        raise NonFiniteLossError("loss is nan")
    if number == 3:
        import torch

        torch.empty(1 << 60)
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    first = Path(__file__).with_name("first")
    if number == 5 and not first.exists():
        first.touch()
        raise OSError(5, "Input/output error")


sys.meta_path.insert(0, Saboteur())
"""


def make_failing_study(folder: Path) -> dict[str, str]:
    """Write the study; return the environment in which its trials fail."""
    make_study(
        folder, confirm="confirm: {top_k: 1, num_seeds: 0}", backbone="  backbone: small_cnn"
    )
    (folder / "sabotage").mkdir()
    (folder / "sabotage" / "sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")
    return {"PYTHONPATH": f"{folder / 'sabotage'}:{REPOSITORY}"}


def test_each_failing_trial_has_its_reason_and_the_study_its_answer(tmp_path: Path) -> None:
    env = make_failing_study(tmp_path)
    done = run_search(tmp_path, "--space", "tiny.yaml", "--trials", "6", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    results = tmp_path / "results" / "tiny"
    with (results / "study" / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows[1:5]] == ["failed"] * 4
    for number, reason in (
        (1, "ValueError: width must be even"),
        (2, "NonFiniteLossError: loss is nan"),
        (3, "RuntimeError: "),
        (4, "its worker was killed (out of memory?) or crashed, 3 times"),
    ):
        assert rows[number]["error"].startswith(reason), rows[number]
        assert (
            reason
            in (results / "study" / "logs" / "search" / f"trial-{number}.txt").read_text(
                encoding="utf-8"
            )
            or number == 4
        )
    assert rows[0]["state"] == "complete"
    assert rows[5]["state"] in ("complete", "pruned")
    assert [row["num_retries"] for row in rows] == ["0", "0", "0", "0", "2", "1"]
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["trials"]["failed"] == 4


def test_when_everything_fails_the_search_stops_with_the_common_reason(tmp_path: Path) -> None:
    env = make_failing_study(tmp_path) | {"ALL_FAIL": "1"}
    done = run_search(tmp_path, "--space", "tiny.yaml", "--trials", "30", env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "trials failed" in done.stderr
    assert "ValueError: width must be even" in done.stderr
    lines = (tmp_path / "results" / "tiny" / "study" / "trials.csv").read_text().splitlines()
    assert 5 <= len(lines) - 1 <= 10
