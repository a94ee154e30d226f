"""Rebuild a report: `python -m search.report results/cars`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.errors import SearchError
from search.folder_lock import run_at_work
from search.results import ResultsFolder

_FOLDER = typer.Argument(metavar="DIR", help="Results folder that search.run wrote.")


def main(folder: Annotated[Path, _FOLDER]) -> None:
    """Rebuild DIR/report (page, tables, plots) from the files in DIR, also of a running study."""
    from search.report.page import write_report  # slow to import: not for --help

    try:
        results = ResultsFolder(folder.resolve())
        page = write_report(results, at_work=run_at_work(results.root), beside=True)
    except SearchError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo(f"Report: {page}")


if __name__ == "__main__":
    typer.run(main)
