"""Get a data set that is not there yet: out of a zip, from Kaggle, scikit-learn, or drawn."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock

from search.data.archive import is_archive, unpack
from search.data.decode import describe
from search.data.index import dataset_error, root_problems
from search.data.layout import find_class_root
from search.data.listing import find_listings
from search.data.remote import changes_since, fetch_url
from search.data.rendered_cars import draw_cars
from search.errors import DatasetError, SearchError
from search.storage import is_storage_url

SAMPLES: dict[str, Callable[[Path], None]] = {"rendered_cars": draw_cars}
_KAGGLE = ("www.kaggle.com", 443)
_CONNECT_SECONDS = 2.5
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_DIGIT_SIDE_PX = 32


@dataclass(frozen=True)
class Fetched:
    """Where the images are: folders and CSV lists, which `build_index` reads.

    `warnings` are sentences for the terminal and the report.
    """

    roots: tuple[Path, ...]
    is_sample: bool = False
    warnings: tuple[str, ...] = ()


def fetch_dataset(
    roots: Sequence[Path],
    source: str | None,
    sample: str | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Make sure that the data is there, and unpacked.

    Args:
        roots: Data folders, CSV lists and zips. Where all exist nothing is fetched.
        source: Fetches into the only root when it is missing: `kaggle:<owner>/<dataset>`,
            `sklearn:digits` or a URL. None for folders the user named: those never fall back.
        sample: Drawn into `<root>.sample` when the source cannot be had: `rendered_cars`, or None.
        on_progress: Called with (files fetched, files in all), where a URL is fetched.

    Raises:
        DatasetError: The data is missing and cannot be had, or a zip cannot be used; all problems
            of all roots in one message.
        ResourceError: A zip needs more disk than is free, and nothing else is wrong.
    """
    roots = tuple(roots)
    missing = any(map(is_missing, roots))
    if not missing or source is None or len(roots) != 1:
        is_fetched = source is not None and is_storage_url(source) and len(roots) == 1
        changes = changes_since(str(source), roots[0]) if is_fetched else ""
        return Fetched(_usable(roots), warnings=(changes,) if changes else ())
    _check_names(source, sample)
    root = roots[0]
    try:
        _fetch(source, root, on_progress)
        return Fetched(_usable(roots))
    except DatasetError as error:
        if sample is None:
            raise
        reason = str(error)
    folder = root.with_name(f"{root.name}.sample")
    SAMPLES[sample](folder)
    warning = (
        f"The real data could not be had ({reason.splitlines()[0]}). "
        f"This study runs on a DRAWN SAMPLE, {sample}: its accuracy says nothing about photos."
    )
    return Fetched((folder,), is_sample=True, warnings=(warning,))


def _usable(roots: Sequence[Path]) -> tuple[Path, ...]:
    """Return the roots with what is in the zips for the zips.

    Raises:
        DatasetError, ResourceError: As `fetch_dataset`.
    """
    usable: list[Path] = []
    errors: list[SearchError] = []
    for root in roots:
        try:
            usable.append(_unpacked(root) if is_archive(root) else root)
        except SearchError as error:
            errors.append(error)
    if not errors and not any(map(is_missing, usable)):
        return tuple(usable)
    problems = [*map(str, errors), *(text for root in usable for text in root_problems(root))]
    if errors and len(problems) == 1:
        raise errors[0]
    raise dataset_error("The data", problems)


def is_missing(root: Path) -> bool:
    """Tell whether nothing can be seen at a root's place."""
    try:
        root.stat()
    except OSError:
        return True
    return False


def _unpacked(path: Path) -> Path:
    """Unpack a zip and return the root inside: its class folders, or else its one CSV list.

    Raises:
        DatasetError: Several lists, of which one must be named; or the zip cannot be used.
    """
    folder = unpack(path)
    found = find_class_root(folder)
    if found is not None:
        return found
    lists = find_listings(folder, max_depth=2)
    if len(lists) > 1:
        names = ", ".join(str(one.relative_to(folder)) for one in lists)
        raise DatasetError(
            f"{path}: must hold class folders or one .csv list, got {names}. "
            f"It is unpacked in {folder}: name a list there with --data."
        )
    return lists[0] if lists else folder


def _check_names(source: str, sample: str | None) -> None:
    kind, _, name = source.partition(":")
    known = source == "sklearn:digits" or (kind == "kaggle" and name.count("/") == 1)
    if not known and not is_storage_url(source):
        raise DatasetError(
            "dataset.source: must be kaggle:<owner>/<dataset>, sklearn:digits or a URL, "
            f"got {source!r}. Mend it, or leave it out and name a folder."
        )
    if sample is not None and sample not in SAMPLES:
        raise DatasetError(
            f"dataset.sample: must be one of {', '.join(SAMPLES)}, got {sample!r}. Mend it."
        )


def _fetch(source: str, root: Path, on_progress: Callable[[int, int], None] | None) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    # Two studies that start at once fetch once.
    with FileLock(root.with_name(f"{root.name}.lock")):
        if root.exists():
            return
        if source == "sklearn:digits":
            write_digits(root)
        elif is_storage_url(source):
            fetch_url(source, root, on_progress)
        else:
            _fetch_kaggle(source.removeprefix("kaggle:"), root)


def _fetch_kaggle(handle: str, root: Path) -> None:
    """Download a Kaggle data set and link the folder that holds its classes at `root`."""
    by_hand = (
        f"Download https://www.kaggle.com/datasets/{handle}, unpack it, and name the folder "
        "that holds one folder per class with --data."
    )
    if not is_connected():
        raise DatasetError(f"kaggle:{handle}: Kaggle cannot be reached from here. {by_hand}")
    try:
        import kagglehub

        downloaded = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # the client raises its own, http, disk and login errors
        raise DatasetError(
            f"kaggle:{handle}: must be downloadable, got {describe(error)}. {by_hand}"
        ) from error
    found = find_class_root(downloaded)
    if found is None:
        raise DatasetError(
            f"kaggle:{handle}: must hold one folder of images per class, got none in {downloaded}. "
            "Sort the images into folders, and name the folder above them with --data."
        )
    _place(found, root)


def _place(found: Path, root: Path) -> None:
    root.unlink(missing_ok=True)  # a link whose download was cleared away
    try:
        root.symlink_to(found.resolve(), target_is_directory=True)
    except OSError:  # a file system without links
        beside = root.with_name(f".{root.name}.{os.getpid()}.tmp")
        shutil.copytree(found, beside, dirs_exist_ok=True)
        beside.rename(root)


def is_connected(host: tuple[str, int] = _KAGGLE, seconds: float = _CONNECT_SECONDS) -> bool:
    """Tell within `seconds` whether a host answers; a proxy set in the environment counts."""
    if any(os.environ.get(name) for name in _PROXIES):
        return True
    answered = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(host, timeout=seconds):
            answered.set()

    # In a thread, because looking up a name ignores the time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def write_digits(root: Path) -> None:
    """Write scikit-learn's 1,797 scanned digits as PNG files, one folder per digit.

    The scans are 8 × 8 pixels with 17 grey levels; they are enlarged to 32 × 32.

    References:
        Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository.
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    beside = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    size = (_DIGIT_SIDE_PX, _DIGIT_SIDE_PX)
    for number, (scan, digit) in enumerate(zip(scans.images, scans.target, strict=True)):
        grey = np.rint(scan * (255 / 16)).astype(np.uint8)
        large = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        folder = beside / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        coded = cv2.imencode(".png", large)[1]
        (folder / f"digit_{number:04d}.png").write_bytes(coded.tobytes())
    beside.rename(root)
