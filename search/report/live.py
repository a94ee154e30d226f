"""Keep a study's page up to date while it runs: `search.run` starts this beside itself.

The page is made from files, like the final one. This process has the lowest priority and takes at
most a small share of the machine's time; it ends when its standard input does, which is when the
driver closes it or is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from search.report.page import write_live_report, write_report
from search.results import ResultsFolder

REFRESH_SECONDS = 60.0
MAX_SHARE = 0.01
"""Of the time of all CPUs, at most."""


def main(root: Path) -> None:
    """Refresh the page until the driver ends, then write that of an unfinished study."""
    if hasattr(os, "nice"):
        os.nice(19)
    results, ended, told = ResultsFolder(root), threading.Event(), set[str]()
    since = results.read_marker("live").get("since")
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    while True:
        begin, at_work = time.process_time(), not ended.is_set()
        if results.read_marker("live").get("since") != since:
            return  # another driver took over, and has a process of its own
        try:
            if at_work:
                write_live_report(results)
            else:
                write_report(results)
        except Exception as error:  # the study goes on, and so does this: the next page may succeed
            text = f"{type(error).__name__}: {error}"
            if text not in told:
                told.add(text)
                print(time.strftime("%H:%M"), text, file=sys.stderr, flush=True)
        if not at_work:
            return
        ended.wait(pause_seconds(time.process_time() - begin, os.cpu_count() or 1))


def pause_seconds(cpu_seconds: float, num_cpus: int) -> float:
    """Return how long to wait after a page that took so much, to keep to the share. Pure."""
    return max(REFRESH_SECONDS, cpu_seconds / (MAX_SHARE * num_cpus))


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
