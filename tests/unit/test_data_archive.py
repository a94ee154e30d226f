"""Zips of photos: unpacked once and whole, never outside their folder, never without room."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest

from search.data import archive
from search.data.archive import open_archive, unpack, unpacked_folder
from search.data.index import build_index
from search.data.sources import fetch_dataset
from search.errors import DatasetError, ResourceError, SearchError
from tests.images import make_folder
from tests.unprivileged import public_folder, unprivileged

HOSTILE = ("with space", "quo\"te's", "new\nline", "ünï-çødé 海", "-leading-dash", "a\\b")


def pack(folder: Path, path: Path, prefix: str = "") -> Path:
    """Pack a folder; one that is there already is written over."""
    with ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def pack_texts(path: Path, *members: str | ZipInfo, text: bytes = b"x" * 50) -> Path:
    with ZipFile(path, "w") as packed:
        for member in members:
            packed.writestr(member, text)
    return path


def refusal(path: Path, kind: type[SearchError] = DatasetError) -> str:
    """Unpack what must be refused; nothing may be left or written elsewhere."""
    before = {entry.name for entry in path.parent.iterdir()}
    with pytest.raises(kind) as caught:
        unpack(path)
    after = {entry.name for entry in path.parent.iterdir()}
    assert after - before <= {f".{path.name}.lock"}
    assert str(path) in str(caught.value)
    return str(caught.value)


def index_of(path: Path) -> tuple[list[str], list[tuple[str, str, str | None]]]:
    index = build_index(fetch_dataset([path], None, None).roots)
    return list(index.classes), [(row.path, row.label, row.split) for row in index.rows]


@pytest.mark.parametrize("prefix", ["", "./", "photos/", "a b/dataset/raw-img/"])
def test_class_folders_at_any_depth(tmp_path: Path, prefix: str) -> None:
    folder = make_folder(tmp_path / "folder", HOSTILE, 2)
    (folder / "__MACOSX" / "x").mkdir(parents=True)
    for junk in ("__MACOSX/x/._1.jpg", ".DS_Store", "-leading-dash/.hidden.jpg"):
        (folder / junk).write_text("junk")
    path = pack(folder, tmp_path / "My Photos.ZIP", prefix)
    assert index_of(path) == index_of(folder)
    unpacked = tmp_path / "My Photos.ZIP.unpacked"
    assert not [
        file for file in unpacked.rglob("*") if "junk" in file.name or "MACOSX" in file.name
    ]


def test_split_folders_and_lists(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", splits={"train": 2, "test": 2})
    assert index_of(pack(folder, tmp_path / "a.zip", "photos/")) == index_of(folder)
    flat = make_folder(tmp_path / "flat", ("images",), 4)
    rows = "".join(f"images/image_00{k}.png,{'ab'[k % 2]}\n" for k in range(4))
    (flat / "labels.csv").write_text(f"path,label\n{rows}")
    (flat / "notes.csv").write_text("who,when\nme,today\n")
    path = pack(flat, tmp_path / "b.zip", "top/")
    assert index_of(path)[0] == ["a", "b"]
    (flat / "more.csv").write_text(f"path,label\n{rows}")
    with pytest.raises(DatasetError, match=r"got top/labels\.csv, top/more\.csv\. It is unpacked"):
        index_of(pack(flat, path, "top/"))


def test_zips_are_merged_with_folders(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", ("a", "b"), 2)
    path = pack(make_folder(tmp_path / "one class", ("c",), 2), tmp_path / "c.zip")
    index = build_index(fetch_dataset([folder, path], None, None).roots)
    assert index.classes == ("a", "b", "c")


def test_unpacked_once_until_it_changes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", ("a", "b"), 2)
    path = pack(folder, tmp_path / "photos.zip")
    assert unpacked_folder(path) is None
    unpacked = unpack(path)
    assert unpacked_folder(path) == unpacked
    image = unpacked / "a" / "image_000.png"
    image.unlink()
    unpack(path)
    assert not image.exists()
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert unpacked_folder(path) is None
    (unpacked / "old").mkdir()
    unpack(path)
    assert image.exists()
    assert not (unpacked / "old").exists()


def test_a_killed_unpacking_is_begun_again(tmp_path: Path) -> None:
    path = pack(make_folder(tmp_path / "folder", ("a", "b"), 2), tmp_path / "photos.zip")
    half = tmp_path / ".photos.zip.unpacked.tmp" / "a"
    half.mkdir(parents=True)
    (half / "half.png").write_text("half")
    unpack(path)
    assert not half.parent.exists()
    assert not (tmp_path / "photos.zip.unpacked" / "a" / "half.png").exists()


def test_two_at_once_unpack_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(make_folder(tmp_path / "folder", ("a", "b"), 20), tmp_path / "photos.zip")
    calls: list[int] = []
    once = archive._extract

    def count(*args: object) -> None:
        calls.append(1)
        once(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "_extract", count)
    threads = [threading.Thread(target=unpack, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert len(list((tmp_path / "photos.zip.unpacked").rglob("*.png"))) == 40


def test_a_folder_of_that_name_that_is_not_ours(tmp_path: Path) -> None:
    path = pack(make_folder(tmp_path / "folder", ("a", "b"), 2), tmp_path / "photos.zip")
    mine = make_folder(tmp_path / "photos.zip.unpacked", ("mine",), 1)
    assert "got something else there" in refusal(path)
    assert (mine / "mine" / "image_000.png").exists()


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def windows(name: str) -> ZipInfo:
    info = ZipInfo("x")
    info.filename, info.create_system = name, 0
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../out.jpg", "'../out.jpg' leads out of its folder"),
        ("a/../../out.jpg", "leads out of its folder"),
        ("/tmp/seed-search-out.jpg", "leads out of its folder"),
        ("C:/out.jpg", "leads out of its folder"),
        (windows("..\\out.jpg"), "leads out of its folder"),
        (windows("C:\\out.jpg"), "leads out of its folder"),
        ("__MACOSX/../../out.jpg", "leads out of its folder"),
        (link("a/link.jpg"), "'a/link.jpg' is a link"),
    ],
)
def test_members_that_reach_outside(tmp_path: Path, member: str | ZipInfo, words: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = pack_texts(inner / "photos.zip", "a/1.jpg", member)
    assert words in refusal(path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"inner"}
    assert not Path("/tmp/seed-search-out.jpg").exists()


def test_a_zip_made_on_windows(tmp_path: Path) -> None:
    names = [f"photos\\{label}\\{k}.jpg" for label in "ab" for k in range(2)]
    path = pack_texts(tmp_path / "photos.zip", *map(windows, names))
    assert index_of(path)[0] == ["a", "b"]


@pytest.mark.parametrize("path", ["{0}/out/1.jpg", "../../out/1.jpg", " {0}/out/1.jpg ", "../gone"])
def test_a_list_in_a_zip_names_only_what_came_with_it(tmp_path: Path, path: str) -> None:
    make_folder(tmp_path / "outside", ("a", "b"), 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.jpg").touch()
    line = path.format(tmp_path) + ",a\n"
    zipped = tmp_path / "photos.zip"
    with ZipFile(zipped, "w") as packed:
        packed.writestr("in/1.jpg", b"x")
        packed.writestr("list.csv", "path,label\n./in/../in/1.jpg,b\n" + line)
    (root,) = fetch_dataset([zipped], None, None).roots
    with pytest.raises(DatasetError) as error:
        build_index([root])
    assert "list.csv, line 3: path must stay inside the zip that the list came in" in str(
        error.value
    )
    assert "line 2" not in str(error.value)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (("a/1.jpg", "a"), "'a' (Is a directory)"),
        (("a", "a/1.jpg"), "'a/1.jpg' ("),
        ((f"a/{'x' * 300}.jpg",), "(File name too long)"),
    ],
)
def test_names_that_cannot_be_written(tmp_path: Path, members: tuple[str, ...], words: str) -> None:
    message = refusal(pack_texts(tmp_path / "photos.zip", *members))
    assert "must hold files under names that can be written here, got '" in message
    assert words in message
    assert "may write to" not in message


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as packed:
        packed.writestr("a/1.bmp", bytes(4 * 2**20))
    monkeypatch.setattr(archive, "_SAFE_BYTES", 2**20)
    assert "may unpack to at most 200 times its size" in refusal(path, ResourceError)
    monkeypatch.undo()
    unpack(path)  # a small drawing may be as empty as it likes


def test_too_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack_texts(tmp_path / "photos.zip", "a/1.jpg")
    monkeypatch.setattr(archive, "_SPARE_BYTES", 2 * shutil.disk_usage(tmp_path).total)
    assert "MB of disk beside it to unpack, got" in refusal(path, ResourceError)


def test_locked_with_a_password(tmp_path: Path) -> None:
    path = pack_texts(tmp_path / "photos.zip", "a/1.jpg")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\3\4") + 6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "must open without a password" in refusal(path)


def spoil(data: bytes) -> Iterator[bytes]:
    yield b""
    yield b"no zip at all"
    yield data[: len(data) // 2]  # a download that broke off
    flipped = bytearray(data)
    flipped[data.index(b"PK\3\4") + 45] ^= 0xFF
    yield bytes(flipped)
    unknown = bytearray(data)
    unknown[data.index(b"PK\1\2") + 10] = 9  # "enhanced deflate", which only Windows writes
    yield bytes(unknown)


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
@pytest.mark.parametrize("number", range(5))
def test_damaged(tmp_path: Path, method: int, number: int) -> None:
    path = tmp_path / "photos.zip"
    with ZipFile(path, "w", method) as packed:
        for k in range(20):
            packed.writestr(f"a/{k}.jpg", os.urandom(2000))
    path.write_bytes(list(spoil(path.read_bytes()))[number])
    assert "must be an undamaged zip, got" in refusal(path)


def test_without_files(tmp_path: Path) -> None:
    path = pack_texts(tmp_path / "photos.zip", "__MACOSX/a/1.jpg", ".hidden/1.jpg")
    assert "must hold images, got none" in refusal(path)


@pytest.mark.parametrize("what", ["unreadable", "no place"])
def test_permissions(what: str) -> None:
    with public_folder() as folder:
        path = pack_texts(folder / "photos.zip", "a/1.jpg", "b/1.jpg")
        path.chmod(0 if what == "unreadable" else 0o644)
        if what == "unreadable":
            folder.chmod(0o777)
        with unprivileged():
            message = refusal(path)
    words = {
        "unreadable": "must be readable, got Permission denied. Mend its permissions.",
        "no place": f"got Permission denied in {path.parent}. Copy the zip to a folder",
    }
    assert words[what] in message


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack_texts(tmp_path / "photos.zip", "a/1.jpg", "b/1.jpg")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    copy: Callable[..., None] = shutil.copyfileobj
    monkeypatch.setattr(shutil, "copyfileobj", fail)
    message = refusal(path)
    assert "got No space left on device in" in message
    assert "Free some space" in message
    monkeypatch.setattr(shutil, "copyfileobj", copy)
    assert len(open_archive(path).members) == 2
    assert unpack(path).is_dir()
