"""Photos in a bucket: copied here once, file by file; a copy that was cut goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.errors import DatasetError
from search.records import write_json
from search.storage import TROUBLE, Storage, reason_of

_NUM_COPIES = 16  # files under way at once: photos are small, and each waits for the network


def fetch_url(url: str, root: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Copy what is at a URL, a folder or one file, to `root`, which is not there yet.

    What an earlier attempt brought, whole by its size, is not brought again.

    Args:
        on_progress: Called with (files here, files in all).

    Raises:
        DatasetError: It cannot be reached, refuses, or holds nothing.
    """
    beside = root.with_name(f".{root.name}.part")
    is_zip = root.suffix.casefold() == ".zip"
    try:
        storage, stamps = _look(url, root)
        if not stamps:
            raise DatasetError(
                f"{url}: must hold one folder of images per class, got no files. Check its name."
            )

        def bring(name: str) -> None:
            path = beside / name
            if not path.is_file() or path.stat().st_size != stamps[name][0]:
                storage.fetch(name, path)

        with ThreadPoolExecutor(_NUM_COPIES) as pool:
            for number, _ in enumerate(pool.map(bring, stamps), start=1):
                if on_progress is not None:
                    on_progress(number, len(stamps))
        if is_zip:
            (beside / next(iter(stamps))).replace(root)
            beside.rmdir()
        else:
            beside.replace(root)
        write_json(_note(root), {"url": url, "files": stamps})
    except TROUBLE as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{url}: must be readable, got {reason_of(error)}. Check its name, the network, and "
            "the credentials in the environment; the same command goes on where this one ended."
        ) from error


def changes_since(url: str, root: Path) -> str:
    """Say what has changed at a URL since it was fetched to `root`.

    Returns:
        A sentence; "" for nothing, or where it is not known what was fetched.
    """
    try:
        note = json.loads(_note(root).read_text(encoding="utf-8"))
        before = {name: tuple(stamp) for name, stamp in note["files"].items()}
        fetched_from = note["url"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    if fetched_from != url:
        return ""
    try:
        _, now = _look(url, root)
    except TROUBLE as error:
        return (
            f"{url}: could not be compared with what was fetched from it, got {reason_of(error)}. "
            f"The images in {root} are used as they are"
        )
    found = {
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "changed": sorted(n for n in now.keys() & before.keys() if now[n] != before[n]),
    }
    parts = [f"{len(names):,} {what} ({names[0]})" for what, names in found.items() if names]
    if not parts:
        return ""
    return (
        f"{url}: its files are others than those that were fetched: {', '.join(parts)}. The images "
        f"in {root} are used as they are; to fetch those of today move {root} away, and name "
        "another folder with --results"
    )


def _note(root: Path) -> Path:
    """Return where it is noted what was fetched."""
    return root.with_name(f".{root.name}.fetched.json")


def _look(url: str, root: Path) -> tuple[Storage, dict[str, tuple[int, int]]]:
    """Open a URL, and list name -> stamp of the files there, or of the one zip."""
    if root.suffix.casefold() != ".zip":
        storage = Storage(url)
        storage.reach()
        stamps = storage.list_stamps()
        return storage, {n: stamp for n, stamp in stamps.items() if ".." not in n.split("/")}
    path, mark, query = url.partition("?")
    parent, _, name = path.rpartition("/")
    storage = Storage(f"{parent}{mark}{query}")
    storage.reach()
    return storage, {name: storage.stamp(name)}
