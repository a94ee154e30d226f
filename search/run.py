"""`python -m search.run --space spaces/cars.yaml`: the whole study, from photos to a report.

Exit codes: 0 ok, 2 something the user can mend, 1 the study failed, 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search import __version__
from search.clock import EXIT_INTERRUPTED, Clock
from search.config import StudyConfig, load_study
from search.data.sources import Fetched
from search.dataset_section import data_roots
from search.errors import SearchError
from search.finished import is_finished
from search.folder_lock import FolderLock
from search.identity import refuse_other_study, write_study
from search.intake import check_images_suffice, check_request, fetch, keep_done_trials
from search.mirror import Mirror
from search.mirroring import Mirroring, open_mirror, pull
from search.plan import print_plan
from search.records import write_json
from search.results import ResultsFolder, open_results, set_aside
from search.summary import read_summary, summary_lines
from search.terminal import Terminal
from trainables.contract import WeightsError

if TYPE_CHECKING:
    from search.tune.warm_start import WarmStart

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_FLAGS = {
    "budget.num_trials": "--trials",
    "budget.max_epochs": "--epochs",
    "budget.time_limit": "--time-limit",
}


@dataclass(frozen=True)
class _Flags:
    """What the command line says beside the study itself; as its options say it."""

    weights: Path | None
    address: str
    fresh: bool
    warm_start: Path | None
    dry_run: bool
    storage: str | None


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    space: Annotated[Path, typer.Option(help="Space file: what to search, on what, how long.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Folder of class folders, CSV list or .zip of photos; repeat to merge."),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Folder; else results/<study name>.")] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a full training.")] = None,
    time_limit: Annotated[str | None, typer.Option(help="Like 90s, 20m or 1h30m.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override any setting by dotted name."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of pretrained weights, <model>.safetensors.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option(help="Results of another study, whose trials to learn from.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Keep a copy in s3://… or a folder.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write event files for TensorBoard.")
    ] = False,
    address: Annotated[str, typer.Option(help="Ray cluster to join: auto or host:port.")] = "local",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; an old folder is kept, renamed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, train nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="A line for every epoch.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")] = False,
) -> None:
    """Search, confirm, retrain, judge and explain an image classifier.

    The same command on an unfinished results folder goes on where it stopped.
    """
    clock = Clock()
    terminal = Terminal(verbosity=1 if verbose else -1 if quiet else 0, clock=clock)
    with _exit_codes(terminal):
        clock.install_signal_handlers()
        given = _overrides(data, trials, epochs, time_limit, tensorboard)
        config = _load(space, given, set_ or [])
        clock.time_limit = config.budget.time_limit
        root = results or Path("results") / config.name
        flags = _Flags(weights, address, fresh, warm_start, dry_run, storage)
        _start(config, root, terminal, clock, flags)


@contextmanager
def _exit_codes(terminal: Terminal) -> Iterator[None]:
    """Say in one message why the command ends early."""
    try:
        yield
    except (SearchError, WeightsError) as error:
        terminal.error(str(error))
        raise typer.Exit(getattr(error, "exit_code", 2)) from None
    except KeyboardInterrupt:
        from search.environment import command_line

        command = command_line(without="--fresh")
        terminal.warn(f"interrupted: the same command goes on from here: {command}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        terminal.error(
            f"{error.filename or 'the disk'}: must be writable, got {os.strerror(error.errno)}. "
            "Mend that: what is finished is kept, the same command goes on."
        )
        raise typer.Exit(SearchError.exit_code) from None


def _start(
    config: StudyConfig, root: Path, terminal: Terminal, clock: Clock, flags: _Flags
) -> None:
    """Refuse what cannot be done; then do it, or print what would be."""
    check_request(config, root, flags.weights, flags.address)
    mirror = _open_mirror(config, root, terminal, flags)
    other = _check_warm_start(config, root, flags)
    if not flags.dry_run:
        run_study(config, root, terminal, clock, flags, mirror)
        return
    if other is not None:
        terminal.line("search", f"warm start: {other.text(config)}")
    print_plan(config, root, terminal, flags.weights, flags.address)


def run_study(
    config: StudyConfig,
    root: Path,
    terminal: Terminal,
    clock: Clock,
    flags: _Flags,
    mirror: Mirror | None = None,
) -> None:
    """Fetch the images, open the results folder and run every stage that is not done."""
    if not flags.fresh:
        refuse_other_study(config, ResultsFolder(root))
    fetched = fetch(config, terminal)
    check_images_suffice(config, fetched.roots, root)
    kept = set_aside(root) if flags.fresh else None
    folder = open_results(root)
    with ExitStack() as until_the_end:
        lock = FolderLock(folder.root)
        lock.acquire(terminal.warn)
        until_the_end.callback(lock.release)
        terminal.line("study", f"{config.name} · {folder.root} · Seed Search {__version__}")
        if kept is not None:
            terminal.line("study", f"the old results are kept in {kept}")
            if flags.warm_start and flags.warm_start.resolve() == folder.root:
                flags = replace(flags, warm_start=kept)
        refuse_other_study(config, folder)
        mirroring = None if mirror is None else Mirroring(mirror, terminal)
        if mirroring is not None:
            until_the_end.enter_context(mirroring.running())
        config, more_done = keep_done_trials(config, folder)
        if more_done:
            terminal.line("study", more_done)
        if is_finished(config, folder, fetched.roots, flags.weights):
            terminal.line("study", "already finished; --trials N adds trials, --fresh starts anew")
        else:
            write_study(config, folder)
            _run_stages(config, folder, terminal, clock, fetched, flags, mirroring)
        for line in summary_lines(read_summary(folder)):
            terminal.line("summary", line)
        terminal.line("summary", f"report: {folder.report / 'index.html'}")


def _run_stages(
    config: StudyConfig,
    folder: ResultsFolder,
    terminal: Terminal,
    clock: Clock,
    fetched: Fetched,
    flags: _Flags,
    mirroring: Mirroring | None,
) -> None:
    from search.environment import describe_environment
    from search.pipeline import run_pipeline
    from search.stages.data import refuse_changed_images
    from search.stages.study import Study
    from search.tune.machine import count_gpus
    from search.tune.session import RaySession

    write_json(folder.environment, describe_environment(config.seed, count_gpus()))
    session = RaySession(flags.address, terminal.verbosity > 0, clock)
    # From here on the report is out of date, whatever becomes of this run.
    folder.marker("report").unlink(missing_ok=True)
    weights, warm_start = flags.weights, flags.warm_start
    study = Study(config, folder, terminal, clock, session, fetched, weights, warm_start, mirroring)
    try:
        refuse_changed_images(study)
        session.start()
        run_pipeline(study)
    finally:
        study.live.close()  # its last page is written while Ray stops
        with terminal.busy("study", "stopping the workers"):
            session.stop()
            has_page = study.live.wait()
        if has_page:
            terminal.line("report", f"what there is so far: {folder.report / 'index.html'}")
    for left in (folder.ray, folder.checkpoints):
        shutil.rmtree(left, ignore_errors=True)


def _open_mirror(
    config: StudyConfig, root: Path, terminal: Terminal, flags: _Flags
) -> Mirror | None:
    """Open the copy of the results elsewhere; bring them where only that one has them."""
    if flags.storage is None:
        return None
    mirror = open_mirror(
        config,
        root,
        flags.storage,
        fresh=flags.fresh,
        dry_run=flags.dry_run,
        on_wait=terminal.warn,
    )
    if mirror.is_to_be_pulled and flags.dry_run:
        terminal.line("storage", f"a run would begin with the results in {flags.storage}")
    elif mirror.is_to_be_pulled:
        with terminal.busy("storage", f"bringing the results from {flags.storage}"):
            pull(mirror)
        terminal.line("storage", f"results brought from {flags.storage}")
    return mirror


def _check_warm_start(config: StudyConfig, root: Path, flags: _Flags) -> WarmStart | None:
    """Refuse a study that cannot be begun with; the folder of a fresh start is as good as empty."""
    if flags.warm_start is None:
        return None
    from search.tune.warm_start import check_warm_start, read_other_study

    if flags.fresh:
        return read_other_study(config, flags.warm_start)
    return check_warm_start(config, ResultsFolder(root), flags.warm_start)


def _load(space: Path, overrides: list[str], settings: list[str]) -> StudyConfig:
    """Read the study; a problem with what a flag said is told by the flag's name."""
    named = [key for key in _FLAGS if not any(o.startswith(f"{key}=") for o in settings)]
    return load_study(space, overrides + settings, {key: _FLAGS[key] for key in named})


def _overrides(
    data: list[str] | None,
    trials: int | None,
    epochs: int | None,
    time_limit: str | None,
    tensorboard: bool,
) -> list[str]:
    """Turn flags into overrides of the space file, so that one check covers both."""
    found: list[str] = []
    if data:
        data_roots("--data", data)
        # A path the user gave never falls back to a download or a drawn sample.
        roots = json.dumps(data, ensure_ascii=False)
        found += [f"dataset.root={roots}", "dataset.source=null", "dataset.sample=null"]
    if trials is not None:
        found.append(f"budget.num_trials={trials}")
    if epochs is not None:
        found += [f"budget.max_epochs={epochs}", "budget.min_epochs=auto"]
    if time_limit is not None:
        found.append(f"budget.time_limit={time_limit}")
    if tensorboard:
        found.append("report.tensorboard=true")
    return found


if __name__ == "__main__":
    sys.exit(app())
