"""The report's page while a study runs: kept up to date by a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from search.records import write_json
from search.results import ResultsFolder

SECONDS_FOR_LAST_PAGE = 10.0


class LivePage:
    """Starts what refreshes the page, and notes for it what is under way.

    Whatever becomes of that process, the study does not notice. It ends by itself when this one
    does, even if that is killed, and then writes the page of an unfinished study.
    """

    def __init__(self, results: ResultsFolder) -> None:
        self._results = results
        self._since = time.time()
        self._process: subprocess.Popen[bytes] | None = None
        self._facts: dict[str, Any] = {}

    def note(self, facts: dict[str, Any]) -> None:
        """Note what the files do not tell yet: the stage that trains ("" for none), warnings."""
        if facts == self._facts:
            return
        self._facts = facts
        write_json(self._results.marker("live"), {"since": self._since, **facts})
        if self._process is None and facts["stage"]:
            self._process = self._start()

    def stop(self) -> None:
        """End the process now, so that nothing is written over the final page."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """Let the process write the page of a study that did not finish, and end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> bool:
        """Wait for that page; tell whether it is there. Later it comes by itself."""
        if self._process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(SECONDS_FOR_LAST_PAGE) == 0
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        logs = self._results.logs
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "report.txt").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "search.report.live", str(self._results.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the driver
            )
