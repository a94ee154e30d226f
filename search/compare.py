"""Lay finished or unfinished studies side by side: `python -m search.compare results/a results/b`.

Exit codes: 0 ok, 2 something the user can mend.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from search.clock import EXIT_INTERRUPTED
from search.errors import ResultsError, SearchError
from search.records import write_json
from search.results import open_results
from search.terminal import Terminal

_PREFIX = "compare-"
_NOTE = ".comparison.json"  # marks a folder as a comparison's, and says of which studies

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR...", help="2 to 10 results folders that search.run wrote."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the comparison; results/compare-A-B by default.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only the answer.")] = False,
) -> None:
    """Say which of several studies has the best model, whether that is noise, and what differed.

    Writes one page, plots and tables. Unfinished and damaged studies go as far as they go.
    """
    terminal = Terminal()
    try:
        compare(list(folders or ()), output, terminal, quiet)
    except SearchError as error:
        terminal.error(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def compare(
    folders: Sequence[Path], output: Path | None, terminal: Terminal, quiet: bool = False
) -> Path:
    """Compare studies and write the comparison; return its page.

    Raises:
        ResultsError: A folder cannot be compared, or the comparison cannot be written: with every
            problem.
    """
    # Heavy: `--help` does not wait for pandas and matplotlib.
    from search.report.studies import read_studies
    from search.report.studies_page import write_comparison

    problems, studies = [], None
    try:
        studies = read_studies(folders)
    except ResultsError as error:
        problems.append(str(error))
    if output is not None:
        problems += _harm(output, folders)
    if problems or studies is None:
        raise ResultsError("\n".join(problems))
    roots = [study.files.folder.root for study in studies]
    folder = _open_folder(output, roots)
    with terminal.busy("compare", "drawing plots and tables"):
        found = write_comparison(studies, folder)
    if not quiet:
        _print_table(found.short, terminal)
        terminal.line("differed", found.differences)
    terminal.line("answer", found.answer)
    for text in found.missing:
        terminal.warn(text)
    terminal.line("page", str(found.page))
    return found.page


def _harm(output: Path, folders: Sequence[Path]) -> list[str]:
    """Say why a folder that the user named must not be written to."""
    here = output.expanduser().resolve()
    roots = [folder.expanduser().resolve() for folder in folders]
    if any(here.is_relative_to(root) for root in roots) or (here / ".stages").exists():
        return [f"--output {output}: must lie outside every study. Name another folder."]
    if here.is_dir() and any(here.iterdir()) and _compared(here) is None:
        return [
            f"--output {output}: must be a new or empty folder, or that of an earlier comparison, "
            "got one with other files. Name another folder."
        ]
    return []


def _open_folder(output: Path | None, roots: Sequence[Path]) -> Path:
    """Create the comparison's folder; a number follows where its name is taken by others."""
    about = [str(root) for root in roots]
    folder = output or next(
        place
        for place in (Path("results") / f"{folder_name(roots)}{tail}" for tail in _tails())
        if _compared(place) == about or not place.exists() or _is_empty(place)
    )
    opened = open_results(folder.expanduser(), "--output").root
    write_json(opened / _NOTE, {"studies": about})
    return opened


def folder_name(roots: Sequence[Path]) -> str:
    """Name a comparison after its studies, in letters that fit any file system. Pure."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", root.name).strip("._-")[:40] for root in roots]
    names = [name or "study" for name in plain]
    if len(names) > 3:
        names = [*names[:2], f"and-{len(names) - 2}-more"]
    return _PREFIX + "-".join(names)


def _tails() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _compared(folder: Path) -> list[str] | None:
    """Return which studies a comparison in this folder is of, None without one."""
    try:
        return list(json.loads((folder / _NOTE).read_text(encoding="utf-8"))["studies"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _print_table(rows: Sequence[Sequence[str]], terminal: Terminal) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in rows[0]:
        table.add_column(Text(title), overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    terminal.console.print(table)


if __name__ == "__main__":
    sys.exit(app())
