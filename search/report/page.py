"""Write the report: tables, plots and one HTML page that opens anywhere, from files alone."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from search.errors import ResultsError
from search.records import TrialState, write_text
from search.report.answer import answer_lines
from search.report.best_space import write_best_space
from search.report.data_files import data_of_study
from search.report.data_report import write_data_report
from search.report.data_tables import DATA_TABLES
from search.report.data_words import data_warnings, leaks_text
from search.report.draw_beside import drawing_beside
from search.report.figures import PLOTS, Drawn, draw_plots
from search.report.format import count_text, number_text, seconds_text
from search.report.group_tables import by_parameter, categorical
from search.report.ledger_tables import RUNNING
from search.report.load import StudyFiles, read_study, section
from search.report.page_parts import Part, parts_of_page
from search.report.table import Table, TableView, write_tables
from search.report.tables import TABLES
from search.report.trial_data import trial_data
from search.report.under_way import UnderWay, read_under_way, running_table
from search.results import ResultsFolder

_SHOWN_ROWS = {"trials": None, "leaderboard": 10}  # rows on the page; files hold all
_LIVE_PLOTS = tuple(
    plot
    for plot in PLOTS
    if plot.name in ("history", "learning_curves", "by_backbone", "timeline", "confirm")
)


def write_report(results: ResultsFolder, *, at_work: bool = False, beside: bool = False) -> Path:
    """Rebuild everything under `results.report` from the files beside it.

    Args:
        results: A finished study, or one that is still under way: what is missing is named.
        at_work: A driver is working in the folder; the page says so and reloads itself.
        beside: Let a second process draw plots too. It takes three seconds of CPU to begin.

    Returns:
        The page, report/index.html.

    Raises:
        ResultsError: The folder holds no results, or the report cannot be written there.
    """
    with drawing_beside(results, at_work=at_work, wanted=beside) as helper:
        files = read_study(results, at_work=at_work)
        return _write(files, lambda plots: _data_plots(files, plots) | helper.draw_the_rest(files))


def write_live_report(results: ResultsFolder) -> Path:
    """Write the page of a study at work, with the few plots that are worth drawing every minute."""
    files = read_study(results, at_work=True)
    return _write(files, lambda plots: draw_plots(files, plots, _LIVE_PLOTS))


def _write(files: StudyFiles, draw: Callable[[Path], dict[str, list[Drawn]]]) -> Path:
    report, under_way = files.folder.report, read_under_way(files)
    tables, plots = report / "tables", report / "plots"
    try:
        drawn = draw(plots)
        views, reasons = write_tables(_makers(files, under_way), tables, _SHOWN_ROWS)
        parts = parts_of_page(files, drawn, views, reasons)
        page = report / "index.html"
        write_text(page, _render(files, parts, views, under_way, write_best_space(files)))
        _remove_stale(plots, {plot.name for made in drawn.values() for plot in made if plot.uri})
        _remove_stale(tables, set(views))
    except OSError as error:
        raise ResultsError(
            f"{report}: must be writable, got {error.strerror or error}. "
            "Free some space or change its permissions."
        ) from error
    return page


def _data_plots(files: StudyFiles, folder: Path) -> dict[str, list[Drawn]]:
    """Write the report of the data set, and copy its plots to the study's."""
    if files.index.empty:
        return {"data": [Drawn("data", "", missing="The images were not checked yet.")]}
    data = files.folder.data
    try:
        report = write_data_report(data, data_of_study(files).facts)
    except (OSError, ResultsError):
        raise
    except Exception as error:  # as for plots: what the images stumble over must not cost the rest
        text = f"The data report could not be made: {type(error).__name__}: {error}"
        return {"data": [Drawn("data", "", missing=text, failed=True)]}
    drawn = [plot for made in report.drawn.values() for plot in made]
    folder.mkdir(parents=True, exist_ok=True)
    for plot in drawn:
        if plot.uri:
            shutil.copyfile(data / "plots" / f"{plot.name}.png", folder / f"{plot.name}.png")
    return {"data": drawn}


def _makers(files: StudyFiles, under_way: UnderWay | None) -> dict[str, Callable[[], Table]]:
    """Return every table's maker by name."""
    data = data_of_study(files)
    makers: dict[str, Callable[[], Table]] = {
        **({"running": partial(running_table, files, under_way)} if under_way else {}),
        **{name: partial(make, files) for name, make in TABLES.items()},
        **{name: partial(make, data) for name, make in DATA_TABLES.items()},
    }
    names = categorical(files) if len(files.trials) else ()
    return makers | {f"by_{name}": partial(by_parameter, files, name) for name in names}


def _render(
    files: StudyFiles,
    parts: list[Part],
    views: dict[str, TableView],
    under_way: UnderWay | None,
    best_missing: str,
) -> str:
    environment = Environment(
        loader=PackageLoader("search.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"), "ensure_ascii": False, "allow_nan": False,
    }  # fmt: skip
    return environment.get_template("page.html.j2").render(
        name=str(files.study.get("name") or files.folder.root.name),
        subtitle=_subtitle(files),
        is_sample=files.is_sample,
        warnings=_warnings(files),
        # While it runs, what has no answer yet needs no line.
        answer=[line for line in answer_lines(files) if not (files.at_work and line.missing)],
        parts=parts,
        anchors={part.id for part in parts}
        | {f"plot-{plot.name}" for part in parts for plot in part.plots},
        trials=views.get("trials"),
        fixed=_fixed(files),
        command=_command(files),
        rebuild=f"python -m search.report {_shown(files.folder.root)}",
        use=f"python -m search.predict --model {_shown(files.folder.export)} photo.jpg"
        if (files.folder.export / "model.json").is_file() and not files.at_work
        else "",
        best_missing=best_missing,
        train_best=f"python -m search.run --space {_shown(files.folder.report / 'best.yaml')}"
        + _weights(files),
        data=trial_data(files) if "trials" in views else {},
        metric=files.metric,
        facts=_facts(files),
        at_work=files.at_work,
        under_way=under_way.text if under_way else "",
        running=views.get("running"),
        updated=datetime.now().astimezone(),
    )


def _subtitle(files: StudyFiles) -> str:
    """Tell in one line how large the study was, when it ran and why it ended."""
    states = files.trials["state"].tolist()
    counts = [(states.count(name), name) for name in (*map(str, TrialState), RUNNING)]
    listed = ", ".join(f"{number} {name}" for number, name in counts if number)
    parts = [f"{count_text(len(states), 'trial')}: {listed}" if states else "no trials yet"]
    summary = {} if files.at_work else files.summary
    began, ended = (_moment(summary.get(key)) for key in ("started", "finished"))
    if began and ended:
        took = seconds_text((ended - began).total_seconds())
        parts.append(f"{began:%Y-%m-%d %H:%M}, {took}")
    if summary.get("reason"):
        parts.append(f"ended: {summary['reason']}")
    return " · ".join(parts)


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _warnings(files: StudyFiles) -> list[str]:
    noted = not files.summary or files.at_work
    given = (files.note if noted else files.summary).get("warnings")
    warnings = [str(text) for text in given] if isinstance(given, list) else []
    if files.at_work and files.summary:
        ended = files.summary.get("finished", "before")
        warnings.append(
            f"What is said of the winner and its test is of the run that ended {ended}."
        )
    elif not files.summary and not files.at_work:
        warnings.append("This study has not finished: the report shows what there is so far.")
    if len(files.index):
        data = data_of_study(files)
        warnings += [text for text in (leaks_text(data), *data_warnings(data)) if text]
    return warnings + [f"Could not be read, so it is left out: {text}" for text in files.unreadable]


def _fixed(files: StudyFiles) -> list[tuple[str, str]]:
    """Return the parameters that were the same in every trial, with their value."""
    names = [name for name in files.params if name not in files.varied()]
    return [(name, number_text(files.trials[f"params.{name}"].iloc[0])) for name in names]


def _command(files: StudyFiles) -> str:
    return str(files.summary.get("command") or files.environment.get("command") or "")


def _weights(files: StudyFiles) -> str:
    """Return the study's own --weights, which no space file holds, as it was given; "" if not."""
    try:
        words = shlex.split(_command(files))
    except ValueError:  # an open quote: the record was damaged
        return ""
    given = [value for word, value in pairwise(words) if word == "--weights"]
    given += [word.partition("=")[2] for word in words if word.startswith("--weights=")]
    return f" --weights {shlex.quote(given[-1])}" if given else ""


def _shown(path: Path) -> str:
    """Write a path for a command: from the folder this was run in, where it lies in that."""
    here, path = Path.cwd().resolve(), path.resolve()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


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
