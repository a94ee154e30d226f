"""Read a CSV list of images: the columns path and label, and split if the list gives splits.

Paths count from the list's own folder; absolute ones are taken as they are. The first line names
the columns, also as `filename`, `class` and the like, in any case; comma, semicolon or tab part the
cells. Every line must name a file that is there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from unicodedata import normalize

from search.data.layout import SPLIT_NAMES, Found, class_name
from search.errors import DatasetError
from search.findings import listed, show
from search.records import ImageRow

_EXTENSIONS = (".csv", ".tsv")
_NAMES = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("image", "image_path", "image_name", "img", "img_path", "img_name"),
        *("paths", "files", "filenames", "filepaths", "images"),
    ),
    "label": ("label", "class", "target", "category", "class_name", "label_name", "labels"),
    "split": ("split", "set", "subset", "partition", "data_set"),
}
_DELIMITERS = ",;\t"
_MAX_LABELS = 3


@dataclass(frozen=True)
class _Header:
    """The first line: what parts the cells, how many there are, and where each column stands."""

    delimiter: str
    width: int
    columns: dict[str, int]


def is_listing(root: Path) -> bool:
    """Tell by its name whether a root is a CSV list."""
    return root.suffix.casefold() in _EXTENSIONS and _kind(root) != "a folder"


def find_listings(folder: Path, max_depth: int = 0) -> list[Path]:
    """Return the CSV lists in a folder, by their header; if none, those one level deeper …"""
    level = [folder]
    for _ in range(max_depth + 1):
        entries = [entry for parent in level for entry in sorted(parent.iterdir())]
        found = [entry for entry in entries if is_listing(entry) and _labels(entry) is not None]
        if found:
            return found
        level = [entry for entry in entries if entry.is_dir()]
    return []


def unused_listings(folder: Path, classes: set[str], used: Sequence[Path]) -> list[str]:
    """Warn of lists in a folder, other than the used ones, with labels that no folder has.

    Photos in `train_images` and `test_images` with their labels in a CSV look like two classes.
    """
    warnings = []
    for path in find_listings(folder):
        if path in used:
            continue
        others = sorted((_labels(path) or set()) - classes)
        if others:
            more = ", …" if len(others) > _MAX_LABELS else ""
            warnings.append(
                f"{path}: not used, though it has labels that are no folder here "
                f"({listed(others[:_MAX_LABELS])}{more}). Name it with --data to use it."
            )
    return warnings


def read_listing(path: Path, number: int) -> Found:
    """List the images that a CSV names, without opening any.

    Args:
        path: A resolved path.
        number: What `ImageRow.root` shall be; that root is the list's folder.

    Returns:
        The images in the order of their lines; every bad line is a problem.
    """
    try:
        text = _read_text(path)
        header = _read_header(path, text)
    except DatasetError as error:
        return Found(problems=[("", str(error))])
    lines, found = _Lines(path.parent, number, header), Found()
    try:
        for line, cells in islice(_records(text, header.delimiter), 1, None):
            row = lines.row(line, cells)
            found.rows.extend([row] if row is not None else [])
    except _NoCsvError as error:
        lines.problems.append(str(error))
    found.problems.extend(("", f"{path}, {problem}") for problem in lines.problems)
    if not lines.problems and not found.rows:
        found.problems.append(("", f"{path}: must name images, got a header only. Add lines."))
    return found


class _NoCsvError(ValueError):
    """Text that breaks the rules of CSV; the message starts with the line."""


class _Lines:
    """Turns the lines of one list into rows, and remembers what is wrong with them."""

    def __init__(self, folder: Path, number: int, header: _Header) -> None:
        self.folder = folder
        self.number = number
        self.header = header
        self.problems: list[str] = []
        self._seen: dict[str, tuple[int, ImageRow]] = {}

    def row(self, line: int, cells: Sequence[str]) -> ImageRow | None:
        """Return the row of one line; None for a bad one and for one that says nothing new."""
        values = dict.fromkeys(_NAMES, "")
        values |= {name: cells[k] for name, k in self.header.columns.items() if k < len(cells)}
        label, split = _label(values["label"]), values["split"].strip()
        path, problem = self._path(values["path"])
        if any(cell.strip() for cell in cells[self.header.width :]):
            problem = (
                f"must have {self.header.width} cells as the first line has, got {len(cells)}. "
                f"Quote a name that holds {show(self.header.delimiter)}."
            )
        elif not label:
            problem = "label must be given, got nothing. Name the class."
        elif split and split.casefold() not in SPLIT_NAMES:
            problem = f"split must be train, val, test or empty, got {show(split)}. Mend it."
        if not problem:
            row = ImageRow(path, self.number, label, SPLIT_NAMES.get(split.casefold()))
            first, before = self._seen.setdefault(path, (line, row))
            if first == line:
                return row
            if before == row:
                return None
            problem = (
                f"{show(path)} must have one label and split, got {_class_and_split(row)} after "
                f"{_class_and_split(before)} in line {first}. Keep one of the lines."
            )
        self.problems.append(f"line {line}: {problem}")
        return None

    def _path(self, text: str) -> tuple[str, str]:
        """Return the path of an image file, or else what is wrong with it."""
        # As written; with blanks around it; made on Windows; with accents as a Mac writes them.
        bare = text.strip()
        slashed = bare.replace("\\", "/")
        for spelling in (text, bare, slashed, normalize("NFC", slashed), normalize("NFD", slashed)):
            if _kind(self.folder / spelling) == "a file":
                path = Path(spelling)
                inside = path.is_absolute() and path.is_relative_to(self.folder)
                return (path.relative_to(self.folder) if inside else path).as_posix(), ""
        if not bare:
            return "", "path must be given, got nothing. Name the image file."
        got = _kind(self.folder / bare)
        return "", (
            f"path must be an image file, got {got}: {show(text)}. Paths count from {self.folder}."
        )


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # also a name too long, or with a null byte
        return "nothing there"
    return "a file" if S_ISREG(mode) else "a folder" if S_ISDIR(mode) else "no plain file"


def _class_and_split(row: ImageRow) -> str:
    return f"{show(row.label)} in {row.split}" if row.split else show(row.label)


def _read_text(path: Path) -> str:
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


def _read_header(path: Path, text: str) -> _Header:
    """Read the first line with each delimiter, until it names a path and a label.

    Raises:
        DatasetError: It never does, or names one of the columns twice.
    """
    rule = "first line must name the columns path and label (and split, if given)"
    if not text.strip():
        raise DatasetError(f"{path}: {rule}, got an empty file.")
    for delimiter in _DELIMITERS:
        try:
            _, cells = next(_records(text, delimiter), (1, []))
        except _NoCsvError:
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
        return _Header(delimiter, len(cells), places)
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
        for column, known in _NAMES.items()
    }


def _labels(path: Path) -> set[str] | None:
    """Return the labels of a CSV list; None for a file that is no such list."""
    try:
        text = _read_text(path)
        header = _read_header(path, text)
        column = header.columns["label"]
        lines = list(islice(_records(text, header.delimiter), 1, None))
    except (DatasetError, _NoCsvError):
        return None
    return {_label(cells[column]) for _, cells in lines if column < len(cells)} - {""}


def _label(text: str) -> str:
    return class_name(" ".join(text.split()))


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank, each with the number of its first line in the file.

    Raises:
        _NoCsvError: A quote is never closed, or closed in the middle of a cell.
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
            raise _NoCsvError(f"line {line}: must be CSV, got {error}. {advice}") from None
        if any(cell.strip() for cell in cells):
            yield line, cells
