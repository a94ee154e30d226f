"""Which images exist: those of all roots together, under the class names of the space file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from search.data.classes import cap_classes, is_dropped, name_classes, name_problems
from search.data.layout import Found, find_class_root, scan_folder, shown
from search.data.listing import is_listing, read_listing, unused_listings
from search.dataset_section import ClassesConfig
from search.errors import DatasetError
from search.records import DatasetIndex, ImageRow, read_csv, write_csv

_COLUMNS = [f.name for f in fields(ImageRow)]
_NUMBERS = ("root", "width_px", "height_px", "num_bytes", "group")
_MAX_SHOWN = 20


def build_index(roots: Sequence[Path], classes: ClassesConfig | None = None) -> DatasetIndex:
    """List every image of the roots, without opening any.

    A root is a folder that holds one folder per class, or train / val / test folders (other common
    names too) with one folder per class in each; or a CSV list with the columns path, label and,
    where splits are given, split. Roots are merged by class name. Hidden files in folders, and
    those that are not images by their extension, are skipped.

    Args:
        roots: Folders and CSV lists, one named twice counts once. A .zip is for `fetch_dataset`.
        classes: What to rename, merge, drop and cap; None for nothing.

    Returns:
        The index, sorted by (label, path, root); the checked fields of its rows are still empty.

    Raises:
        DatasetError: What cannot make a data set; all problems in one message.
    """
    classes = classes or ClassesConfig()
    folders = _folders(roots)
    found = [_scan(root, folders.index(_folder(root))) for root in _resolved(roots)]
    problems = [item for one in found for item in one.problems]
    texts = [text for label, text in problems if not is_dropped(label, classes)]
    names = {row.label for one in found for row in one.rows} | {name for name, _ in problems}
    warnings = [text for one in found for text in one.warnings] + _unused(roots, found)
    if "" not in names:  # a root that cannot be read hides its classes
        unknown, odd = name_problems(classes, names)
        texts, warnings = texts + unknown, warnings + odd
    rows = name_classes([row for one in found for row in one.rows], classes)
    rows, twice = _unique(rows, folders)
    rows, left_out = cap_classes(rows, classes.max_images)
    rows.sort(key=lambda row: (row.label, row.path, row.root))
    labels = tuple(sorted({row.label for row in rows}))
    texts = texts + twice or _class_problems(folders, rows, labels)
    if texts:
        raise dataset_error("The data", texts)
    return DatasetIndex(folders, labels, tuple(rows), tuple(map(shown, warnings + left_out)))


def dataset_error(where: str, problems: Sequence[str]) -> DatasetError:
    """Return one error that lists at most 20 problems, plain when there is only one."""
    lines = [shown(problem) for problem in problems[:_MAX_SHOWN]]
    if len(problems) == 1:
        return DatasetError(lines[0])
    if len(problems) > _MAX_SHOWN:
        lines.append(f"… and {len(problems) - _MAX_SHOWN:,} more")
    return DatasetError(
        f"{where} has {len(problems):,} problems:\n" + "\n".join(f"  {line}" for line in lines)
    )


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
    return DatasetIndex(_folders(roots), tuple(sorted({row.label for row in rows})), rows)


def _row(line: Mapping[str, str]) -> ImageRow:
    numbers = {name: int(line[name]) for name in _NUMBERS}
    text: dict[str, Any] = {name: line[name] for name in _COLUMNS if name not in _NUMBERS}
    return ImageRow(**(text | {"split": line["split"] or None} | numbers))


def _resolved(roots: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(_resolve(Path(root)) for root in roots))


def _resolve(root: Path) -> Path:
    try:
        return root.expanduser().resolve()
    except (OSError, RuntimeError):  # a link to itself, or no such user's home
        return root.absolute()


def _folder(root: Path) -> Path:
    return root.parent if is_listing(root) else root


def _folders(roots: Sequence[Path]) -> tuple[Path, ...]:
    """Return what paths in the index count from: a list stands for its folder."""
    return tuple(dict.fromkeys(map(_folder, _resolved(roots))))


def root_problems(root: Path) -> list[str]:
    """Return why a root can hold no data set, whatever its classes are called."""
    found = _scan(_resolve(root), 0)
    return [text for label, text in found.problems if not label]


def _scan(root: Path, number: int) -> Found:
    return read_listing(root, number) if is_listing(root) else scan_folder(root, number)


def _unused(roots: Sequence[Path], found: Sequence[Found]) -> list[str]:
    """Warn of lists inside folder roots that say more than the folders do."""
    given = _resolved(roots)
    return [
        text
        for root, one in zip(given, found, strict=True)
        if one.rows and not is_listing(root)
        for text in unused_listings(root, {row.label for row in one.rows}, given)
    ]


def _unique(rows: Sequence[ImageRow], folders: Sequence[Path]) -> tuple[list[ImageRow], list[str]]:
    """Keep one row of a file that a folder and a list, or two lists of one folder, both name."""
    first: dict[tuple[int, str], ImageRow] = {}
    problems = []
    for row in rows:
        before = first.setdefault((row.root, row.path), row)
        if before != row:
            was, now = (f"{one.label} in {one.split or 'no split'}" for one in (before, row))
            problems.append(
                f"{folders[row.root] / row.path}: must have one label and split in all --data, "
                f"got {was} and {now}. Mend the lists."
            )
    return list(first.values()), problems


def _class_problems(
    roots: Sequence[Path], rows: Sequence[ImageRow], classes: Sequence[str]
) -> list[str]:
    where = ", ".join(map(str, roots)) or "The data"
    if len(classes) < 2:
        return [f"{where}: must hold at least 2 classes, got {_one_class(roots, classes)}"]
    problems = []
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[name.strip().casefold()].append(name)
    for names in alike.values():
        if len(names) > 1:
            spelled = " and ".join(names)
            problems.append(
                f"{where}: class names must differ in more than upper and lower case, got "
                f"{spelled}. Rename one, or merge them with dataset.classes.rename."
            )
    trained = {row.label for row in rows if row.split in (None, "train")}
    for name in classes:
        if name not in trained:
            problems.append(
                f"{where}: every class must have training images, got none for {name}. "
                "Add some, or name the class in dataset.classes.drop."
            )
    return problems


def _one_class(roots: Sequence[Path], classes: Sequence[str]) -> str:
    hint = "Give each class its own folder of images."
    for root in roots:
        inner = find_class_root(root)
        if inner and inner != root:
            hint = f"Did you mean {inner}?"
    return (f"only {classes[0]}. " if classes else "none. ") + hint
