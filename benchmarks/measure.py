"""Compare two ways of doing a thing: by turns in one run, so that load slows both alike."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.table import Table

from search.environment import describe_environment


@dataclass(frozen=True)
class Cost:
    """Seconds that a piece of work took: on the clock, and of CPU over all threads and children."""

    wall_seconds: float
    cpu_seconds: float

    def __sub__(self, earlier: Cost) -> Cost:
        wall = self.wall_seconds - earlier.wall_seconds
        return Cost(wall, self.cpu_seconds - earlier.cpu_seconds)


@dataclass(frozen=True)
class Figure:
    """The median of some rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """What ours and an alternative cost, round by round, for the same images.

    Attributes:
        aim: Least ratio of images per CPU-second that we promise, None for a row that only informs.
    """

    name: str
    alternative: str
    num_images: int
    ours: tuple[Cost, ...]
    theirs: tuple[Cost, ...]
    aim: float | None = None

    @property
    def cpu_ratio(self) -> Figure:
        """How many times as many images per CPU-second as the alternative."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return Figure.of([b.cpu_seconds / a.cpu_seconds for a, b in pairs])

    @property
    def wall_ratio(self) -> Figure:
        """The same by the clock."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return Figure.of([b.wall_seconds / a.wall_seconds for a, b in pairs])

    @property
    def met(self) -> bool | None:
        """Tell whether the median reaches the aim."""
        return None if self.aim is None else self.cpu_ratio.median >= self.aim


def cost_of(work: Callable[[], object]) -> Cost:
    """Run something once and return what it took.

    Child processes count once they have ended, so the work must wait for its own.
    """
    begin = now()
    work()
    return now() - begin


def now() -> Cost:
    """Return the seconds so far, to be subtracted from later ones."""
    return Cost(time.perf_counter(), _cpu_seconds())


def compare(
    name: str,
    alternative: str,
    num_images: int,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int,
    aim: float | None = None,
) -> Comparison:
    """Run both once to warm up, then by turns, `rounds` times each."""
    ours()
    theirs()
    costs = [(cost_of(ours), cost_of(theirs)) for _ in range(rounds)]
    mine, others = zip(*costs, strict=True)
    return Comparison(name, alternative, num_images, mine, others, aim)


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """Draw comparisons; a ratio is the median of the rounds' own, with the lowest and highest."""
    table = Table(title="Images per CPU-second, by turns in one run", show_lines=True)
    table.add_column("what, against what")
    for heading in ("ours", "theirs", "ratio", "wall"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratio = row.cpu_ratio
        aim = "" if row.aim is None else f"\naim ≥ {row.aim:g}× {verdict(bool(row.met))}"
        table.add_row(
            f"{row.name}\n[dim]{row.alternative}[/]{aim}",
            f"{_rate(row.num_images, row.ours):,.0f}",
            f"{_rate(row.num_images, row.theirs):,.0f}",
            f"{ratio.median:.1f}× ({ratio.low:.1f}–{ratio.high:.1f})",
            f"{row.wall_ratio.median:.1f}×",
        )
    return table


def _rate(num_images: int, costs: Sequence[Cost]) -> float:
    return num_images / statistics.median(cost.cpu_seconds for cost in costs)


def verdict(met: bool) -> str:
    """Return the mark for an aim that is met or missed."""
    return "[green]met[/]" if met else "[red]missed[/]"


def describe_machine() -> dict[str, Any]:
    """Return date, command, versions, hardware and how busy the machine is."""
    about = describe_environment(seed=0, num_gpus=0)
    kept = {key: about[key] for key in ("command", "versions", "git", "hardware")}
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
        **kept,
    }


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
