"""Write the comparison of several studies: tables, plots, one HTML page and one of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from search.errors import ResultsError
from search.records import write_json, write_text
from search.report.answer import Line
from search.report.figures import Drawn, Plot, draw_plots
from search.report.format import count_text, in_words, short
from search.report.studies import Compared, missing_text
from search.report.studies_facts import GROUPS, MEANT, Difference, find_differences
from search.report.studies_plots import (
    best_curves_data,
    class_recalls_data,
    draw_best_curves,
    draw_class_recalls,
    draw_incumbents,
    draw_scores,
    incumbents_data,
    scores_data,
)
from search.report.studies_scores import Pair, answer_text, compare_pairs, seeds_text
from search.report.studies_tables import TABLES, short_rows
from search.report.table import TableView, write_tables

Studies = Sequence[Compared]
_NAMED = 4  # differences in the answer, with their values
_TOLD = 3  # studies whose values stand there

PLOTS: tuple[Plot[Studies], ...] = (
    Plot("scores", "scores",
         "Intervals of single scores may overlap although the difference is more than noise: on "
         "the same images the table of pairs decides.",
         lambda s: draw_scores(scores_data(s))),
    Plot("class_recalls", "scores",
         "Few test images of a class make a recall jump: look at the largest gaps first.",
         lambda s: draw_class_recalls(class_recalls_data(s))),
    Plot("incumbents", "curves",
         "The best complete trial so far. Values of studies with other images or another split do "
         "not compare.",
         lambda s: draw_incumbents(incumbents_data(s))),
    Plot("best_curves", "curves", "How the best trial of each search learned.",
         lambda s: draw_best_curves(best_curves_data(s))),
)  # fmt: skip
_ROWS = {"side_by_side": None, "differences": None, "winners": None, "pairs": 15,
         "disputed_images": 10}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A comparison that was written: its page, its answer, and rows for the terminal."""

    page: Path
    answer: str
    differences: str
    missing: list[str]
    short: list[list[str]]


def write_comparison(studies: Studies, folder: Path) -> Comparison:
    """Write index.html, comparison.md, comparison.json, tables/ and plots/ into a folder.

    Raises:
        ResultsError: The folder cannot be written.
    """
    pairs = compare_pairs(studies)
    found = find_differences(studies)
    lines = answer_lines(studies, pairs, found)
    try:
        drawn = draw_plots(studies, folder / "plots", PLOTS)
        makers = {name: partial(make, studies) for name, make in TABLES.items()}
        views, reasons = write_tables(makers, folder / "tables", _ROWS)
        _remove_stale(folder, drawn, views)
        write_text(folder / "index.html", _render(studies, lines, drawn, views, reasons))
        write_text(folder / "comparison.md", _markdown(studies, lines, folder, views))
        write_json(folder / "comparison.json", _record(studies, pairs, found, lines))
    except OSError as error:
        raise ResultsError(
            f"{folder}: must be writable, got {error.strerror or error}. Free some space, or name "
            "another folder with --output."
        ) from error
    missing = [text for study in studies if (text := missing_text(study))]
    rows = short_rows(studies)
    return Comparison(folder / "index.html", lines[0].text, lines[1].text, missing, rows)


def answer_lines(
    studies: Studies, pairs: Sequence[Pair], found: Sequence[Difference]
) -> list[Line]:
    """Say which model is best, what differed, how sure that is, and what is missing."""
    seeds = seeds_text(studies)
    missing = " ".join(text for study in studies if (text := missing_text(study)))
    return [
        Line("Which is best", answer_text(studies, pairs)),
        Line("What differed", differences_text(found)),
        *([Line("Mind the seeds", seeds)] if seeds else []),
        *([Line("Missing", missing)] if missing else []),
    ]


def differences_text(found: Sequence[Difference]) -> str:
    """Name what somebody chose otherwise, and which other kinds of things differ."""
    meant = [
        d for d in found if d.group in MEANT and not (d.group == "flags" and is_setting(d.name))
    ]
    named = [_told(d) for d in meant[:_NAMED]] + [d.name for d in meant[_NAMED : 3 * _NAMED]]
    if len(meant) > 3 * _NAMED:
        named.append(f"{len(meant) - 3 * _NAMED} more settings")
    text = f"{in_words(named)}." if named else "No setting on record."
    rest = [group for group in GROUPS if group not in MEANT and group in {d.group for d in found}]
    return f"{text} Also {in_words(rest)}." if rest else text


def _told(difference: Difference) -> str:
    """Name a difference, with the values where they are few."""
    if len(difference.values) > _TOLD:
        return difference.name
    return f"{difference.name} ({' / '.join(short(value, 32) for value in difference.values)})"


def is_setting(flag: str) -> bool:
    """Tell whether a flag only changes a setting of the space file, which is listed anyway."""
    return flag.startswith("--set ") or flag in ("--trials", "--epochs", "--time-limit", "--data")


def _render(
    studies: Studies,
    lines: Sequence[Line],
    drawn: dict[str, list[Drawn]],
    views: dict[str, TableView],
    reasons: dict[str, tuple[str, bool]],
) -> str:
    environment = Environment(
        loader=PackageLoader("search.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("studies_page.html.j2").render(
        title=title_of(studies),
        subtitle=count_text(len(studies), "study").replace("studys", "studies") + " compared",
        samples=[study.name for study in studies if study.files.is_sample],
        answer=lines,
        plots={name: [plot for plot in made if plot.uri] for name, made in drawn.items()},
        notes={name: [p.missing for p in made if p.missing] for name, made in drawn.items()},
        tables=views,
        reasons={name: text for name, (text, _) in reasons.items()},
        studies=[(study.name, str(study.files.folder.root), _report(study)) for study in studies],
        commands=[(study.name, _command(study)) for study in studies],
    )


def title_of(studies: Studies) -> str:
    """Name the comparison after its studies."""
    names = [short(study.name, 40) for study in studies]
    return in_words(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _report(study: Compared) -> str:
    page = study.files.folder.report / "index.html"
    return page.as_uri() if page.is_file() else ""


def _command(study: Compared) -> str:
    files = study.files
    return str(files.environment.get("command") or files.summary.get("command") or "")


def _markdown(
    studies: Studies, lines: Sequence[Line], folder: Path, views: dict[str, TableView]
) -> str:
    """Return the answer and every table, as one document."""
    parts = [f"# {_plain(title_of(studies))}", ""]
    parts += [f"**{line.label}.** {_plain(line.text)}\n" for line in lines]
    for name in views:
        text = (folder / "tables" / f"{name}.md").read_text(encoding="utf-8")
        parts.append(f"#{text}")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Keep names from becoming markup."""
    marks = "\\`*_<>[]|#$"
    return "".join(
        f"\\{letter}" if letter in marks else letter for letter in " ".join(text.split())
    )


def _record(
    studies: Studies, pairs: Sequence[Pair], found: Sequence[Difference], lines: Sequence[Line]
) -> dict[str, object]:
    names = [study.name for study in studies]
    return {
        "studies": [
            {"name": s.name, "folder": s.files.folder.root, "missing": list(s.missing)}
            for s in studies
        ],
        "answer": lines[0].text,
        "pairs": [
            {**vars(pair), "first": names[pair.first], "second": names[pair.second],
             "is_clear": pair.is_clear}
            for pair in pairs
        ],
        "differences": [
            {"group": d.group, "name": d.name, "values": dict(zip(names, d.values, strict=True))}
            for d in found
        ],
    }  # fmt: skip


def _remove_stale(folder: Path, drawn: dict[str, list[Drawn]], views: dict[str, TableView]) -> None:
    """Delete what an earlier comparison wrote here and this one did not."""
    plots = {plot.name for made in drawn.values() for plot in made if plot.uri}
    for plot in PLOTS:
        if plot.name not in plots:
            (folder / "plots" / f"{plot.name}.png").unlink(missing_ok=True)
    for name in TABLES.keys() - views.keys():
        for ending in ("csv", "md"):
            (folder / "tables" / f"{name}.{ending}").unlink(missing_ok=True)
