"""One run at a time in a results folder, on one machine or on several that share the folder."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from search.errors import ResultsError

BEAT_SECONDS = 5.0
SILENT_SECONDS = 20.0
"""A holder on another machine that gave no sign of life for so long is dead."""


class FolderLock:
    """Hold a folder for this process until it ends, even if it is killed.

    The kernel's lock goes with its process, so one that was killed blocks nobody. Some network
    file systems do not pass locks on to other machines; there the holder's note tells, which a
    living one touches again and again.

    Args:
        root: The folder, which exists.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = FileLock(root / ".lock")
        self._note = root / ".lock-holder.json"
        self._over = threading.Event()

    def acquire(self, on_wait: Callable[[str], None] = lambda text: None) -> None:
        """Take the folder.

        Args:
            on_wait: Told why taking it needs some seconds.

        Raises:
            ResultsError: Another run is working in it, or it cannot be locked.
        """
        try:
            self._lock.acquire(timeout=0)
            holder = self._read_note()
            if holder.get("host", _host()) != _host() and self._is_alive(holder, on_wait):
                self._lock.release()
                raise self._refusal(holder)
            self._write_note()
        except Timeout:
            raise self._refusal(self._read_note()) from None
        except OSError as error:
            self._lock.release()
            raise ResultsError(
                f"{self._lock.lock_file}: must be writable, got {error.strerror}. "
                "Mend its permissions, or name another folder with --results."
            ) from error
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def release(self) -> None:
        self._over.set()
        self._note.unlink(missing_ok=True)
        self._lock.release()

    def _refusal(self, holder: dict[str, Any]) -> ResultsError:
        who = ""
        if holder:
            who = f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
        return ResultsError(
            f"{self._root}: another run is working in this folder{who}. "
            "Wait for it to end, or name another folder with --results."
        )

    def _is_alive(self, holder: dict[str, Any], on_wait: Callable[[str], None]) -> bool:
        """Watch for the next sign of life of a holder on another machine."""
        last = self._last_beat()
        on_wait(
            f"a run on {holder['host']} (process {holder['pid']}) had this folder: waiting "
            f"{SILENT_SECONDS:.0f} s for a sign of life"
        )
        deadline = time.monotonic() + SILENT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if self._last_beat() != last:
                return self._note.exists()
        return False

    def _last_beat(self) -> int | None:
        try:
            return self._note.stat().st_mtime_ns
        except OSError:
            return None

    def _read_note(self) -> dict[str, Any]:
        """Return who holds the folder, {} when nobody says so."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return {name: note[name] for name in ("pid", "host", "since")}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write_note(self) -> None:
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": _host(), "since": since}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                os.utime(self._note)
            except OSError:  # the folder was renamed or is out of reach: nobody else can take it
                return


def _host() -> str:
    return socket.gethostname()


def run_at_work(root: Path) -> bool:
    """Tell whether a run is working in a folder, without locking it."""
    lock = FolderLock(root)
    holder, beat_ns = lock._read_note(), lock._last_beat()
    if not holder or beat_ns is None:
        return False
    if holder["host"] == _host():
        return bool(psutil.pid_exists(holder["pid"]))
    return time.time() - beat_ns / 1e9 < SILENT_SECONDS
