"""When to stop: the study's time limit and the user's signals, asked by every long stage."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

EXIT_INTERRUPTED = 130


class Interrupted(KeyboardInterrupt):
    """The user (Ctrl-C) or the machine (SIGTERM) asked to stop; what is done is on disk.

    No `except Exception` on the way, ours or a library's, may take it for a failure.
    """


class Clock:
    """Seconds left of the time limit, and whether a stop was asked for.

    The limit counts from the start of this process; a study that goes on gets a fresh one.

    Args:
        time_limit: Seconds, None for no limit.
    """

    def __init__(self, time_limit: float | None) -> None:
        self.started = time.monotonic()
        self.time_limit = time_limit
        self.stop_requested = False
        self._patient = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds to the time limit; infinite without one, negative past it."""
        return float("inf") if self.time_limit is None else self.time_limit - self.elapsed

    def install_signal_handlers(self) -> None:
        """Stop cleanly on the first Ctrl-C or SIGTERM, at once on the second."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

    def wait_for_trials(self, patient: bool) -> None:
        """Tell whether a trial loop is running that looks at `stop_requested` by itself."""
        self._patient = patient

    def check(self) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self.stop_requested:
            raise Interrupted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested:
            os._exit(EXIT_INTERRUPTED)
        self.stop_requested = True
        sys.stderr.write("\nstopping: finished trials are kept (again to stop at once)\n")
        if not self._patient:
            raise Interrupted
