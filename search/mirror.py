"""The results, kept in a bucket or on a mount as well: a study outlives the machine it ran on.

What is sent last is what makes the rest count. Markers say that a stage is done: so a push looks at
markers first, then at ledgers, then at all other files, and sends them the other way round.
A checkpoint may be older than its ledger, but never newer: it is opened before the ledgers are
looked at, so that it stays as it is, and sent after them. A mirror that was cut at any moment is a
state that a study goes on from. Only the marker that says whose folder it is goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import ResultsError
from search.folder_lock import FolderLock
from search.lease import NOTE as _OWNER
from search.results import CHECKPOINT, ResultsFolder, open_results
from search.storage import Storage

_NUM_COPIES = 4  # files under way at once: each waits for the network, not for a core
_STUDY = ".stages/study.json"
_LEDGER = "study/events.jsonl"
_CHECKPOINTS = "study/checkpoints/"
_NOTE = ".mirror.json"  # there: what was sent, as it was here
_PULLING = ".pulling"  # here: what is being brought, until all of it is

_Stamp = tuple[int, int]  # bytes, and when it was written, ns; of a marker what is in it
_UNKNOWN = (-1, 0)


class Mirror:
    """One study's results folder and its copy elsewhere.

    Args:
        root: The results folder, which need not exist.
        storage: Where the copy is.

    Attributes:
        before_write: Asked before each change there; raises what forbids it.

    Raises:
        OSError: The storage cannot be reached, or refuses; so do all methods that read or write it.
        ResultsError: It holds something else than a study's results.
    """

    def __init__(self, root: Path, storage: Storage) -> None:
        self.root = root.resolve()
        self.storage = storage
        self.there = {n: size for n, size in storage.list_files().items() if n != _OWNER}
        self.before_write: Callable[[], None] = lambda: None
        if self.there and _STUDY not in self.there:
            raise ResultsError(
                f"--storage {storage.url}: must be empty or hold the results of a study, got "
                f"{len(self.there):,} other files, such as {min(self.there)}. Name another folder."
            )
        note = _json(storage.read(_NOTE)) if _NOTE in self.there else {}
        # A marker is ours whoever wrote it: one that stays by mistake calls a stage done.
        ours = [n for n in self.there if n in note or n.startswith(".stages/")]
        self._sent: dict[str, _Stamp] = {n: tuple(note.get(n, _UNKNOWN)) for n in ours}

    @property
    def has_study(self) -> bool:
        return _STUDY in self.there

    @property
    def is_to_be_pulled(self) -> bool:
        """Whether the study is there and not here."""
        return self.has_study and not self._is_begun

    @property
    def is_free_here(self) -> bool:
        """Whether a study may be brought: nothing is in the results folder, or a part of it."""
        try:
            names = [path.name for path in self.root.iterdir()]
        except OSError:  # nothing there; what else it is, opening it says
            return True
        return _PULLING in names or all(name.startswith(".lock") for name in names)

    @property
    def _is_begun(self) -> bool:
        return bool(ResultsFolder(self.root).read_marker("study"))

    def marker(self) -> dict[str, Any]:
        """Return what the copy notes on whose study it is, {} for none."""
        return _json(self.storage.read(_STUDY)) if self.has_study else {}

    def goes_on_here(self) -> bool:
        """Tell whether the trials here are those there, and perhaps more."""
        if _LEDGER not in self.there:
            return True
        there = self.storage.read(_LEDGER)
        try:
            with (self.root / _LEDGER).open("rb") as file:
                return file.read(len(there)) == there
        except FileNotFoundError:
            return not there

    def pull(self) -> None:
        """Bring the copy into the results folder, which is made.

        Raises:
            ResultsError: The folder cannot be written, or another run is working in it.
        """
        lock = FolderLock(open_results(self.root).root)
        lock.acquire()
        try:
            if self._is_begun:
                return  # another command brought it meanwhile
            self._forget_a_cut_pull()
            names = [n for n in self.there if n != _NOTE and ".." not in n.split("/")]
            with ThreadPoolExecutor(_NUM_COPIES) as pool:
                list(pool.map(self._fetch, names))
            self._put_in_place()
            seen = _look(self.root)
            self._sent = {name: seen.get(name, _UNKNOWN) for name in names}
            self._write_note()
        finally:
            lock.release()

    def push(self) -> None:
        """Send what is new or changed since the last push, and remove what is gone."""
        before = dict(self._sent)
        markers = _read_markers(self.root)
        if _STUDY not in markers:
            return  # nobody could tell whose files these are
        self._send_marker(_STUDY, markers[_STUDY])
        with ExitStack() as opened:
            checkpoints = _open_checkpoints(self.root, opened)
            markers = _read_markers(self.root)
            ledgers = {n: size for n, (size, _) in _look(self.root).items() if _is_ledger(n)}
            seen = _look(self.root)
            gone = [name for name in before if name not in seen and name not in markers]
            self._remove(name for name in gone if name.startswith(".stages/"))
            apart = (_is_checkpoint, _is_ledger, _is_marker)
            self._send_all(n for n in seen if not any(is_of(n) for is_of in apart))
            for name, num_bytes in ledgers.items():
                self._send(name, num_bytes)
            with ThreadPoolExecutor(_NUM_COPIES) as pool:
                list(pool.map(self._send_opened, checkpoints, checkpoints.values()))
        for name, content in markers.items():
            self._send_marker(name, content)
        self._remove(name for name in gone if not _is_marker(name))
        if self._sent != before:
            self._write_note()

    def _fetch(self, name: str) -> None:
        self.storage.fetch(name, self.root / _PULLING / name)

    def _forget_a_cut_pull(self) -> None:
        """Empty the folder of an earlier one: what it brought may be gone there since."""
        for left in (self.root / _PULLING).glob("*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def _put_in_place(self) -> None:
        """Move what was brought to where it belongs; the markers come last."""
        brought = sorted((self.root / _PULLING).iterdir(), key=lambda path: path.name == ".stages")
        for path in brought:
            place = self.root / path.name
            if place.is_dir():  # of an earlier attempt
                shutil.rmtree(place)
            path.replace(place)
        (self.root / _PULLING).rmdir()

    def _send_all(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor(_NUM_COPIES) as pool:
            list(pool.map(self._send, names))

    def _send(self, name: str, num_bytes: int | None = None) -> None:
        """Send a file that changed, or of a ledger the whole lines among its first bytes."""
        try:
            file = (self.root / name).open("rb")
        except FileNotFoundError:
            return  # gone since it was seen; the next push removes it there
        with file:
            self._send_opened(name, file, num_bytes)

    def _send_opened(self, name: str, file: BinaryIO, num_bytes: int | None = None) -> None:
        status = os.fstat(file.fileno())
        stamp = (status.st_size if num_bytes is None else num_bytes, status.st_mtime_ns)
        if self._sent.get(name) == stamp:
            return
        self.before_write()
        if num_bytes is None:
            self.storage.write(name, file, status.st_size)
        else:
            lines = file.read(num_bytes)
            self.storage.write(name, lines[: lines.rfind(b"\n") + 1])
        self._sent[name] = stamp

    def _send_marker(self, name: str, content: bytes) -> None:
        stamp = (len(content), int.from_bytes(hashlib.sha256(content).digest()[:6]))
        if self._sent.get(name) != stamp:
            self.before_write()
            self.storage.write(name, content)
            self._sent[name] = stamp

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.before_write()
            self.storage.remove(name)
            del self._sent[name]

    def _write_note(self) -> None:
        self.before_write()
        self.storage.write(_NOTE, json.dumps(self._sent).encode())


def _look(root: Path) -> dict[str, _Stamp]:
    """List what is mirrored of a results folder: not what is made anew or is half written."""
    left_out = ResultsFolder(root).not_kept
    seen: dict[str, _Stamp] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if Path(folder, name) not in left_out
            and (name == ".stages" or not name.startswith("."))
        ]
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or name.endswith(".tmp"):
                continue
            try:
                status = path.stat()
            except OSError:  # gone meanwhile, or a link to nowhere
                continue
            seen[path.relative_to(root).as_posix()] = (status.st_size, status.st_mtime_ns)
    return seen


def _read_markers(root: Path) -> dict[str, bytes]:
    markers: dict[str, bytes] = {}
    for path in sorted((root / ".stages").glob("[!.]*.json")):
        try:
            markers[f".stages/{path.name}"] = path.read_bytes()
        except FileNotFoundError:  # it was removed in this moment
            continue
    return markers


def _open_checkpoints(root: Path, opened: ExitStack) -> dict[str, BinaryIO]:
    """Open them all: what is open stays as it is though a training puts its next in its place."""
    files: dict[str, BinaryIO] = {}
    for name in filter(_is_checkpoint, _look(root)):
        with suppress(FileNotFoundError):  # its trial ended in this moment
            files[name] = opened.enter_context((root / name).open("rb"))
    return files


def _is_checkpoint(name: str) -> bool:
    return name.startswith(_CHECKPOINTS) and name.endswith(f"/{CHECKPOINT}")


def _is_marker(name: str) -> bool:
    return name.startswith(".stages/")


def _is_ledger(name: str) -> bool:
    return fnmatch(name.rpartition("/")[2], "events*.jsonl")


def _json(content: bytes) -> dict[str, Any]:
    """Return what was noted; nothing where a power cut emptied the file."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
