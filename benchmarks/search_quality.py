"""Decide by recorded learning curves how a study should search: which sampler, which scheduler.

python -m benchmarks.search_quality [--seeds 20] [--trials 40] [--method NAME]... [--table NAME]...
                                    [--json FILE] [--plot FILE.png] [--check]

Each method searches each table of benchmarks/curves with many seeds, through the study's own
searcher, scheduler and ledger (benchmarks/replay.py); only the trainings are read instead of done.
--check runs one study in Ray too, and compares trial by trial. All methods are compared at the same
moment, when the default one, two trainings at a time, is through with its trials; who stops more
trials early has time for more of them. What counts is what a study would hand over, its best
complete trial. Differences are paired by seed; intervals are 95 % bootstraps over the seeds. A
curve is that of one training: what is said of a table holds for data like it.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import optuna
import typer
from optuna.samplers import BaseSampler
from rich.console import Console
from rich.progress import track

from benchmarks.curves import FOLDER, CurveTable
from benchmarks.measure import describe_machine
from benchmarks.regret import compare, regret_table
from benchmarks.regret_plot import draw_anytime
from benchmarks.replay import Method, Replay, simulate
from benchmarks.replay_in_ray import differences
from search.records import write_json
from search.tune.sampler import make_sampler, num_startup_trials


def _tpe(
    seed: int, num_trials: int, *, num_startup: int | None = None, **options: bool
) -> BaseSampler:
    return make_sampler("tpe", seed, num_startup or num_startup_trials(num_trials), **options)


DEFAULT = "tpe, asha"
_METHODS = (
    Method(DEFAULT),
    Method("random, none", ("search.sampler=random", "budget.scheduler=none")),
    Method("random, asha", ("search.sampler=random",)),
    Method("gp, asha", ("search.sampler=gp",)),
    Method("tpe, none", ("budget.scheduler=none",)),
    Method("tpe, median", ("budget.scheduler=median",)),
    Method("tpe, hyperband", ("budget.scheduler=hyperband",)),
    Method("tpe, asha by 2", ("budget.reduction_factor=2",)),
    Method("tpe, asha by 4", ("budget.reduction_factor=4",)),
    Method("tpe, asha from epoch 3", ("budget.min_epochs=3",)),
    Method("tpe independent, asha", sampler=partial(_tpe, multivariate=False)),
    Method("tpe no liar, asha", sampler=partial(_tpe, constant_liar=False)),
    Method("tpe after 5, asha", sampler=partial(_tpe, num_startup=5)),
    Method("tpe after 20, asha", sampler=partial(_tpe, num_startup=20)),
)
METHODS = {method.name: method for method in _METHODS}


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Studies of each method on each table.")] = 20,
    trials: Annotated[int, typer.Option(min=2, help="Of each study.")] = 40,
    method: Annotated[list[str] | None, typer.Option(help="Methods; all without it.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="Tables; all without it.")] = None,
    folder: Annotated[Path, typer.Option(help="Of the tables.")] = FOLDER,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    check: Annotated[bool, typer.Option(help="Only compare a simulation with Ray.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the anytime curves (PNG).")] = None,
) -> None:
    """Replay every method, compare them with the default."""
    if check:
        raise typer.Exit(_check(read_tables(table or [], folder)[0], trials))
    names = [DEFAULT, *(n for n in method or METHODS if n != DEFAULT)]
    tables = read_tables(table or [], folder)
    if unknown := [name for name in names if name not in METHODS]:
        raise typer.BadParameter(f"must be of {', '.join(METHODS)}, got {', '.join(unknown)}")
    replays = replay_all(names, tables, trials, range(seeds), jobs)
    rows = [row for t in tables for row in compare(t, replays[t.name], DEFAULT)]
    for t in tables:
        Console(width=120).print(regret_table(t.name, [row for row in rows if row.table == t.name]))
    if plot is not None:
        draw_anytime(tables, replays, plot)
    if json is not None:
        every = [
            {"method": n, "table": t, "replays": [asdict(replay) for replay in found]}
            for t, by_method in replays.items()
            for n, found in by_method.items()
        ]
        about = {"trials": trials, "seeds": seeds, "machine": describe_machine()}
        write_json(json, {"rows": [asdict(row) for row in rows], "replays": every} | about)


def _check(table: CurveTable, trials: int) -> int:
    """Search once in Ray, compare with the simulation, return the exit code."""
    _quieten()
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        found = differences(METHODS[DEFAULT], table, trials, 0, Path(folder))
    print("\n".join(found) or f"{trials} trials through Ray: the same as simulated")
    return int(bool(found))


def read_tables(names: Sequence[str], folder: Path) -> list[CurveTable]:
    """Read the recorded tables of these names, all without any.

    Raises:
        BadParameter: There is no such table, or it is not complete.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.csv"))}
    if not known:
        raise typer.BadParameter(f"--folder must hold tables (.csv), got none in {folder}")
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"must be of {', '.join(known)}, got {', '.join(unknown)}")
    tables = [CurveTable(known[name]) for name in names or known]
    for table in tables:
        if missing := len(table.missing()):
            command = f"python -m benchmarks.record_curves --name {table.name}"
            raise typer.BadParameter(f"{table.name} lacks {missing} curves: {command}")
    return tables


def replay_all(
    names: Sequence[str], tables: Sequence[CurveTable], trials: int, seeds: Sequence[int], jobs: int
) -> dict[str, dict[str, list[Replay]]]:
    """Return table -> method -> a replay for each seed, all as long as the default's at least."""
    with ProcessPoolExecutor(jobs, initializer=_quieten) as pool:

        def replays(name: str, table: CurveTable, until: float) -> list[Future[Replay]]:
            return [pool.submit(_one, name, table, trials, seed, until) for seed in seeds]

        usual = {t.name: _median_seconds(replays(DEFAULT, t, 0.0)) for t in tables}
        todo = {t.name: {n: replays(n, t, usual[t.name]) for n in names} for t in tables}
        every = [
            one for by_method in todo.values() for found in by_method.values() for one in found
        ]
        for one in track(
            as_completed(every), "replaying", len(every), console=Console(stderr=True)
        ):
            one.result()  # an error is raised at once
    return {t: {n: [one.result() for one in f] for n, f in ms.items()} for t, ms in todo.items()}


def _median_seconds(replays: Sequence[Future[Replay]]) -> float:
    return statistics.median(replay.result().seconds for replay in replays)


def _quieten() -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _one(name: str, table: CurveTable, trials: int, seed: int, until: float) -> Replay:
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        return simulate(METHODS[name], table, trials, seed, Path(folder), until)


if __name__ == "__main__":
    typer.run(main)
