"""What the tests of `--storage` start from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from search.config import StudyConfig
from search.identity import write_study
from search.results import ResultsFolder
from tests.mirrored import LEFT_OUT, NAMES, SPACE, write
from tests.s3_server import s3_server
from tests.study_files import load

_numbers = count()


@pytest.fixture(scope="session")
def s3() -> Iterator[None]:
    with s3_server("bucket") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a place for results that nothing is in."""
    if request.param == "folder":
        return str(tmp_path / "a 'mount' ü")
    request.getfixturevalue("s3")
    return f"s3://bucket/studies/number {next(_numbers)}".replace(" ", "-")


@pytest.fixture
def config() -> StudyConfig:
    return load(SPACE)


@pytest.fixture
def root(tmp_path: Path, config: StudyConfig) -> Path:
    """Return a results folder with something of every kind."""
    root = tmp_path / "results" / "cars"
    for name in (*NAMES, *LEFT_OUT):
        write(root, name, f"{name}\n" * 3)
    write_study(config, ResultsFolder(root))
    return root
