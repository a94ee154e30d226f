"""One run at a time in a folder: who is at work is named, the dead block nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from search import folder_lock
from search.errors import ResultsError
from search.folder_lock import FolderLock, run_at_work

HOLD = """
import sys, time
from pathlib import Path
from search.folder_lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Return another process that holds tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_who_is_at_work_and_the_dead_block_nobody(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    try:
        assert run_at_work(tmp_path)
        with pytest.raises(ResultsError) as caught:
            FolderLock(tmp_path).acquire()
        assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    finally:
        holder.kill()
        holder.wait()
    assert not run_at_work(tmp_path)
    mine = FolderLock(tmp_path)
    mine.acquire()
    mine.release()
    assert not run_at_work(tmp_path)


def test_a_sign_of_life_from_another_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system that does not pass locks on leaves only the note."""
    monkeypatch.setattr(folder_lock, "SILENT_SECONDS", 2.0)
    note = tmp_path / ".lock-holder.json"
    note.write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "noon"}))
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.2):
            os.utime(note)

    thread = threading.Thread(target=beat)
    thread.start()
    said: list[str] = []
    try:
        with pytest.raises(ResultsError, match="process 7 on elsewhere, since noon"):
            FolderLock(tmp_path).acquire(said.append)
    finally:
        over.set()
        thread.join()
    assert "a run on elsewhere" in said[0]
    begin = time.monotonic()
    mine = FolderLock(tmp_path)
    mine.acquire(said.append)  # silent now
    assert time.monotonic() - begin >= 2
    mine.release()


def test_a_holder_touches_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.05)
    mine = FolderLock(tmp_path)
    mine.acquire()
    note = tmp_path / ".lock-holder.json"
    first, deadline = note.stat().st_mtime_ns, time.monotonic() + 10
    while note.stat().st_mtime_ns == first and time.monotonic() < deadline:
        time.sleep(0.02)
    assert note.stat().st_mtime_ns > first
    mine.release()
    assert not note.exists()
