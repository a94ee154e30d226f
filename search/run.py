"""`python -m search.run --space spaces/cars.yaml`: the whole study, from photos to a report.

Exit codes: 0 ok, 2 something the user can mend, 1 the study failed, 130 interrupted.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from search import __version__
from search.clock import EXIT_INTERRUPTED, Clock, Interrupted
from search.config import StudyConfig, load_study
from search.data.sources import Fetched
from search.dataset_section import data_roots
from search.errors import SearchError
from search.finished import is_finished
from search.identity import refuse_other_study, write_study
from search.intake import check_images_suffice, check_request, fetch
from search.plan import print_plan
from search.records import write_json
from search.results import ResultsFolder, lock_results, open_results, set_aside
from search.summary import read_summary, summary_lines
from search.terminal import Terminal
from trainables.contract import WeightsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    space: Annotated[Path, typer.Option(help="Space file: what to search, on what, how long.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Folder of class folders, CSV list or .zip of photos; repeat to merge."),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Folder [results/<study name>].")] = None,
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
    terminal = Terminal(verbosity=1 if verbose else -1 if quiet else 0)
    try:
        overrides = _overrides(data, trials, epochs, time_limit) + list(set_ or ())
        config = load_study(space, overrides)
        root = results or Path("results") / config.name
        check_request(config, root, weights, address)
        if dry_run:
            print_plan(config, root, terminal)
        else:
            run_study(config, root, terminal, weights=weights, address=address, fresh=fresh)
    except (SearchError, WeightsError) as error:
        terminal.error(str(error))
        raise typer.Exit(getattr(error, "exit_code", 2)) from None
    except (Interrupted, KeyboardInterrupt):
        terminal.warn("interrupted: the same command goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def run_study(
    config: StudyConfig,
    root: Path,
    terminal: Terminal,
    *,
    weights: Path | None,
    address: str,
    fresh: bool,
) -> None:
    """Fetch the images, open the results folder and run every stage that is not done."""
    if not fresh:
        refuse_other_study(config, ResultsFolder(root))
    fetched = fetch(config)
    check_images_suffice(config, fetched.roots, root)
    kept = set_aside(root) if fresh else None
    folder = open_results(root)
    lock = lock_results(folder)
    try:
        terminal.line("study", f"{config.name} · {folder.root} · Seed Search {__version__}")
        if kept is not None:
            terminal.line("study", f"the old results are kept in {kept}")
        refuse_other_study(config, folder)
        if is_finished(config, folder, fetched.roots, weights):
            terminal.line("study", "already finished; --trials N adds trials, --fresh starts anew")
        else:
            write_study(config, folder)
            _run_stages(config, folder, terminal, fetched, weights=weights, address=address)
        for line in summary_lines(read_summary(folder)):
            terminal.line("summary", line)
        terminal.line("summary", f"report: {folder.report / 'index.html'}")
    finally:
        lock.release()


def _run_stages(
    config: StudyConfig,
    folder: ResultsFolder,
    terminal: Terminal,
    fetched: Fetched,
    *,
    weights: Path | None,
    address: str,
) -> None:
    from search.environment import describe_environment
    from search.pipeline import run_pipeline
    from search.stages.study import Study
    from search.tune.machine import count_gpus
    from search.tune.session import RaySession

    clock = Clock(config.budget.time_limit)
    clock.install_signal_handlers()
    write_json(folder.environment, describe_environment(config.seed, count_gpus()))
    session = RaySession(address, verbose=terminal.verbosity > 0)
    # From here on the report is out of date, whatever becomes of this run.
    folder.marker("report").unlink(missing_ok=True)
    study = Study(config, folder, terminal, clock, session, fetched, weights_folder=weights)
    try:
        session.start(config.trainables)
        run_pipeline(study)
    finally:
        session.stop()
    shutil.rmtree(folder.ray, ignore_errors=True)


def _overrides(
    data: list[str] | None, trials: int | None, epochs: int | None, time_limit: str | None
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
    return found


if __name__ == "__main__":
    sys.exit(app())
