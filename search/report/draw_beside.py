"""A second process that draws plots beside the first: drawing is most of a report's time.

It reads the study itself, then is asked for one plot at a time, so that neither waits for the
other. Whatever becomes of it, the first process draws what is left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import IO

from search.report.figures import PLOTS, Drawn, by_section, draw_plot
from search.report.load import StudyFiles, read_study
from search.report.style import plot_style
from search.results import ResultsFolder

SECONDS_FOR_A_PLOT = 120.0  # that the other process's last one is waited for


class Helper:
    """Draws the study's plots, the last one first, until none waits or it fails.

    Attributes:
        process: Plots' names go in and `Drawn` as JSON comes out, a line each.
    """

    def __init__(self, process: subprocess.Popen[str] | None) -> None:
        self.process = process
        self._waiting, self._drawn = deque(PLOTS), dict[str, Drawn]()
        self._asking = Thread(target=self._ask, daemon=True)
        self._asking.start()

    def draw_the_rest(self, files: StudyFiles) -> dict[str, list[Drawn]]:
        """Draw from the first plot on what the process has not drawn; return all by section."""
        with plot_style():
            while self._asking.is_alive() or self._waiting:  # in this order: it may hand one back
                try:
                    plot = self._waiting.popleft()
                except IndexError:
                    self._asking.join(SECONDS_FOR_A_PLOT)
                    self.end()  # it has no more to do, or hangs: then its plot waits again
                    continue
                self._drawn[plot.name] = draw_plot(plot, files, files.folder.report / "plots")
        return by_section(PLOTS, self._drawn)

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self._asking.join()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _ask(self) -> None:
        if self.process is None:
            return
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert answers is not None
        while self._waiting:
            try:
                plot = self._waiting.pop()
            except IndexError:  # the other thread took the last one
                return
            try:
                asked.write(f"{plot.name}\n")
                asked.flush()
                self._drawn[plot.name] = Drawn(**json.loads(answers.readline()))
            except (OSError, ValueError):
                self._waiting.append(plot)
                return


@contextmanager
def drawing_beside(results: ResultsFolder, *, at_work: bool, wanted: bool) -> Iterator[Helper]:
    """Let a second process draw a study's plots, where it is wanted and there is a CPU for it.

    Args:
        at_work: See `write_report`.
    """
    process = None
    if wanted and (os.cpu_count() or 1) > 1:
        arguments = [str(results.root), *(["at-work"] if at_work else [])]
        with suppress(OSError):  # too many processes, no memory
            process = subprocess.Popen(
                [sys.executable, "-m", "search.report.draw_beside", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
    helper = Helper(process)
    try:
        yield helper
    finally:
        helper.end()


def main(root: Path, at_work: bool, asked: IO[str], answers: IO[str]) -> None:
    """Draw every plot that is asked for."""
    files = read_study(ResultsFolder(root), at_work=at_work)
    plots = {plot.name: plot for plot in PLOTS}
    with plot_style():
        for line in asked:
            drawn = draw_plot(plots[line.strip()], files, files.folder.report / "plots")
            answers.write(json.dumps(asdict(drawn)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["at-work"], sys.stdin, sys.stdout)
