"""Getting data: there already, embedded, drawn, or out of reach in seconds."""

from __future__ import annotations

import socket
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.data import sources
from search.data.index import build_index
from search.data.sources import fetch_dataset, is_connected
from search.errors import DatasetError
from tests.images import make_folder

KAGGLE = "kaggle:someone/some-animals"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in sources._PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources, "is_connected", lambda: False)


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """Stand in for the client: the real one needs the network."""
    client = types.ModuleType("kagglehub")
    monkeypatch.setitem(sys.modules, "kagglehub", client)
    monkeypatch.setattr(sources, "is_connected", lambda: True)
    return client


def test_what_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=1)
    fetched = fetch_dataset([root], KAGGLE, "rendered_cars")
    assert (fetched.roots, fetched.is_sample, fetched.warnings) == ((root,), False, ())


def test_folders_the_user_named_never_fall_back(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=1)
    with pytest.raises(DatasetError, match="gone: must be a data folder"):
        fetch_dataset([root, tmp_path / "gone"], None, None)


def test_problems_of_all_roots_come_together(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip", "list.csv"):
        (tmp_path / name).write_text("nothing of that kind")
    roots = [tmp_path / name for name in ("one.zip", "gone", "two.zip", "list.csv")]
    with pytest.raises(DatasetError) as error:
        fetch_dataset([*roots, make_folder(tmp_path / "good")], None, None)
    message = str(error.value)
    assert message.startswith("The data has 4 problems:")
    assert all(str(root) in message for root in roots)


def test_digits(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "digits"
    fetched = fetch_dataset([root], "sklearn:digits", None)
    assert not fetched.is_sample
    index = build_index([root])
    assert index.classes == tuple("0123456789")
    assert len(index.rows) == 1797
    assert {path.name for path in root.parent.iterdir()} == {"digits", "digits.lock"}


def test_offline_draws_the_sample_and_says_so(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sources.SAMPLES, "rendered_cars", lambda path: make_folder(path) and None)
    fetched = fetch_dataset([tmp_path / "cars"], KAGGLE, "rendered_cars")
    assert fetched.roots == (tmp_path / "cars.sample",)
    assert fetched.is_sample
    assert "DRAWN SAMPLE" in fetched.warnings[0]


def test_offline_without_a_sample_tells_how_to_get_it(tmp_path: Path, offline: None) -> None:
    with pytest.raises(DatasetError) as error:
        fetch_dataset([tmp_path / "animals"], KAGGLE, None)
    assert "https://www.kaggle.com/datasets/someone/some-animals" in str(error.value)
    assert "--data" in str(error.value)


def test_download_links_the_folder_with_the_classes(
    tmp_path: Path, kaggle: types.ModuleType
) -> None:
    inner = make_folder(tmp_path / "hub" / "1" / "Some Animals" / "raw", per_class=2)
    (tmp_path / "hub" / "1" / "translate.py").write_text("")
    handles: list[str] = []
    kaggle.dataset_download = lambda handle: handles.append(handle) or str(tmp_path / "hub" / "1")  # type: ignore[attr-defined]
    root = tmp_path / "animals"
    root.symlink_to(tmp_path / "cleared cache")
    assert fetch_dataset([root], KAGGLE, None).roots == (root,)
    assert handles == ["someone/some-animals"]
    assert root.resolve() == inner
    assert len(build_index([root]).rows) == 4


def test_failing_download(tmp_path: Path, kaggle: types.ModuleType) -> None:
    def fail(handle: str) -> str:
        raise RuntimeError("403 Client Error.\nForbidden")

    kaggle.dataset_download = fail  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match=r"got 403 Client Error\. Forbidden"):
        fetch_dataset([tmp_path / "animals"], KAGGLE, None)


def test_download_without_classes(tmp_path: Path, kaggle: types.ModuleType) -> None:
    kaggle.dataset_download = lambda handle: str(tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="one folder of images per class, got none"):
        fetch_dataset([tmp_path / "animals"], KAGGLE, None)


@pytest.mark.parametrize("source", ["kaggle:noowner", "sklearn:iris", "http://x", ""])
def test_unknown_sources(tmp_path: Path, source: str) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.source: must be kaggle:"):
        fetch_dataset([tmp_path / "x"], source, None)


def test_unknown_sample(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.sample: must be one of rendered_cars"):
        fetch_dataset([tmp_path / "x"], KAGGLE, "rendered_boats")


def test_connection_check_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in sources._PROXIES:
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert is_connected(server.getsockname()[:2], seconds=2)
        closed = server.getsockname()[:2]
    start = time.monotonic()
    assert not is_connected(closed, seconds=0.5)
    assert not is_connected(("name.invalid", 443), seconds=0.5)
    assert time.monotonic() - start < 9
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert is_connected(closed, seconds=0.5)
