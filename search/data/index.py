"""Find the images of a data set: folders per class, alone or inside train/val/test folders."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from search.errors import DatasetError
from search.records import DatasetIndex, ImageRow, read_csv, write_csv

log = logging.getLogger(__name__)

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".avif"}
)
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
# What unpacking an archive made on a Mac leaves behind.
_SKIPPED_FOLDERS = frozenset({"__MACOSX"})
_COLUMNS = [f.name for f in fields(ImageRow)]
_NUMBERS = ("root", "width_px", "height_px", "num_bytes", "group")


def build_index(roots: Sequence[Path]) -> DatasetIndex:
    """List every image below the roots, without opening any.

    Each root holds one folder per class, or train / val / test folders (other common names too)
    with one folder per class in each. Roots are merged by class name. Hidden files and files that
    are not images by their extension are skipped.

    Args:
        roots: Data folders; one named twice counts once.

    Returns:
        The index, sorted by (label, path, root); the checked fields of its rows are still empty.

    Raises:
        DatasetError: Folders that cannot make a data set; all problems in one message.
    """
    scan = _Scan()
    unique = tuple(dict.fromkeys(Path(root).expanduser().resolve() for root in roots))
    for number, root in enumerate(unique):
        problem = _root_problem(root)
        if problem:
            scan.problems.append(problem)
        else:
            _scan_root(scan, number, root)
    rows = tuple(sorted(scan.rows, key=lambda row: (row.label, row.path, row.root)))
    classes = tuple(sorted({row.label for row in rows}))
    problems = scan.problems or _class_problems(unique, rows, classes)
    if problems:
        raise dataset_error("The data", problems)
    return DatasetIndex(unique, classes, rows)


def dataset_error(where: str, problems: Sequence[str]) -> DatasetError:
    """Return one error that lists every problem, plain when there is only one."""
    if len(problems) == 1:
        return DatasetError(problems[0])
    return DatasetError(
        f"{where} has {len(problems)} problems:\n" + "\n".join(f"  {line}" for line in problems)
    )


def find_class_root(folder: Path, max_depth: int = 4) -> Path | None:
    """Return the shallowest folder, at or below this one, that `build_index` could read."""
    level = [folder]
    for _ in range(max_depth + 1):
        for candidate in level:
            if split_folders(candidate) or len(_class_folders(candidate)) > 1:
                return candidate
        level = [child for parent in level for child in _subfolders(parent)]
    return None


def split_folders(root: Path) -> dict[str, list[Path]]:
    """Return the split folders of a root by split; {} when its folders are classes.

    A class may be called "train" (the vehicle): only a train folder that itself holds folders of
    images makes splits.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in _subfolders(root):
        split = SPLIT_NAMES.get(folder.name.casefold())
        if split and _class_folders(folder):
            found[split].append(folder)
    return dict(found) if "train" in found else {}


def write_index(path: Path, index: DatasetIndex) -> None:
    """Write index.csv: one line per image, in id order."""
    write_csv(path, _COLUMNS, (asdict(row) for row in index.rows))


def read_index(path: Path, roots: Sequence[Path]) -> DatasetIndex:
    """Read index.csv back.

    Args:
        path: A file of `write_index`.
        roots: The roots that `build_index` was given, in the same order.
    """
    rows = tuple(_row(line) for line in read_csv(path))
    unique = tuple(dict.fromkeys(Path(root).expanduser().resolve() for root in roots))
    return DatasetIndex(unique, tuple(sorted({row.label for row in rows})), rows)


def _row(line: Mapping[str, str]) -> ImageRow:
    numbers = {name: int(line[name]) for name in _NUMBERS}
    text: dict[str, Any] = {name: line[name] for name in _COLUMNS if name not in _NUMBERS}
    return ImageRow(**(text | {"split": line["split"] or None} | numbers))


@dataclass
class _Scan:
    rows: list[ImageRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _root_problem(root: Path) -> str:
    if not root.exists():
        return f"{root}: must be a data folder, got nothing there. Check the path."
    if not root.is_dir():
        return f"{root}: must be a folder with one folder of images per class, got a file."
    try:
        empty = next(os.scandir(root), None) is None
    except OSError as error:
        return f"{root}: must be readable, got {error.strerror}. Mend its permissions."
    if empty:
        return f"{root}: must hold one folder of images per class, got an empty folder."
    return ""


def _scan_root(scan: _Scan, number: int, root: Path) -> None:
    splits = split_folders(root)
    if not splits:
        for folder in _subfolders(root):
            _scan_class(scan, number, root, folder, None)
        return
    used = {folder for folders in splits.values() for folder in folders}
    for folder in _subfolders(root):
        if folder not in used:
            log.warning("%s: not a split with class folders, left out", folder)
    for split, folders in splits.items():
        for parent in folders:
            for folder in _subfolders(parent):
                _scan_class(scan, number, root, folder, split)


def _scan_class(scan: _Scan, number: int, root: Path, folder: Path, split: str | None) -> None:
    try:
        files = list(_walk(folder, frozenset()))
    except OSError as error:
        where = error.filename or folder
        scan.problems.append(f"{where}: must be readable, got {error.strerror}.")
        return
    if not _is_utf8(folder.name):
        shown = _shown(folder.name)
        scan.problems.append(f"{root}: class folder {shown} has no readable name. Rename it.")
    elif not files:
        scan.problems.append(
            f"{folder}: a class folder must hold images, got none. Add images or remove the folder."
        )
    # A name typed on a Mac may come decomposed; it is the same class.
    label = unicodedata.normalize("NFC", folder.name)
    scan.rows += [
        ImageRow(file.relative_to(root).as_posix(), number, label, split) for file in files
    ]


def _class_problems(
    roots: Sequence[Path], rows: Sequence[ImageRow], classes: Sequence[str]
) -> list[str]:
    where = ", ".join(map(str, roots)) or "The data"
    if len(classes) < 2:
        return [f"{where}: must hold at least 2 classes, got {_one_class(roots, classes)}"]
    problems = []
    by_case: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_case[name.casefold()].append(name)
    for names in by_case.values():
        if len(names) > 1:
            spelled = " and ".join(names)
            problems.append(
                f"{where}: class names must differ in more than upper and lower case, "
                f"got {spelled}. Rename one."
            )
    trained = {row.label for row in rows if row.split in (None, "train")}
    for name in classes:
        if name not in trained:
            problems.append(
                f"{where}: every class must have training images, got none for {name}. "
                "Add some, or remove the class from val and test."
            )
    return problems


def _one_class(roots: Sequence[Path], classes: Sequence[str]) -> str:
    hint = "Give each class its own folder of images."
    for root in roots:
        inner = find_class_root(root)
        if inner and inner != root:
            hint = f"Did you mean {inner}?"
    return (f"only {classes[0]}. " if classes else "none. ") + hint


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Yield the image files below a folder, following links but never round in circles."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = folder / entry.name
        if entry.is_dir():
            if not entry.name.startswith(".") and entry.name not in _SKIPPED_FOLDERS:
                yield from _walk(path, above | {here})
        # A dangling link is listed, so that the check names it; a pipe would block a reader.
        elif _is_image_name(entry.name) and (entry.is_file() or not path.exists()):
            yield path


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [folder / n for n in names if not n.startswith(".") and n not in _SKIPPED_FOLDERS]


def _class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that directly hold an image."""
    return [child for child in _subfolders(folder) if _holds_image(child)]


def _holds_image(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(_is_image_name(entry.name) and not entry.is_dir() for entry in entries)
    except OSError:
        return False


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.casefold() in IMAGE_EXTENSIONS


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
