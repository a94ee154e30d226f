"""When to stop: the study's time limit and the user's signals, asked by every long stage."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130
STOPPING = "stopping: finished trials are kept (again to stop at once)"


class Interrupted(KeyboardInterrupt):
    """The user (Ctrl-C) or the machine (SIGTERM) asked to stop; what is done is on disk.

    No `except Exception` on the way, ours or a library's, may take it for a failure.
    """


class Clock:
    """Seconds left of the time limit, and whether a stop was asked for.

    The limit counts from the start of this process; a study that goes on gets a fresh one.

    Args:
        time_limit: Seconds, None for no limit.

    Attributes:
        seconds_to_start: That the last stage's workers took to begin their first epoch.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self.started = time.monotonic()
        self.time_limit = time_limit
        self.seconds_to_start = 0.0
        self.stop_requested = False
        self.says_stopping = True  # not while something is drawn that a line would tear
        self._patient = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds to the time limit; infinite without one, negative past it."""
        return float("inf") if self.time_limit is None else self.time_limit - self.elapsed

    def install_signal_handlers(self) -> None:
        """Stop in order on the first Ctrl-C or SIGTERM, at once on the second."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

    def renew_signal_handlers(self) -> None:
        """Put them back where a library has put its own before them, unseen by Python.

        Ray's for SIGTERM writes a stack trace, and aborts the process three seconds later.
        """
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            self.install_signal_handlers()

    def wait_for_trials(self, patient: bool) -> None:
        """Tell whether a trial loop is running that looks at `stop_requested` by itself."""
        self._patient = patient

    def check(self) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self.stop_requested:
            raise Interrupted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(0)  # of Ray's handler, see `renew_signal_handlers`
        if self.stop_requested:
            leave_at_once(EXIT_INTERRUPTED)
        self.stop_requested = True
        # Not through sys.stderr: a signal may come while something is being printed there.
        if self.says_stopping:
            write_raw(f"\n{STOPPING}\n".encode())
        if not self._patient:
            raise Interrupted


def leave_at_once(exit_code: int) -> NoReturn:
    """End this process without unwinding; what it started ends with it, what is done is on disk."""
    if os.isatty(1):
        write_raw(b"\x1b[?25h", 1)  # a live table has hidden the cursor
    os._exit(exit_code)


def write_raw(text: bytes, file: int = 2) -> None:
    """Write past Python's buffers; a terminal that is gone is no reason to fail."""
    with contextlib.suppress(OSError):
        os.write(file, text)
