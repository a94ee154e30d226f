"""Photos in a bucket: copied here once, file by file; a copy that was cut goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.errors import DatasetError
from search.storage import Storage, reason_of

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
        storage, sizes = _open_zip(url) if is_zip else _open_folder(url)

        def bring(name: str) -> None:
            path = beside / name
            if not path.is_file() or path.stat().st_size != sizes[name]:
                storage.fetch(name, path)

        with ThreadPoolExecutor(_NUM_COPIES) as pool:
            for number, _ in enumerate(pool.map(bring, sizes), start=1):
                if on_progress is not None:
                    on_progress(number, len(sizes))
        if is_zip:
            (beside / next(iter(sizes))).replace(root)
            beside.rmdir()
        else:
            beside.replace(root)
    except (ValueError, OSError, NotImplementedError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{url}: must be readable, got {reason_of(error)}. Check its name, the network, and "
            "the credentials in the environment; the same command goes on where this one ended."
        ) from error


def _open_folder(url: str) -> tuple[Storage, dict[str, int]]:
    storage = Storage(url)
    storage.reach()
    sizes = {n: size for n, size in storage.list_files().items() if ".." not in n.split("/")}
    if not sizes:
        raise DatasetError(
            f"{url}: must hold one folder of images per class, got no files. Check its name."
        )
    return storage, sizes


def _open_zip(url: str) -> tuple[Storage, dict[str, int]]:
    path, mark, query = url.partition("?")
    parent, _, name = path.rpartition("/")
    storage = Storage(f"{parent}{mark}{query}")
    storage.reach()
    return storage, {name: -1}
