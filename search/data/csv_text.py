"""Read the text of a CSV list: its first line, and the cells of the others."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from search.errors import DatasetError
from search.findings import show

COLUMNS = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("image", "image_path", "image_name", "img", "img_path", "img_name"),
        *("paths", "files", "filenames", "filepaths", "images"),
    ),
    "label": ("label", "class", "target", "category", "class_name", "label_name", "labels"),
    "split": ("split", "set", "subset", "partition", "data_set"),
}
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Header:
    """The first line: what parts the cells, how many there are, and where each column stands."""

    delimiter: str
    width: int
    columns: dict[str, int]


class NoCsvError(ValueError):
    """Text that breaks the rules of CSV; the message starts with the line."""


def read_text(path: Path) -> str:
    """Read a list as text.

    Raises:
        DatasetError: It is not there, not readable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{path}: must be text in UTF-8, got other bytes in line {line}. "
            'Save it as "CSV UTF-8".'
        ) from None
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: must be a .csv list, got nothing there. Check the path."
        ) from None
    except OSError as error:
        raise DatasetError(
            f"{path}: must be readable, got {error.strerror}. Mend its permissions."
        ) from None


def read_header(path: Path, text: str) -> Header:
    """Read the first line with each delimiter, until it names a path and a label.

    Raises:
        DatasetError: It never does, or names one of the columns twice.
    """
    rule = "first line must name the columns path and label (and split, if given)"
    if not text.strip():
        raise DatasetError(f"{path}: {rule}, got an empty file.")
    for delimiter in _DELIMITERS:
        try:
            _, cells = next(read_lines(text, delimiter), (1, []))
        except NoCsvError:
            continue
        columns = _columns(cells)
        if not (columns["path"] and columns["label"]):
            continue
        double = [
            f"{' and '.join(show(cells[k]) for k in places)} for {name}"
            for name, places in columns.items()
            if len(places) > 1
        ]
        if double:
            raise DatasetError(f"{path}: {rule} once, got {', '.join(double)}. Rename one.")
        places = {name: places[0] for name, places in columns.items() if places}
        return Header(delimiter, len(cells), places)
    got = show(text.strip().splitlines()[0])
    raise DatasetError(f"{path}: {rule}, got {got}. Write path,label above the lines.")


def _columns(header: Sequence[str]) -> dict[str, list[int]]:
    """Return where each column stands; its own name wins over the others it may have."""
    names = ["_".join(cell.casefold().replace("-", " ").split()) for cell in header]
    return {
        column: (
            [k for k, name in enumerate(names) if name == column]
            or [k for k, name in enumerate(names) if name in known]
        )
        for column, known in COLUMNS.items()
    }


def read_lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank, each with the number of its first line in the file.

    Raises:
        NoCsvError: A quote is never closed, or closed in the middle of a cell.
    """
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            advice = 'Close the quote, and write a quote inside a cell as "".'
            raise NoCsvError(f"line {line}: must be CSV, got {error}. {advice}") from None
        if any(cell.strip() for cell in cells):
            yield line, cells
