"""What survives when a study is killed, starved or interrupted: `python -m benchmarks.drills`.

Each drill runs a tiny study as a user does, hurts it, runs the same command again and compares the
trials with those of a study that nothing disturbed. Ends with 1 if a promise was broken.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.blows import BLOWS, KILLED, Blow, in_search, worker_of_last_epoch
from benchmarks.deaths import DEATHS, Death
from benchmarks.measure import describe_machine, verdict
from benchmarks.small_disk import fill, small_disk
from benchmarks.victim import Damage, Event, Victim, damage

MAX_START_SECONDS = 12.0
SERVERS = ("raylet", "gcs_server")


@dataclass
class Outcome:
    """What one drill showed.

    Attributes:
        exit_code: Of the run that was hurt, negative for the signal that killed it.
        seconds: From the blow to its end.
        broken: Promises that were not kept.
    """

    what: str
    when: str
    exit_code: int | None = None
    seconds: float | None = None
    harm: Damage | None = None
    broken: list[str] = field(default_factory=list)

    def require(self, kept: bool, promise: str) -> None:
        if not kept:
            self.broken.append(promise)


class Drills:
    """One victim for all drills.

    Args:
        folder: Of the victim.
    """

    def __init__(self, folder: Path) -> None:
        self.victim = Victim(folder)
        code = self.victim.run()
        assert code == 0, self.victim.output
        self.undisturbed = self.victim.trials()
        self.special: dict[str, Callable[[], Outcome]] = {
            "worker": self.worker,
            "clock": self.clock,
            "second": self.second_driver,
            "disk": self.full_disk,
        }

    def run(self, name: str) -> Outcome:
        """Run one drill; one that gets stuck is a broken promise too."""
        self.victim.forget_trials()
        try:
            if name in self.special:
                return self.special[name]()
            return self.death(DEATHS[name]) if name in DEATHS else self.blow(BLOWS[name])
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.victim.make_away()
            return Outcome(name, "", broken=[str(error)])

    def blow(self, blow: Blow) -> Outcome:
        """Strike, wait for the end, spoil files, and go on."""
        victim, outcome = self.victim, Outcome(blow.what, blow.when)
        victim.start()
        victim.wait_until(lambda: blow.ready(victim))
        begin = time.monotonic()
        blow.strike(victim)
        outcome.exit_code = victim.end()
        outcome.seconds, said = time.monotonic() - begin, victim.output
        outcome.require(outcome.exit_code == blow.exit_code, f"exit {blow.exit_code}: {said}")
        outcome.require(blow.says in said, f"says {blow.says!r}: {said}")
        outcome.require("Traceback" not in said, f"no traceback: {said}")
        outcome.require(outcome.seconds <= blow.seconds, f"ends in {blow.seconds:g} s")
        orphans = victim.orphans()
        outcome.require(not orphans, f"no process is left: {orphans}")
        blow.spoil(victim)
        outcome = self.finish(outcome, victim.events())
        outcome.require(blow.says_again in victim.output, f"says {blow.says_again!r}")
        return outcome

    def finish(self, outcome: Outcome, before: list[Event]) -> Outcome:
        """Run the same command to its end and compare with the ledger of before."""
        victim = self.victim
        code = victim.run()
        outcome.require(code == 0, f"the same command goes on: exit {code}: {victim.output}")
        outcome.harm = damage(before, victim.events())
        outcome.require(not outcome.harm.lost, "no finished trial is lost")
        outcome.require(not outcome.harm.repeated, "no finished trial is repeated")
        outcome.require(
            victim.trials() == self.undisturbed,
            f"the same set of trials: {victim.trials()}, not {self.undisturbed}",
        )
        return outcome

    def death(self, death: Death) -> Outcome:
        """Let the driver kill itself in the middle of a write."""
        victim, outcome = self.victim, Outcome("driver", death.when)
        victim.start(prelude=death.prelude)
        outcome.exit_code = victim.end()
        outcome.require(outcome.exit_code == KILLED, f"killed itself: {victim.output}")
        return self.finish(outcome, victim.events())

    def worker(self) -> Outcome:
        """Kill the process that trains: the study itself goes on."""
        victim, outcome = self.victim, Outcome("worker", "in mid-epoch")
        victim.start()
        victim.wait_until(lambda: in_search(victim))
        before, begin = victim.events(), time.monotonic()
        victim.kill(worker_of_last_epoch(victim))
        victim.wait_until(lambda: victim.count("retry") > 0)
        outcome.seconds = time.monotonic() - begin
        outcome.exit_code = victim.end()
        outcome.require(outcome.exit_code == 0, f"exit 0: {victim.output}")
        return self.finish(outcome, before)

    def clock(self) -> Outcome:
        """Set the driver's clock back by a day."""
        victim, outcome = self.victim, Outcome("system clock", "set back a day, in search")
        flag = victim.folder / "jump"
        flag.unlink(missing_ok=True)
        victim.start(
            prelude="import os, time\nreal = time.time\n"
            f"time.time = lambda: real() - 86400 * os.path.exists({str(flag)!r})"
        )
        victim.wait_until(lambda: in_search(victim))
        before = victim.events()
        flag.touch()
        outcome.exit_code = victim.end()
        times = [event["time"] for event in victim.events()]
        outcome.require(outcome.exit_code == 0, f"exit 0: {victim.output}")
        outcome.require(times == sorted(times), "the ledger's times never go back")
        outcome.require(times[-1] - times[0] < 3600, "nothing seems to have taken a day")
        return self.finish(outcome, before)

    def second_driver(self) -> Outcome:
        """Start the command twice on the same folder."""
        victim, outcome = self.victim, Outcome("second driver", "on the same folder, in search")
        pid = victim.start()
        victim.wait_until(lambda: in_search(victim))
        before, other, begin = (
            victim.events(),
            Victim(victim.folder, "second.txt"),
            time.monotonic(),
        )
        outcome.exit_code = other.run()
        outcome.seconds = time.monotonic() - begin
        outcome.require(outcome.exit_code == 2, f"exit 2: {other.output}")
        outcome.require(f"process {pid} on " in other.output, f"says who: {other.output}")
        outcome.require(victim.end() == 0, f"the first goes on: {victim.output}")
        return self.finish(outcome, before)

    def full_disk(self) -> Outcome:
        """Fill a small file system while trials run on it; needs the right to mount one."""
        victim, outcome = self.victim, Outcome("disk", "full, in search")
        with small_disk(victim.results) as is_mounted:
            if not is_mounted:
                outcome.when += " (skipped: may not mount)"
                return outcome
            victim.start()
            victim.wait_until(lambda: in_search(victim))
            begin, ballast = time.monotonic(), victim.results / "ballast"
            fill(ballast)
            before = victim.events()
            outcome.exit_code = victim.end()
            outcome.seconds, said = time.monotonic() - begin, victim.output
            outcome.require(outcome.exit_code == 2, f"exit 2: {said}")
            outcome.require("got No space left" in said, f"a clear error: {said}")
            outcome.require("Traceback" not in said, f"no traceback: {said}")
            ballast.unlink()
            return self.finish(outcome, before)

    def soak(self, num_kills: int, seed: int) -> Outcome:
        """Kill driver, worker or servers at random moments, study after study."""
        rng, victim, kills = random.Random(seed), self.victim, Counter[str]()
        outcome, snapshots = Outcome("", ""), list[list[Event]]()
        victim.forget_trials()
        while kills.total() < num_kills:
            victim.start()
            struck = self._strike_at_random(rng)
            code = victim.end()
            kills.update(struck)
            snapshots.append(victim.events())
            if code == 0:
                self._check_soak(outcome, snapshots)
                victim.forget_trials()
                snapshots.clear()
            else:  # what was not struck must not end like this, but for a machine that is too busy
                outcome.require(bool(struck), f"exit 0 unless struck: {victim.output}")
        self.finish(outcome, snapshots[-1] if snapshots else [])
        self._check_soak(outcome, snapshots)
        outcome.what = f"{kills.total()} random kills, seed {seed}"
        outcome.when = ", ".join(f"{n} × {what}" for what, n in kills.most_common())
        return outcome

    def _strike_at_random(self, rng: random.Random) -> list[str]:
        """Kill something while the study starts or trains; return what was, in order."""
        victim, begin, struck = self.victim, time.monotonic(), list[str]()
        start, num_epochs = rng.uniform(0, MAX_START_SECONDS), victim.count("epoch")
        wanted = rng.choice((None, num_epochs + 1, num_epochs + 3, num_epochs + 6))
        while victim.is_running():
            if wanted is None:
                is_time = time.monotonic() - begin > start
            else:
                is_time = victim.count("epoch") >= wanted
            if not is_time:
                time.sleep(0.05)
                continue
            time.sleep(rng.uniform(0, 1))
            what = rng.choices(("driver", "worker", *SERVERS), weights=(5, 3, 1, 1))[0]
            if victim.kill_named(what):
                struck.append(what)
            if what != "worker":
                return struck
            wanted = victim.count("epoch") + 2
        return struck

    def _check_soak(self, outcome: Outcome, snapshots: list[list[Event]]) -> None:
        for snapshot in snapshots:
            harm = damage(snapshot, self.victim.events())
            outcome.require(not harm.lost and not harm.repeated, f"after a random kill: {harm}")
        now, then = self.victim.trials(), self.undisturbed
        other = {n: (now.get(n), then.get(n)) for n in now | then if now.get(n) != then.get(n)}
        outcome.require(not other, f"the same set of trials, not {other}")


def drill_table(outcomes: list[Outcome]) -> Table:
    """Draw what was hurt, when, and what was lost."""
    table = Table(title="Fault drills: the same command afterwards, against an undisturbed study")
    for name in ("hurt", "when"):
        table.add_column(name)
    names = ("exit", "seconds", "finished before", "lost", "repeated", "epochs redone", "")
    for name in names:
        table.add_column(name, justify="right")
    for outcome in outcomes:
        harm = outcome.harm
        table.add_row(
            outcome.what,
            outcome.when,
            "" if outcome.exit_code is None else str(outcome.exit_code),
            "" if outcome.seconds is None else f"{outcome.seconds:.1f}",
            *(
                (str(harm.num_finished), str(len(harm.lost)), str(len(harm.repeated)))
                if harm
                else ("", "", "")
            ),
            str(harm.epochs_redone) if harm else "",
            verdict(not outcome.broken),
        )
    return table


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of drills; all of them.")] = None,
    kills: Annotated[int, typer.Option(help="Random kills of the soak run.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the random kills.")] = 0,
) -> None:
    """Run the drills and print the table."""
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        drills = Drills(Path(folder))
        names = only or ["worker", *BLOWS, *DEATHS, "clock", "second", "disk", "soak"]
        outcomes = []
        for name in names:
            outcome = drills.soak(kills, seed) if name == "soak" else drills.run(name)
            outcomes.append(outcome)
            console.print(f"{name}: {outcome.broken or 'ok'} {outcome.harm}", markup=False)
    console.print(drill_table(outcomes))
    console.print(describe_machine())
    if any(outcome.broken for outcome in outcomes):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
