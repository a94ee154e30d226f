"""Read a CSV list of images: the columns path and label, and split if the list gives splits.

Paths count from the list's own folder; absolute ones are taken as they are. The first line names
the columns, also as `filename`, `class` and the like, in any case; comma, semicolon or tab part the
cells. Files that are not there are for the check to name and count, unless most are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from os.path import normpath
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from unicodedata import normalize

from search.data.archive import unpacked_above
from search.data.csv_text import COLUMNS, Header, NoCsvError, read_header, read_lines, read_text
from search.data.layout import Found, class_name, split_of
from search.errors import DatasetError
from search.findings import listed, show
from search.records import ImageRow

_EXTENSIONS = (".csv", ".tsv")
_MAX_LABELS = 3
_MAX_MISSING = 0.5  # share of the lines from which not files are missing, but the paths are wrong


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
        text = read_text(path)
        header = read_header(path, text)
    except DatasetError as error:
        return Found(problems=[("", str(error))])
    lines, found = _Lines(path, number, header), Found()
    try:
        for line, cells in islice(read_lines(text, header.delimiter), 1, None):
            row = lines.row(line, cells)
            found.rows.extend([row] if row is not None else [])
    except NoCsvError as error:
        lines.problems.append(str(error))
    if len(lines.missing) > _MAX_MISSING * len(found.rows):
        lines.problems += lines.missing
    found.problems.extend(("", f"{path}, {problem}") for problem in lines.problems)
    if not lines.problems and not found.rows:
        found.problems.append(("", f"{path}: must name images, got a header only. Add lines."))
    return found


class _Lines:
    """Turns the lines of one list into rows, and remembers what is wrong with them."""

    def __init__(self, path: Path, number: int, header: Header) -> None:
        self.folder = path.parent
        self.number = number
        self.header = header
        self.problems: list[str] = []
        self.missing: list[str] = []
        """Problems of lines whose file cannot be seen; they make rows all the same."""
        self._unpacked = unpacked_above(path)
        self._seen: dict[str, tuple[int, ImageRow]] = {}

    def row(self, line: int, cells: Sequence[str]) -> ImageRow | None:
        """Return the row of one line; None for a bad one and for one that says nothing new."""
        values = dict.fromkeys(COLUMNS, "")
        values |= {name: cells[k] for name, k in self.header.columns.items() if k < len(cells)}
        label, split = _label(values["label"]), values["split"].strip()
        path, got = self._path(values["path"])
        problem = "" if path else got
        if any(cell.strip() for cell in cells[self.header.width :]):
            problem = (
                f"must have {self.header.width} cells as the first line has, got {len(cells)}. "
                f"Quote a name that holds {show(self.header.delimiter)}."
            )
        elif not label:
            problem = "label must be given, got nothing. Name the class."
        elif split and not split_of(split):
            problem = f"split must be train, val, test or empty, got {show(split)}. Mend it."
        if not problem:
            row = ImageRow(path, self.number, label, split_of(split))
            first, before = self._seen.setdefault(path, (line, row))
            if first == line:
                self.missing += [f"line {line}: {got}"] if got else []
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
        """Return the path of an image file, "" for none, and what is wrong with it."""
        # As written; with blanks around it; made on Windows; with accents as a Mac writes them.
        bare = text.strip()
        slashed = bare.replace("\\", "/")
        spellings = (text, bare, slashed, normalize("NFC", slashed), normalize("NFD", slashed))
        if not bare:
            return "", "path must be given, got nothing. Name the image file."
        if any(map(self._leads_out, spellings)):
            return "", (
                f"path must stay inside the zip that the list came in, got {show(text)}. "
                "Do not trust it, or unpack the zip by hand and name the list with --data."
            )
        for spelling in spellings:
            if _kind(self.folder / spelling) == "a file":
                return self._relative(Path(spelling)), ""
        got = _kind(self.folder / bare)
        path = self._relative(Path(bare)) if got in _UNSEEN and "\0" not in bare else ""
        return path, (
            f"path must be an image file, got {got}: {show(text)}. Paths count from {self.folder}."
        )

    def _relative(self, path: Path) -> str:
        inside = path.is_absolute() and path.is_relative_to(self.folder)
        return (path.relative_to(self.folder) if inside else path).as_posix()

    def _leads_out(self, spelling: str) -> bool:
        """Tell whether a path names a file that an unpacked zip did not bring."""
        if self._unpacked is None:
            return False
        return not Path(normpath(self.folder / spelling)).is_relative_to(self._unpacked)


_UNSEEN = ("nothing there", "no permission to see it")


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "no permission to see it"
    except (OSError, ValueError):  # also a name too long, or with a null byte
        return "nothing there"
    return "a file" if S_ISREG(mode) else "a folder" if S_ISDIR(mode) else "no plain file"


def _class_and_split(row: ImageRow) -> str:
    return f"{show(row.label)} in {row.split}" if row.split else show(row.label)


def _labels(path: Path) -> set[str] | None:
    """Return the labels of a CSV list; None for a file that is no such list."""
    try:
        text = read_text(path)
        header = read_header(path, text)
        column = header.columns["label"]
        lines = list(islice(read_lines(text, header.delimiter), 1, None))
    except (DatasetError, NoCsvError):
        return None
    return {_label(cells[column]) for _, cells in lines if column < len(cells)} - {""}


def _label(text: str) -> str:
    return class_name(" ".join(text.split()))
