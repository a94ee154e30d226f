"""What can be refused is refused here: in seconds, before Ray starts, before a file is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.config import StudyConfig
from search.data.cache import stored_side
from search.data.index import build_index
from search.data.sources import Fetched, fetch_dataset
from search.data.splits import make_split
from search.data.store import bytes_there, choose_format, read_cache, store_bytes
from search.errors import ResourceError, ResultsError, SearchError
from search.records import DatasetIndex
from search.tune.machine import MIN_FREE_BYTES, check_machine


def check_request(config: StudyConfig, root: Path, weights: Path | None, address: str) -> None:
    """Check flags, machine and disk.

    Raises:
        SearchError: With what to do.
    """
    try:
        if weights is not None and not weights.is_dir():
            found = "a file" if weights.exists() else "nothing there"
            raise SearchError(
                f"--weights {weights}: must be a folder of <model>.safetensors files, got {found}. "
                "Check the path."
            )
    except OSError as error:
        raise SearchError(
            f"--weights {weights}: must be readable, got {error.strerror}. Check its permissions."
        ) from error
    resources = config.resources
    check_machine(resources.cpus, resources.gpus, _existing(root), address)


def check_images_suffice(config: StudyConfig, roots: tuple[Path, ...], root: Path) -> DatasetIndex:
    """Check that the images can be split, and that their store will fit the disk.

    Returns:
        The images, not yet looked at.

    Raises:
        DatasetError: Missing, too few, only one class …
        ResourceError: No room for the decoded images.
    """
    dataset = config.dataset
    index = build_index(roots, dataset.classes)
    make_split(
        index,
        val_fraction=dataset.val_fraction,
        test_fraction=dataset.test_fraction,
        seed=config.seed,
    )
    size_px = config.sizes_px[-1]
    num_images, side = len(index.rows), stored_side(size_px)
    folder = root / "data" / "cache"
    free = shutil.disk_usage(_existing(root)).free + bytes_there(folder)
    room = free - MIN_FREE_BYTES
    needed = store_bytes(
        num_images, side, choose_format(num_images, side, dataset.cache, dataset.cache_gb, room)
    )
    if needed > room and read_cache(folder) is None:
        raise ResourceError(
            f"--results {root}: {num_images:,} decoded images of {size_px} px need "
            f"{(needed + MIN_FREE_BYTES) / 1e6:,.0f} MB of disk, got {free / 1e6:,.0f} MB. Free "
            "some space, lower dataset.size_px, or name a folder on another disk."
        )
    return index


def fetch(config: StudyConfig) -> Fetched:
    """Return where the images are, after fetching or drawing them where they are missing.

    Raises:
        DatasetError: They cannot be had.
    """
    dataset = config.dataset
    return fetch_dataset(dataset.root, dataset.source, dataset.sample)


def _existing(root: Path) -> Path:
    """Return the nearest folder that is there already, where the results will be made."""
    try:
        return next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    except OSError as error:
        raise ResultsError(
            f"--results {root}: must be writable, got {error.strerror}. "
            "Name a folder you may write to."
        ) from error
