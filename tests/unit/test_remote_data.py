"""Photos in a bucket: fetched once, whole, and in one message when they cannot be."""

from __future__ import annotations

import shutil
import time
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
from tests.s3_server import free_port
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


def warnings_of(url: str) -> str:
    dataset = DatasetConfig.model_validate({"root": url})
    return " | ".join(fetch_dataset(dataset.root, dataset.source, dataset.sample).warnings)


def test_a_bucket_that_has_changed_since_is_said_and_the_images_stay(url: str) -> None:
    [root] = fetched(url)
    before = files(root)
    assert warnings_of(url) == ""
    storage = Storage(url)
    storage.write("cat/new.png", b"new")
    gone, other = sorted(name for name in before if name.startswith("cat/"))[:2]
    storage.remove(gone)
    same_size = bytes(reversed(before[other]))
    time.sleep(1.1)  # S3 tells seconds
    storage.write(other, same_size)
    text = warnings_of(url)
    assert text.startswith(f"{url}: its files are others than those that were fetched: ")
    assert f"1 added (cat/new.png), 1 removed ({gone}), 1 changed ({other}). " in text
    assert f"move {root} away, and name another folder with --results" in text
    assert files(root) == before
    shutil.rmtree(root)
    assert fetched(url) == (root,)
    assert files(root)[other] == same_size
    assert warnings_of(url) == ""


def test_a_zip_that_has_changed_since_is_said(url: str, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "photos")
    Storage(url).write("photos.zip", Path(packed).read_bytes())
    fetched(f"{url}/photos.zip")
    assert warnings_of(f"{url}/photos.zip") == ""
    Storage(url).write("photos.zip", b"another")
    assert "1 changed (photos.zip). " in warnings_of(f"{url}/photos.zip")


def test_a_study_goes_on_where_its_bucket_cannot_be_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [root] = fetched(url)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        text = warnings_of(url)
    assert "could not be compared with what was fetched from it, got NETWORK_CONNECTION" in text
    (note,) = Path("data").glob(".*.fetched.json")
    note.write_text("{")
    assert warnings_of(url) == "", "what nobody noted cannot be compared"
    assert fetched(url) == (root,)


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
