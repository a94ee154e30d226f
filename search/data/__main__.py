"""Look at a folder of photos before any search: `python -m search.data photos`.

Exit codes: 0 a study can run on this data, 2 something the user can mend.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.clock import EXIT_INTERRUPTED
from search.config import load_study
from search.dataset_section import DatasetConfig, data_roots
from search.errors import DatasetError, ResultsError, SearchError
from search.records import write_json
from search.results import open_results
from search.terminal import Terminal

if TYPE_CHECKING:
    from search.records import CheckedDataset, Split

_ANY_PHOTOS = "spaces/photos.yaml"
_PREFIX = "data-"
_NOTE = ".data-report.json"  # marks a folder as a report's, and says on which data

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR", help="Folder with a folder per class, .csv list or .zip; all are merged."
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="Space file whose dataset section to follow; its root without a DIR."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; results/data-NAME by default.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")] = False,
) -> None:
    """Check photos for damage, copies, leaks and wrong labels, and write a page about them.

    Exits with 2 when no study can run on them; the page is written all the same.
    """
    terminal = Terminal(verbosity=-1 if quiet else 0)
    try:
        trouble = look_at(list(data or ()), space, out, terminal)
        if trouble:
            raise DatasetError(trouble)
    except SearchError as error:
        terminal.error(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def look_at(given: Sequence[str], space: Path | None, out: Path | None, terminal: Terminal) -> str:
    """Check the data and write its report.

    Returns:
        Why no study can run on it, "" when one can.

    Raises:
        SearchError: There is nothing to report on, or the report cannot be written.
    """
    dataset, seed = _settings(given, space)
    # Heavy: `--help` and wrong input do not wait for them.
    from search.data.check import copies_warning
    from search.data.sources import fetch_dataset
    from search.report.data_files import DataFacts
    from search.report.data_report import write_data_report

    with terminal.progress("fetch") as on_progress:
        fetched = fetch_dataset(dataset.root, dataset.source, dataset.sample, on_progress)
    name = _name(dataset.root[0])
    folder = _open_folder(out, name, dataset.root, fetched.roots)
    name = name if out else folder.name.removeprefix(_PREFIX)
    checked, split, trouble = _check(dataset, seed, fetched.roots, terminal)
    _write_records(folder, checked, split)
    copies = copies_warning(checked)
    facts = DataFacts(
        name=name,
        roots=checked.index.roots,
        classes=checked.index.classes,
        size_px=dataset.size_px if space else None,
        fit=dataset.fit,
        trouble=trouble,
        command="" if trouble else _command(name, given, space, checked),
        warnings=tuple(filter(None, (*fetched.warnings, *checked.index.warnings, copies))),
        is_sample=fetched.is_sample,
    )
    report = write_data_report(folder, facts)
    for line in report.answer[:-1]:
        terminal.line(line.label.lower(), line.text)
    for text in report.warnings:
        terminal.warn(text)
    if facts.command:
        terminal.line("search", facts.command)
    terminal.line("report", str(report.page))
    return trouble


def _settings(given: Sequence[str], space: Path | None) -> tuple[DatasetConfig, int]:
    """Return what a study on this data would do, and its seed."""
    data_roots("DIR", given)
    if space is None:
        if not given:
            raise DatasetError("DIR: must be a folder of photos, got none. Name one, or a --space.")
        return DatasetConfig.model_validate({"root": list(given)}), 0
    roots = json.dumps(given, ensure_ascii=False)
    overrides = [f"dataset.root={roots}", "dataset.source=null", "dataset.sample=null"]
    config = load_study(space, overrides if given else [])
    return config.dataset, config.seed


def _name(root: Path) -> str:
    """Name the data after its folder, in letters that fit any file system and study."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", root.expanduser().resolve().name)
    return re.sub(r"\.(zip|csv)$", "", plain, flags=re.IGNORECASE).strip("._-")[:60] or "photos"


def _open_folder(out: Path | None, name: str, given: Sequence[Path], roots: Sequence[Path]) -> Path:
    """Create the report's folder, where it can do no harm.

    Args:
        out: The folder that the user named, or None.
        name: What the data is called; a number follows where that is the name of other data.
        given: The roots as the user named them.
        roots: Where their images are.
    """
    about = sorted({str(root.expanduser().resolve()) for root in given})
    folder = out or next(
        place
        for place in (Path("results") / f"{_PREFIX}{name}{tail}" for tail in _tails())
        if _reported(place) in (None, about)
    )
    _refuse_harm(folder, roots)
    opened = open_results(folder, "--out").root
    try:
        write_json(opened / _NOTE, {"roots": about})
    except OSError as error:
        raise _unwritable(opened, error) from error
    return opened


def _tails() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))


def _reported(folder: Path) -> list[str] | None:
    """Return the roots that a report in this folder is about, None without a report."""
    try:
        return list(json.loads((folder / _NOTE).read_text(encoding="utf-8"))["roots"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_harm(folder: Path, roots: Sequence[Path]) -> None:
    here = folder.expanduser().resolve()
    if any(here.is_relative_to(root.resolve()) for root in roots):
        raise ResultsError(
            f"--out {folder}: must lie outside the data, or its pictures would count as photos. "
            "Name another folder."
        )
    if any((place / ".stages").exists() for place in (here, here.parent)):
        raise ResultsError(
            f"--out {folder}: must not be a study's folder, which has a data report of its own. "
            "Name another folder."
        )
    lists = any(here == root.resolve().parent for root in roots if root.is_file())
    if lists or (_is_used(here) and _reported(here) is None):
        raise ResultsError(
            f"--out {folder}: must be a new or empty folder, or that of an earlier data report, "
            "got one with other files. Name another folder."
        )


def _is_used(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:  # opening it says what is wrong
        return False


def _check(
    dataset: DatasetConfig, seed: int, roots: Sequence[Path], terminal: Terminal
) -> tuple[CheckedDataset, Split | None, str]:
    """Check and split as a study would; say why it cannot be done instead of raising."""
    from search.data.check import UnusableDataError, check_images
    from search.data.index import build_index
    from search.data.splits import make_split

    index = build_index(roots, dataset.classes)
    try:
        with terminal.progress("check") as on_progress:
            checked = check_images(
                index,
                max_dropped=dataset.max_dropped,
                num_workers=os.cpu_count() or 1,
                on_progress=on_progress,
            )
    except UnusableDataError as error:
        return error.checked, None, str(error)
    fractions = {"val_fraction": dataset.val_fraction, "test_fraction": dataset.test_fraction}
    try:
        return checked, make_split(checked.index, **fractions, seed=seed), ""
    except DatasetError as error:
        return checked, None, str(error)


def _write_records(folder: Path, checked: CheckedDataset, split: Split | None) -> None:
    from search.data.check import write_problems
    from search.data.index import write_index
    from search.data.splits import write_split

    try:
        write_index(folder / "index.csv", checked.index)
        write_problems(folder / "problems.csv", checked.problems)
        (folder / "splits.csv").unlink(missing_ok=True)
        if split is not None:
            write_split(folder / "splits.csv", checked.index, split)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"{folder}: must be writable, got {error.strerror}. Free some space, or name another "
        "folder with --out."
    )


def _command(name: str, given: Sequence[str], space: Path | None, checked: CheckedDataset) -> str:
    """Return how to search on this data: with its own space file, or the one for any photos."""
    from search.report.data_words import is_unbalanced, suggest_size_px

    own = Path("spaces") / f"{name}.yaml"
    chosen = space or (own if own.is_file() and own != Path(_ANY_PHOTOS) else None)
    settings = []
    if chosen is None:
        rows = checked.index.rows
        chosen = Path(_ANY_PHOTOS)
        size_px = suggest_size_px(min(row.width_px, row.height_px) for row in rows)
        settings = ["--set", f"name={name}", "--set", f"dataset.size_px={size_px}"]
        if is_unbalanced(Counter(row.label for row in rows).values()):
            settings += ["--set", "objective.metric=val_balanced_accuracy"]
    data = [word for path in given for word in ("--data", path)]
    words = ["python", "-m", "search.run", "--space", chosen.as_posix(), *data, *settings]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(app())
