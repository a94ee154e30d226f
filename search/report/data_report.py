"""Write the report of a data set: tables, plots and one HTML page, from CSV files and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from search.errors import ResultsError
from search.records import write_text
from search.report.answer import Line
from search.report.data_files import DataFacts, DataFiles, read_data
from search.report.data_gallery import (
    Gallery,
    draw_changed,
    draw_pairs,
    draw_samples,
    read_gallery,
    strength_text,
)
from search.report.data_plots import (
    class_counts_data,
    draw_class_counts,
    draw_size_choice,
    draw_sizes,
    size_choice_data,
    sizes_data,
)
from search.report.data_rules import Rule, rule
from search.report.data_tables import DATA_TABLES
from search.report.data_words import answer_lines, data_warnings
from search.report.figures import Drawn, Plot, draw_plots, jpeg_uri
from search.report.format import short
from search.report.table import TableView, write_tables

DATA_PLOTS: tuple[Plot[Gallery], ...] = (
    Plot("class_counts", "classes", "Images per class and split, after the check.",
         lambda g: draw_class_counts(class_counts_data(g.data))),
    Plot("image_sizes", "sizes", "Sizes as found; the model sees squares.",
         lambda g: draw_sizes(sizes_data(g.data))),
    Plot("size_choice", "sizes",
         "The size suggested is the largest that at least half of the images (dashed) reach; "
         "the others are enlarged. Time grows with the area, so the next smaller one may do.",
         lambda g: draw_size_choice(size_choice_data(g.data))),
    Plot("samples", "samples", "A few images of each class, spread evenly over its files.",
         draw_samples, photos=True),
    Plot("augmentation", "augmentation",
         "Each training image is changed anew in every epoch, as strongly as augment_strength "
         "says. Too strong is where you could no longer name the class at a glance.",
         draw_changed, photos=True),
    Plot("duplicates", "pairs", "Copies, look-alikes, leaks and conflicting labels.",
         draw_pairs, photos=True),
)  # fmt: skip
_ON_PAGE = ("classes", "sizes")  # the others are shown picture by picture


@dataclass(frozen=True)
class DataReport:
    """A data report that was written: its page, what it says on top, and its plots by section."""

    page: Path
    answer: list[Line]
    warnings: list[str]
    drawn: dict[str, list[Drawn]]


def write_data_report(folder: Path, facts: DataFacts) -> DataReport:
    """Write index.html, plots/ and tables/ beside the CSV files of a data set.

    Args:
        folder: Holds index.csv, problems.csv and, once there is a split, splits.csv.
        facts: What those do not tell. Images that are no longer in its roots are left out.

    Raises:
        ResultsError: The report cannot be written.
    """
    data = read_data(folder, facts)
    gallery = read_gallery(data)
    try:
        drawn = draw_plots(gallery, folder / "plots", DATA_PLOTS)
        makers = {name: lambda make=make: make(data) for name, make in DATA_TABLES.items()}
        views, _ = write_tables(makers, folder / "tables", {})
        for plot in (plot for made in drawn.values() for plot in made if not plot.uri):
            (folder / "plots" / f"{plot.name}.png").unlink(missing_ok=True)
        for name in DATA_TABLES.keys() - views.keys():
            for ending in ("csv", "md"):
                (folder / "tables" / f"{name}.{ending}").unlink(missing_ok=True)
        page = folder / "index.html"
        write_text(page, _render(gallery, drawn, views, (folder / "splits.csv").is_file()))
    except OSError as error:
        raise ResultsError(
            f"{folder}: must be writable, got {error.strerror or error}. "
            "Free some space or change its permissions."
        ) from error
    return DataReport(page, answer_lines(data), _warnings(data), drawn)


def _render(
    gallery: Gallery, drawn: dict[str, list[Drawn]], views: dict[str, TableView], is_split: bool
) -> str:
    environment = Environment(
        loader=PackageLoader("search.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    data = gallery.data
    return environment.get_template("data_page.html.j2").render(
        facts=data.facts,
        subtitle=_subtitle(data),
        answer=answer_lines(data),
        warnings=_warnings(data),
        gallery=gallery,
        plots={name: [plot for plot in drawn[name] if plot.uri] for name in _ON_PAGE},
        notes={name: [p.missing for p in drawn[name] if p.missing] for name in drawn},
        tables=views,
        rules=_rules(gallery),
        csv_names=["index", "problems", *(["splits"] if is_split else [])],
        strength_text=strength_text,
        short=short,
        uri=jpeg_uri,
    )


def _subtitle(data: DataFiles) -> str:
    found = len(data.images) + data.num_dropped
    where = ", ".join(str(root) for root in data.facts.roots)
    return f"Data report · {found:,} images found in {where}"


def _warnings(data: DataFiles) -> list[str]:
    unread = [f"Could not be read, so it is left out: {text}" for text in data.unreadable]
    return [*data.facts.warnings, *data_warnings(data), *unread]


def _rules(gallery: Gallery) -> dict[str, Rule]:
    names = {*gallery.pairs, *(kind.name for kind in gallery.kinds)}
    return {name: rule(name) for name in names}
