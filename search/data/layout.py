"""Find images in folders: one folder per class, alone or inside train/val/test folders."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from search.records import ImageRow

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

Inode = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """What one root holds.

    Attributes:
        rows: Images, in no order.
        problems: Sentences, each with the class it is about, or "" when about the root.
        warnings: Sentences on what was left out.
    """

    rows: list[ImageRow] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def scan_folder(root: Path, number: int) -> Found:
    """List the images of a folder root, without opening any.

    Args:
        root: A resolved path.
        number: What `ImageRow.root` shall be.
    """
    found = Found()
    problem = folder_problem(root)
    if problem:
        found.problems.append(("", problem))
        return found
    splits = split_folders(root)
    if not splits:
        _scan_parent(found, root, number, root, None)
    used = {parent for parents in splits.values() for parent in parents}
    for folder in _subfolders(root) if splits else ():
        if folder not in used:
            found.warnings.append(f"{folder}: not a split with class folders, left out")
    for split, parents in splits.items():
        for parent in parents:
            _scan_parent(found, root, number, parent, split)
    return found


def folder_problem(root: Path) -> str:
    """Return why a path cannot be a folder root, "" when it can."""
    rule = "must be a folder with one folder of images per class, a .csv list or a .zip"
    try:
        root.stat()
        empty = root.is_dir() and next(os.scandir(root), None) is None
    except FileNotFoundError:
        return f"{root}: must be a data folder, got nothing there. Check the path."
    except OSError as error:
        return f"{root}: must be readable, got {error.strerror}. Mend its permissions."
    if not root.is_dir():
        return f"{root}: {rule}, got another file. Unpack other archives, and name the folder."
    if empty:
        return f"{root}: must hold one folder of images per class, got an empty folder."
    return ""


def find_class_root(folder: Path, max_depth: int = 4) -> Path | None:
    """Return the shallowest folder, at or below this one, whose folders are classes or splits."""
    level = [folder]
    for _ in range(max_depth + 1):
        for candidate in level:
            classes = _class_folders(candidate)
            if split_folders(candidate) or (len(classes) > 1 and not _are_flat_splits(classes)):
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


def class_name(text: str) -> str:
    """Return a class's name in its one spelling: typed on a Mac it may come decomposed."""
    return unicodedata.normalize("NFC", text)


def shown(text: str) -> str:
    """Return text that can be printed; bytes of a name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _scan_parent(found: Found, root: Path, number: int, parent: Path, split: str | None) -> None:
    """Take every folder of `parent` as a class."""
    folders = _subfolders(parent)
    if split is None and len(folders) > 1 and _are_flat_splits(folders):
        names = ", ".join(folder.name for folder in folders)
        found.problems.append(
            (
                "",
                f"{root}: {names} must each hold one folder of images per class, got images "
                "without. Sort them into class folders, or name a .csv list of their labels.",
            )
        )
        return
    # A link up to any of these would list the whole data set once more, inside a class.
    above = frozenset(_inode(folder) for folder in (parent, *parent.parents))
    for folder in folders:
        if _inode(folder) in above:
            found.warnings.append(f"{folder}: links to a folder that it is in, left out")
        else:
            _scan_class(found, root, number, folder, split, above)
    loose = sum(1 for entry in _entries(parent) if _is_image(entry))
    if loose:
        images = "1 image lies" if loose == 1 else f"{loose:,} images lie"
        found.warnings.append(f"{parent}: {images} beside the class folders, left out")


def _scan_class(
    found: Found,
    root: Path,
    number: int,
    folder: Path,
    split: str | None,
    above: frozenset[Inode],
) -> None:
    label = class_name(folder.name)
    start = len(found.rows)
    try:
        for file in _walk(folder, above):
            path = file.relative_to(root).as_posix()
            found.rows.append(ImageRow(path, number, label, split))
    except OSError as error:
        where = error.filename or folder
        text = f"{where}: must be readable, got {error.strerror}. Mend its permissions."
        found.problems.append((label, text))
        return
    if shown(label) != label:
        del found.rows[start:]
        text = f"{root}: class folder {shown(label)} has no readable name. Rename it."
        found.problems.append((label, text))
    elif len(found.rows) == start:
        text = (
            f"{folder}: a class folder must hold images, got none. "
            "Add images, remove the folder, or name it in dataset.classes.drop."
        )
        found.problems.append((label, text))


def _walk(folder: Path, above: frozenset[Inode]) -> Iterator[Path]:
    """Yield the image files below a folder, following links but never round in circles."""
    here = _inode(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if _is_folder(entry):
            if not _is_skipped(entry.name):
                yield from _walk(folder / entry.name, above | {here})
        elif _is_image(entry):
            yield folder / entry.name


def _inode(folder: Path) -> Inode:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _subfolders(folder: Path) -> list[Path]:
    names = (entry.name for entry in _entries(folder) if _is_folder(entry))
    return [folder / name for name in names if not _is_skipped(name)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # whoever needs what is inside says so
        return []


def _class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that directly hold an image."""
    return [child for child in _subfolders(folder) if _holds_image(child)]


def _holds_image(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(map(_is_image, entries))
    except OSError:
        return False


def _are_flat_splits(folders: Iterable[Path]) -> bool:
    """Tell whether folders are named as splits only: such are no classes."""
    return all(folder.name.casefold() in SPLIT_NAMES for folder in folders)


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED_FOLDERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Tell by its name; a dangling link counts, so that the check names it, but not a pipe."""
    if entry.name.startswith(".") or Path(entry.name).suffix.casefold() not in IMAGE_EXTENSIONS:
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry).exists())
    except OSError:
        return True
