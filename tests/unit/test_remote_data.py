"""Photos in a bucket: fetched once, whole, and in one message when they cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from search.config import DatasetConfig
from search.data.index import build_index
from search.data.sources import fetch_dataset
from search.dataset_section import data_roots
from search.errors import DatasetError
from search.storage import Storage
from tests.images import make_folder
from tests.mirrored import files
from tests.study_files import MINIMAL, load

CLASSES = ("cat", "a 'dog' ü")


@pytest.fixture
def url(s3: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a bucket's folder of photos; the working folder is empty."""
    url = f"s3://bucket/photos-{tmp_path.name}"
    photos = make_folder(tmp_path / "photos", CLASSES, per_class=3)
    for name, content in files(photos).items():
        Storage(url).write(name, content)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return url


def fetched(url: str) -> tuple[Path, ...]:
    dataset = DatasetConfig.model_validate({"root": url})
    return fetch_dataset(dataset.root, dataset.source, dataset.sample).roots


def test_photos_are_fetched_once_and_whole(url: str, tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    dataset = load(MINIMAL, f"dataset.root={url}").dataset
    assert dataset.source == url
    [root] = fetch_dataset(dataset.root, dataset.source, None, lambda *n: shown.append(n)).roots
    assert root.parent == Path("data")
    assert files(root) == files(tmp_path / "photos")
    assert shown == [(number, 6) for number in range(1, 7)]
    assert build_index([root]).classes == tuple(sorted(CLASSES))
    Storage(url).remove("cat/000.png")
    assert fetched(url) == (root,), "what is there is not fetched again"
    assert data_roots("--data", [url]) == (root,)


def test_a_fetch_that_was_cut_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, done = Storage.fetch, list[str]()

    def cut(storage: Storage, name: str, path: Path) -> None:
        if len(done) == 3:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half of it")
            raise OSError("the line went dead")
        done.append(name)
        fetch(storage, name, path)

    monkeypatch.setattr("search.data.remote._NUM_COPIES", 1)
    monkeypatch.setattr(Storage, "fetch", cut)
    with pytest.raises(DatasetError, match="must be readable, got the line went dead"):
        fetched(url)
    monkeypatch.setattr(Storage, "fetch", lambda *a: (done.append(a[1]), fetch(*a)))
    [root] = fetched(url)
    assert files(root) == files(tmp_path / "photos")
    assert len(done) == len(set(done)) == 6, "none was brought twice"


def test_a_zip_is_fetched_and_unpacked(url: str, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "photos")
    Storage(url).write("photos.zip", Path(packed).read_bytes())
    [root] = fetched(f"{url}/photos.zip")
    assert build_index([root]).classes == tuple(sorted(CLASSES))


def test_what_cannot_be_had_is_one_message(url: str) -> None:
    with pytest.raises(DatasetError, match=r"s3://bucket/empty: must hold .* got no files"):
        fetched("s3://bucket/empty")
    for wrong in ("s3://no-such-bucket/x", "gs:///x", f"{url}/none.zip"):
        with pytest.raises(DatasetError, match=r"must be readable, got .*\. Check its name"):
            fetched(wrong)
    assert all(path.suffix in (".lock", ".part") for path in Path("data").iterdir())


def test_a_url_stands_alone() -> None:
    with pytest.raises(ValueError, match="must be folders, or one URL of s3"):
        load(MINIMAL, "dataset.root=[s3://bucket/a, b]")
    with pytest.raises(DatasetError, match="--data: must be folders, or one URL of s3"):
        data_roots("--data", ["b", "s3://bucket/a"])
