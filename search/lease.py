"""One run at a time keeps a copy of its results in a place: a note there says which, and lives.

Two machines that mirror to one place would each remove what the other sent. A note that its run
writes again and again tells a living one from one whose machine is gone. No clock of a machine
decides: the storage's own does, and what is seen to change.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import psutil

from search.errors import ResultsError
from search.storage import Storage

NOTE = ".owner.json"
BEAT_SECONDS = 20.0
SILENT_SECONDS = 90.0
"""A run that wrote nothing for so long is dead, or has lost the storage: its place is free."""
LOOK_SECONDS = 1.0
CLOCK_SECONDS = 5.0
"""A process's start seems to move by less when a machine's clock is set."""


class TakenError(ResultsError):
    """Another run has the place."""


class Lease:
    """The right to write to one storage.

    All methods raise OSError where the storage cannot be reached.

    Args:
        on_wait: Told why a look takes up to a minute and a half.

    Attributes:
        lost_to: Who has the place instead of this run, "" while nobody is known to.
    """

    def __init__(self, storage: Storage, on_wait: Callable[[str], None]) -> None:
        self._storage, self._on_wait = storage, on_wait
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        pid = os.getpid()
        self._note = {"host": _host(), "pid": pid, "since": since, "run": uuid.uuid4().hex}
        self._note["started"] = psutil.Process(pid).create_time()
        self._has_it, self._beats = False, 0
        self._alone, self._over = threading.Lock(), threading.Event()
        self.lost_to = ""

    def look(self) -> None:
        """Make sure that no living run has the place; may wait for a sign of life.

        Raises:
            TakenError: One has it.
        """
        owner = self._owner()
        if not owner or owner["run"] == self._note["run"] or not _may_live(owner):
            return
        try:
            _, beat_ns = self._storage.stamp(NOTE)
        except FileNotFoundError:  # it has just ended
            return
        silent = self._storage.now() - beat_ns / 1e9
        left = SILENT_SECONDS - max(0.0, silent)
        is_here = owner["host"] == _host()
        if left > 0 and not is_here:
            self._on_wait(
                f"{_who(owner)} had {self._storage.url}: waiting up to {left:.0f} s for a sign of "
                "life"
            )
        deadline = time.monotonic() + left
        while not is_here and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            now = self._owner()
            if not now:
                return
            is_here = now != owner  # it lives
        if is_here:
            self.lost_to = _who(owner)
            self.check()

    def claim(self) -> None:
        """Take the place, and keep it until `release`; one that cannot be reached is taken later.

        Raises:
            TakenError: A living run has it, or was quicker.
        """
        with suppress(OSError):
            self.hold()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def hold(self) -> None:
        """Give a sign of life.

        Raises:
            TakenError: Another run has the place; this one must not write any more.
        """
        with self._alone:
            self.check()
            if not self._has_it:
                self.look()
                self._write()
            owner = self._owner()
            if owner.get("run", self._note["run"]) != self._note["run"]:
                self.lost_to = _who(owner)
                self.check()
            if self._has_it and not self._over.is_set():
                self._write()
            self._has_it = True

    def check(self) -> None:
        """Raise if the place is known to be another run's; asks nobody.

        Raises:
            TakenError: It is.
        """
        if self.lost_to:
            raise TakenError(
                f"--storage {self._storage.url}: must be used by one run at a time, got "
                f"{self.lost_to}. Wait for it or stop it, or name another folder there; if its "
                f"machine is dead, the same command takes over {SILENT_SECONDS:.0f} s after its "
                "last sign of life."
            )

    def release(self) -> None:
        """Leave the place to the next run; what cannot be reached is left as it is."""
        with self._alone:
            self._over.set()
            with suppress(OSError):
                if self._owner().get("run") == self._note["run"]:
                    self._storage.remove(NOTE)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self.hold()
            except OSError:  # out of reach: the next beat tries again
                continue
            except TakenError:
                return

    def _write(self) -> None:
        self._beats += 1
        self._storage.write(NOTE, json.dumps(self._note | {"beats": self._beats}).encode())

    def _owner(self) -> dict[str, Any]:
        """Return the note that is there, {} for none."""
        try:
            note = json.loads(self._storage.read(NOTE))
            _ = note["host"], note["pid"], note["since"], note["run"], note["started"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}
        return dict(note)


def _may_live(owner: dict[str, Any]) -> bool:
    """Tell whether a run may be alive; of this machine's own it is known."""
    if owner["host"] != _host():
        return True
    try:
        started = psutil.Process(owner["pid"]).create_time()
        return bool(abs(started - float(owner["started"])) < CLOCK_SECONDS)
    except (psutil.Error, ValueError, TypeError):  # no such process
        return False


def _who(owner: dict[str, Any]) -> str:
    return f"a run on {owner['host']} (process {owner['pid']}, since {owner['since']})"


def _host() -> str:
    return socket.gethostname()
