"""How much disk a study takes: looked at now and then, and compared with what it may take."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from search.results import ResultsFolder

DISK_LIMIT = "disk limit"
"""How the reason of a search begins that the disk ended."""
SECONDS_BETWEEN_LOOKS = 10.0
_WRITTEN_AGAIN = 1.05  # a peak is noted when it has grown by this much


class DiskWatch:
    """Watches the results folder.

    Args:
        limit_gb: What the study may take, None for as much as there is.
    """

    def __init__(self, results: ResultsFolder, limit_gb: float | None) -> None:
        self._results = results
        self._limit_gb = limit_gb
        self._peak: int = results.read_marker("disk").get("peak_bytes", 0)
        self._noted = self._peak
        self._last_look = float("-inf")
        self._is_over = False

    def used_bytes(self) -> int:
        """Look now; return what the folder takes."""
        used = folder_bytes(self._results.root)
        self._last_look = time.monotonic()
        self._is_over = self._limit_gb is not None and used > self._limit_gb * 1e9
        self._peak = max(self._peak, used)
        if self._peak > self._noted * _WRITTEN_AGAIN:
            self._noted = self._peak
            self._results.mark_done("disk", "", 0.0, peak_bytes=self._peak)
        return used

    def reason_to_stop(self) -> str:
        """Look if it is time to; return why no trial should start any more, "" if none is."""
        if time.monotonic() - self._last_look > SECONDS_BETWEEN_LOOKS:
            self.used_bytes()
        if not self._is_over:
            return ""
        return f"{DISK_LIMIT} of {self._limit_gb:g} GB reached; resources.disk_gb raises it"


def folder_bytes(folder: Path) -> int:
    """Return the disk that a folder takes; what is removed meanwhile counts as nothing."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def disk_faults(
    parts: Mapping[str, int], free_bytes: int, used_bytes: int, limit_gb: float | None
) -> str:
    """Say why what a study will write has no room, "" if it has. Pure.

    Args:
        parts: Bytes that each part will take.
        free_bytes: That the disk can spare.
        used_bytes: That the results take already.
        limit_gb: What they may take.
    """
    needed = sum(parts.values())
    listed = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in parts.items())
    if needed > free_bytes:
        return (
            f"the trials need {needed / 1e6:,.0f} MB of disk ({listed}), got "
            f"{max(0, free_bytes) / 1e6:,.0f} MB to spare. Free some space, or name a folder on "
            "another disk."
        )
    if limit_gb is not None and needed + used_bytes > limit_gb * 1e9:
        return (
            f"the trials need {needed / 1e6:,.0f} MB of disk ({listed}) beside the "
            f"{used_bytes / 1e6:,.0f} MB there are, more than resources.disk_gb allows, got "
            f"{limit_gb:g}. Raise it, or choose smaller backbones, fewer sizes or views."
        )
    return ""
