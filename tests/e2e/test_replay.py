"""A simulated search decides as the same search does in Ray: the proof behind the benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.curve_table import make_table
from tests.e2e.conftest import REPOSITORY, environment


def test_a_search_in_ray_and_a_simulated_one_are_the_same(tmp_path: Path) -> None:
    make_table(tmp_path / "made_up.csv")
    options = ("--check", "--trials", "16", "--folder", str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.search_quality", *options],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "16 trials through Ray: the same as simulated" in ran.stdout
