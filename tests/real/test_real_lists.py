"""The real sets come with a CSV of their files: read as a list, it says what the folders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.config import load_study
from search.data.index import build_index
from tests.conftest import SHARED

REPO = Path(__file__).resolve().parents[2]
REAL = SHARED / "data"


@pytest.mark.parametrize("name", ["animals", "cars", "cats_dogs", "sea_animals"])
def test_the_list_and_the_folders_agree(name: str) -> None:
    assert build_index([REAL / name / "manifest.csv"]) == build_index([REAL / name])


@pytest.mark.parametrize(("space", "name"), [("animals10", "animals"), ("cats_dogs", "cats_dogs")])
def test_shipped_space_files_serve_other_folders(space: str, name: str) -> None:
    classes = load_study(REPO / "spaces" / f"{space}.yaml").dataset.classes
    assert build_index([REAL / name], classes).rows == build_index([REAL / name]).rows
