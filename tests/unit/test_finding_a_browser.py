"""Without a browser the tests of pages are skipped, loudly; with one they use the first found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import NAMES, find_browser

REPO = Path(__file__).resolve().parents[2]


def test_the_first_name_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"none of chromium, .* is installed"):
        find_browser()
    for name in reversed(NAMES):
        program = tmp_path / name
        program.touch(0o755)
        assert find_browser() == str(program)


def test_a_run_without_browser_says_that_no_page_was_looked_at(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/browser", "-k", "without_scripts",
               "-p", "no:cacheprovider"]  # fmt: skip
    done = subprocess.run(
        command, cwd=REPO, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "no page was looked at: none of chromium, " in done.stdout
