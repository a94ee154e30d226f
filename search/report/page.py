"""Write the report: tables, plots and one HTML page that opens anywhere, from files alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from search.errors import ResultsError
from search.records import TrialState, write_text
from search.report.answer import answer_lines
from search.report.figures import Drawn, draw_plots
from search.report.format import count_text, is_number, number_text, seconds_text
from search.report.load import NothingToShowError, StudyFiles, read_study, section
from search.report.table import Table, column_title, write_table
from search.report.tables import TABLES, by_parameter, categorical
from search.results import ResultsFolder

_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("search", "Search", ("leaderboard", "rungs", "failures", "time")),
    ("winner", "Winner", ("best_params", "confirm")),
    ("test", "Test", ("test_metrics", "per_class", "confusions")),
    ("explanations", "Explanations", ()),
    ("data", "Data", ("problems", "class_counts")),
)
_SHOWN_ROWS = {"trials": None, "leaderboard": 10}  # rows on the page; files hold all


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it: titles, rows of (text, sort key), which columns are numbers."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[tuple[str, str]]]
    numeric: frozenset[int] = frozenset()
    num_more: int = 0


@dataclass(frozen=True)
class Part:
    """One section of the page."""

    id: str
    title: str
    plots: list[Drawn] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def write_report(results: ResultsFolder) -> Path:
    """Rebuild everything under `results.report` from the files beside it.

    Args:
        results: A finished study, or one that is still under way: what is missing is named.

    Returns:
        The page, report/index.html.

    Raises:
        ResultsError: The folder holds no results, or the report cannot be written there.
    """
    files = read_study(results)
    tables, plots = results.report / "tables", results.report / "plots"
    try:
        drawn = draw_plots(files, plots)
        views, reasons = _write_tables(files, tables)
        parts = _parts(files, drawn, views, reasons)
        page = results.report / "index.html"
        write_text(page, _render(files, parts, views.get("trials")))
        _remove_stale(plots, {plot.name for made in drawn.values() for plot in made if plot.uri})
        _remove_stale(tables, set(views))
    except OSError as error:
        raise ResultsError(
            f"{results.report}: must be writable, got {error.strerror or error}. "
            "Free some space or change its permissions."
        ) from error
    return page


def _write_tables(
    files: StudyFiles, folder: Path
) -> tuple[dict[str, TableView], dict[str, tuple[str, bool]]]:
    """Write every table; return those there are, and why others are not (reason, is a failure)."""
    makers = dict(TABLES)
    if len(files.trials):
        for name in categorical(files):
            makers[f"by_{name}"] = lambda found, name=name: by_parameter(found, name)  # type: ignore[misc]
    views, reasons = {}, {}
    for name, make in makers.items():
        try:
            table = make(files)
            write_table(table, folder)
            views[name] = table_view(table, limit=_SHOWN_ROWS.get(name, 25))
        except NothingToShowError as reason:
            reasons[name] = (str(reason), False)
        except OSError:
            raise
        except Exception as error:  # as for plots: one broken table must not cost the report
            text = f"The table {name} could not be made: {type(error).__name__}: {error}"
            reasons[name] = (text, True)
    return views, reasons


def table_view(table: Table, limit: int | None = None) -> TableView:
    """Prepare a table's first `limit` rows for the page."""
    shown = table.frame[table.shown].head(limit) if limit else table.frame[table.shown]
    rows = [
        [_cell(table, column, value) for column, value in zip(table.shown, values, strict=True)]
        for values in shown.itertuples(index=False, name=None)
    ]
    titles = [column_title(table, column) for column in table.shown]
    numeric = frozenset(
        k
        for k in range(len(titles))
        if any(row[k][0] for row in rows) and all(is_number(key or 0) for _, key in _at(rows, k))
    )
    return TableView(table.name, table.title, titles, rows, numeric, len(table.frame) - len(rows))


def _at(rows: list[list[tuple[str, str]]], column: int) -> list[tuple[str, str]]:
    return [row[column] for row in rows]


def _cell(table: Table, column: str, value: Any) -> tuple[str, str]:
    text = table.cell(column, value)
    return text, repr(float(value)) if text and is_number(value) else text


def _parts(
    files: StudyFiles,
    drawn: dict[str, list[Drawn]],
    views: dict[str, TableView],
    reasons: dict[str, tuple[str, bool]],
) -> list[Part]:
    """Sort plots, tables and what is missing into the sections of the page."""
    parts = []
    for ident, title, names in _SECTIONS:
        plots = drawn.get(ident, [])
        wanted = list(names)
        if ident == "search":
            wanted[1:1] = [f"by_{name}" for name in categorical(files)] if len(files.trials) else []
        told = [(p.missing, p.failed) for p in plots if p.missing]
        told += [reasons[name] for name in wanted if name in reasons]
        notes = dict.fromkeys(text for text, failed in told if not failed)
        failures = dict.fromkeys(text for text, failed in told if failed)
        shown = [p for p in plots if p.uri]
        tables = [views[name] for name in wanted if name in views]
        parts.append(Part(ident, title, shown, tables, list(notes), list(failures)))
    return parts


def _render(files: StudyFiles, parts: list[Part], trials: TableView | None) -> str:
    environment = Environment(
        loader=PackageLoader("search.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(
        name=str(files.study.get("name") or files.folder.root.name),
        subtitle=_subtitle(files),
        is_sample=files.is_sample,
        warnings=_warnings(files),
        answer=answer_lines(files),
        parts=parts,
        trials=trials,
        fixed=_fixed(files),
        command=_command(files),
        rebuild=f"python -m search.report {files.folder.root.name}",
        facts=_facts(files),
    )


def _subtitle(files: StudyFiles) -> str:
    """Tell in one line how large the study was, when it ran and why it ended."""
    states = files.trials["state"].tolist()
    counts = [(states.count(state.value), state.value) for state in TrialState]
    listed = ", ".join(f"{number} {name}" for number, name in counts if number)
    parts = [f"{count_text(len(states), 'trial')}: {listed}" if states else "no trials yet"]
    began, ended = (_moment(files.summary.get(key)) for key in ("started", "finished"))
    if began and ended:
        took = seconds_text((ended - began).total_seconds())
        parts.append(f"{began:%Y-%m-%d %H:%M}, {took}")
    if files.summary.get("reason"):
        parts.append(f"ended: {files.summary['reason']}")
    return " · ".join(parts)


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _warnings(files: StudyFiles) -> list[str]:
    given = files.summary.get("warnings")
    warnings = [str(text) for text in given] if isinstance(given, list) else []
    if not files.summary:
        warnings.append("This study has not finished: the report shows what there is so far.")
    return warnings + [f"Could not be read, so it is left out: {text}" for text in files.unreadable]


def _fixed(files: StudyFiles) -> list[tuple[str, str]]:
    """Return the parameters that were the same in every trial, with their value."""
    names = [name for name in files.params if name not in files.varied()]
    return [(name, number_text(files.trials[f"params.{name}"].iloc[0])) for name in names]


def _command(files: StudyFiles) -> str:
    return str(files.summary.get("command") or files.environment.get("command") or "")


def _facts(files: StudyFiles) -> list[tuple[str, str]]:
    """Flatten the record of the run: seeds, budget, data, hardware, versions, git."""
    dataset = section(files.summary, "dataset")
    keys = ("roots", "source", "num_images", "num_train", "num_val", "num_test", "num_dropped",
            "size_px", "fit", "fingerprint")  # fmt: skip
    record: dict[str, Any] = {
        "study": {k: files.study.get(k) for k in ("space_file", "trainable", "objective", "seed")},
        "budget": files.budget,
        "dataset": {key: dataset.get(key) for key in keys},
    }
    for name in ("seeds", "hardware", "versions"):
        record[name] = {**section(files.summary, name), **section(files.environment, name)}
    skipped = {*record, "command"}
    record |= {key: value for key, value in files.environment.items() if key not in skipped}
    return list(_flat("", record))


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(str(item) for item in value)
    elif value is not None and not (isinstance(value, float) and math.isnan(value)):
        yield prefix, str(value)


def _remove_stale(folder: Path, kept: set[str]) -> None:
    """Delete what an earlier report wrote here and this one did not."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.suffix in (".png", ".csv", ".md") and path.stem not in kept:
            path.unlink()
