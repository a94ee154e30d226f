"""`python -m search.compare`: its answer, where it writes, and all that is wrong at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search.compare import compare
from search.errors import ResultsError
from search.report.studies import read_studies
from search.terminal import Terminal
from tests.compared_studies import HOSTILE, write_studies
from tests.source_rules import REPO


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_studies(tmp_path_factory.mktemp("results"))


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "search.compare", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=200,
        env=os.environ | {"PYTHONPATH": str(REPO), "COLUMNS": "200"},
    )  # fmt: skip


def test_the_command_answers_and_writes_to_results(root: Path, tmp_path: Path) -> None:
    done = run(root / "a", root / HOSTILE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "more than noise." in done.stdout
    assert "test accuracy" in done.stdout
    page = tmp_path / "results" / "compare-a-script_alert_1_b_a" / "index.html"
    assert page.is_file()
    again = run(root / "a", root / HOSTILE, "-q", cwd=tmp_path)
    assert again.returncode == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == [page.parent.name]


def test_another_pair_of_the_same_names_gets_a_folder_of_its_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for parent in ("x", "y"):
        for name in ("a", "c"):
            shutil.copytree(root / name, tmp_path / parent / name)
    pages = [
        compare([tmp_path / p / "a", tmp_path / p / "c"], None, Terminal(-1), quiet=True)
        for p in ("x", "y", "x")
    ]
    assert [page.parent.name for page in pages] == ["compare-a-c", "compare-a-c-2", "compare-a-c"]


def test_all_that_is_wrong_is_said_at_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    bad = ["no such", "empty", str(root / "a"), str(root / "a")]
    done = run(*bad, "--output", "used", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for text in (
        "no such: must be a results folder", "empty: must be a results folder",
        "a: must be named once", "--output used: must be a new or empty folder",
    ):  # fmt: skip
        assert text in done.stderr, text
    assert (tmp_path / "used" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("count", [0, 1, 11])
def test_two_to_ten_studies(count: int) -> None:
    with pytest.raises(ResultsError, match=rf"must be 2 to 10 results folders .* got {count}"):
        read_studies([Path(f"/nowhere/{k}") for k in range(count)])


def test_a_comparison_is_not_written_into_a_study(root: Path) -> None:
    for place in (root / "a", root / "a" / "deep" / "down"):
        with pytest.raises(ResultsError, match="must lie outside every study"):
            compare([root / "a", root / "c"], place, Terminal(-1))


def test_a_file_is_no_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="must be a folder, got a file"):
        compare([root / "a", root / "c"], tmp_path / "file", Terminal(-1))
