"""Walk folders of images: what counts as an image is told by names, no file is opened."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".avif"}
)
# What often lies with photos and is none: leaving it out is no loss.
_COMPANIONS = frozenset(
    {".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".html", ".htm", ".css", ".js", ".url"}
    | {".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".xls", ".xlsx"}
    | {".db", ".ini", ".lnk", ".log", ".py", ".ipynb", ".m", ".mat", ".npy", ".npz", ".aae", ".xmp"}
)
# What unpacking an archive made on a Mac leaves behind.
_SKIPPED_FOLDERS = frozenset({"__MACOSX"})

Inode = tuple[int, int]


def walk(
    folder: Path, above: frozenset[Inode], skipped: Counter[str], unreadable: list[str]
) -> Iterator[Path]:
    """Yield the image files below a folder, following links but never round in circles.

    Args:
        folder: Where to look, at any depth.
        above: Folders that it is in, which a link must not lead back to.
        skipped: Counts the files that are no images, by extension; those that often lie with
            photos are not counted.
        unreadable: Gets a sentence for every inner folder that cannot be read. Such a folder is
            yielded as if it were an image, so that the check drops and counts it.

    Raises:
        OSError: The folder cannot be read.
    """
    here = inode(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        inner = folder / entry.name
        if _is_folder(entry):
            if _is_skipped(entry.name):
                continue
            try:
                yield from walk(inner, above | {here}, skipped, unreadable)
            except OSError as error:
                unreadable.append(f"{inner}: left out, cannot be read ({error.strerror})")
                yield inner
        elif is_image(entry):
            yield inner
        elif kind := _foreign(entry):
            skipped[kind] += 1


def inode(folder: Path) -> Inode:
    """Return what tells folders apart, whatever links lead there."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name, without those that are hidden."""
    names = (entry.name for entry in listed(folder) if _is_folder(entry))
    return [folder / name for name in names if not _is_skipped(name)]


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder by name; nothing when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # whoever needs what is inside says so
        return []


def holds_image(folder: Path) -> bool:
    """Tell whether an image lies directly in a folder."""
    try:
        with os.scandir(folder) as entries:
            return any(map(is_image, entries))
    except OSError:
        return False


def has_images(folder: Path) -> bool:
    """Tell whether a folder holds an image at any depth."""
    try:
        return any(walk(folder, frozenset(), Counter(), []))
    except OSError:
        return False


def is_image(entry: os.DirEntry[str]) -> bool:
    """Tell by its name; a dangling link counts, so that the check names it, but not a pipe."""
    if entry.name.startswith(".") or Path(entry.name).suffix.casefold() not in IMAGE_EXTENSIONS:
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry).exists())
    except OSError:
        return True


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED_FOLDERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _foreign(entry: os.DirEntry[str]) -> str:
    """Return the extension of a file that might be a photo but is not read, "" for another."""
    suffix = Path(entry.name).suffix.casefold()
    try:
        is_file = entry.is_file()
    except OSError:  # a link to itself
        is_file = False
    if not is_file or entry.name.startswith(".") or suffix in _COMPANIONS:
        return ""
    return suffix if re.fullmatch(r"\.\w{1,9}", suffix) else "other"
