"""Find images in folders: one folder per class, alone or inside train/val/test folders."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search.data.walk import (
    Inode,
    has_images,
    holds_image,
    inode,
    is_image,
    listed,
    subfolders,
    walk,
)
from search.records import ImageRow

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
_MAX_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """What one root holds.

    Attributes:
        rows: Images, in no order.
        problems: Sentences, each with the class it is about, or "" when about the root.
        warnings: Sentences on what was left out.
        skipped: Numbers of files in class folders that are no images, by extension.
    """

    rows: list[ImageRow] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


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
    for folder in subfolders(root) if splits else ():
        if folder not in used:
            found.warnings.append(f"{folder}: not a split with class folders, left out")
    for split, parents in splits.items():
        for parent in parents:
            _scan_parent(found, root, number, parent, split)
    if found.skipped:
        found.warnings.append(
            f"{root}: {_files(found.skipped)} left out, of no image format that is read here. "
            "Convert photos among them to JPEG."
        )
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
            # Where no folder holds images itself, all that hold some further down are classes.
            classes = _class_folders(candidate) or _with_images(candidate)
            if split_folders(candidate) or (len(classes) > 1 and not _named_as_splits(classes)):
                return candidate
        level = [child for parent in level for child in subfolders(parent)]
    return None


def split_folders(root: Path) -> dict[str, list[Path]]:
    """Return the split folders of a root by split; {} when its folders are classes.

    A class may be called "train" (the vehicle): only a train folder that itself holds folders of
    images, at any depth, makes splits.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in subfolders(root):
        split = split_of(folder.name)
        if split and any(map(has_images, subfolders(folder))):
            found[split].append(folder)
    return dict(found) if "train" in found else {}


def split_of(name: str) -> str | None:
    """Return the split that a folder's or a list's word means: train, Training_set, val images …"""
    return SPLIT_NAMES.get(re.sub(r"[\s_-]*(set|data|images)$", "", name.casefold()))


def class_name(text: str) -> str:
    """Return a class's name in its one spelling: typed on a Mac it may come decomposed."""
    return unicodedata.normalize("NFC", text)


def shown(text: str) -> str:
    """Return text that can be printed; bytes of a name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _scan_parent(found: Found, root: Path, number: int, parent: Path, split: str | None) -> None:
    """Take every folder of `parent` as a class."""
    folders = subfolders(parent)
    problem = _splits_problem(root, folders) if split is None else ""
    if problem:
        found.problems.append(("", problem))
        return
    # A link up to any of these would list the whole data set once more, inside a class.
    above = frozenset(inode(folder) for folder in (parent, *parent.parents))
    for folder in folders:
        if inode(folder) in above:
            found.warnings.append(f"{folder}: links to a folder that it is in, left out")
        else:
            _scan_class(found, root, number, folder, split, above)
    loose = sum(1 for entry in listed(parent) if is_image(entry))
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
    start, skipped = len(found.rows), found.skipped.copy()
    try:
        for file in walk(folder, above, found.skipped, found.warnings):
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
        others = found.skipped - skipped
        got = f"only {_files(others)}" if others else "none"
        text = (
            f"{folder}: a class folder must hold images, got {got}. "
            f"{'Convert them to JPEG' if others else 'Add images'}, remove the folder, or name it "
            "in dataset.classes.drop."
        )
        found.problems.append((label, text))


def _files(numbers: Counter[str]) -> str:
    """Write numbers of files as "10 .heic, 1 .mp4 files"."""
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in numbers.most_common(_MAX_SHOWN))
    more = ", …" if len(numbers) > _MAX_SHOWN else ""
    return f"{kinds}{more} file{'s' if numbers.total() > 1 else ''}"


def _class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that directly hold an image."""
    return [child for child in subfolders(folder) if holds_image(child)]


def _with_images(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if has_images(child)]


def _named_as_splits(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders that are splits, not classes: one alone may be a class."""
    found = [one for one in folders if split_of(one.name) and has_images(one)]
    return [folder.name for folder in found] if len(found) > 1 else []


def _splits_problem(root: Path, folders: Sequence[Path]) -> str:
    """Return why folders that make no splits make no classes either, "" if they do."""
    names = _named_as_splits(folders)
    if not names:
        return ""
    if not any(split_of(name) == "train" for name in names):
        return (
            f"{root}: split folders must include one called train, got {', '.join(names)}. "
            "Rename one, or name each with --data to merge them."
        )
    return (
        f"{root}: {', '.join(names)} must each hold one folder of images per class, got images "
        "without. Sort them into class folders, or name a .csv list of their labels."
    )
