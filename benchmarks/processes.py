"""Fresh processes to measure in, and the CPU that a process takes with all that it starts."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

_SECONDS_BETWEEN_LOOKS = 0.5


class TreeCpu:
    """Adds up the CPU of a process and all below it while a block runs.

    Looks twice a second: what a process took after the last look before its end is lost, since
    Ray's server waits for none of its workers.

    Attributes:
        seconds: Of CPU, once the block has ended.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._root = psutil.Process(pid)
        self._taken: dict[tuple[int, float], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._before = self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = self._look() - self._before

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> float:
        with suppress(psutil.Error):
            for process in (self._root, *self._root.children(recursive=True)):
                with suppress(psutil.Error):  # it ended meanwhile
                    times = process.cpu_times()
                    key = process.pid, process.create_time()
                    self._taken[key] = times.user + times.system
        return sum(self._taken.values())


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function of a module in a fresh process, without what it prints; return its value."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        value = ours.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} ended without a value") from None
    finally:
        process.join()
    if isinstance(value, Exception):
        raise value
    return value


def _send(pipe: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            pipe.send(work(*arguments))
        except Exception as error:
            pipe.send(error)
