"""What can be refused is refused here: in seconds, before Ray starts, before a file is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.config import StudyConfig
from search.data.cache import stored_side
from search.data.index import build_index
from search.data.sources import Fetched, fetch_dataset, is_missing
from search.data.splits import make_split
from search.data.store import bytes_there, choose_format, read_cache, store_bytes
from search.errors import ResourceError, ResultsError, SearchError
from search.forecast import Images
from search.records import DatasetIndex
from search.results import ResultsFolder
from search.terminal import Terminal
from search.tune.ledger import Ledger
from search.tune.machine import MIN_FREE_BYTES, check_machine

_STORE = Path("data") / "cache"


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
    check_machine(resources.cpus, resources.gpus, existing_folder(root), address)


def check_images_suffice(config: StudyConfig, roots: tuple[Path, ...], root: Path) -> DatasetIndex:
    """Check that the images can be split, and that their store will fit the disk.

    Returns:
        The images, not yet looked at.

    Raises:
        DatasetError: Missing, too few, only one class …
        ResourceError: No room for the decoded images.
    """
    index = build_index(roots, config.dataset.classes)
    count_images(config, index)
    num_images, size_px = len(index.rows), config.sizes_px[-1]
    free = shutil.disk_usage(existing_folder(root)).free + bytes_there(root / _STORE)
    needed, limit_gb = image_store_bytes(config, num_images, root), config.resources.disk_gb
    is_there = read_cache(root / _STORE) is not None
    if needed > free - MIN_FREE_BYTES and not is_there:
        raise ResourceError(
            f"--results {root}: {num_images:,} decoded images of {size_px} px need "
            f"{(needed + MIN_FREE_BYTES) / 1e6:,.0f} MB of disk, got {free / 1e6:,.0f} MB. Free "
            "some space, lower dataset.size_px, or name a folder on another disk."
        )
    if limit_gb is not None and needed > limit_gb * 1e9:
        raise ResourceError(
            f"resources.disk_gb: must leave room for {num_images:,} decoded images of {size_px} "
            f"px, {needed / 1e9:,.2f} GB, got {limit_gb:g}. Raise it, lower dataset.size_px, or "
            "use dataset.cache: jpeg."
        )
    return index


def count_images(config: StudyConfig, index: DatasetIndex) -> Images:
    """Return how many of the images are for training and validation.

    Raises:
        DatasetError: They are too few to be split.
    """
    dataset = config.dataset
    split = make_split(
        index,
        val_fraction=dataset.val_fraction,
        test_fraction=dataset.test_fraction,
        seed=config.seed,
    )
    return Images(len(split.train), len(split.val))


def image_store_bytes(config: StudyConfig, num_images: int, root: Path) -> int:
    """Return what the decoded images take on the disk of the results, in the format they get."""
    dataset, side = config.dataset, stored_side(config.sizes_px[-1])
    free = shutil.disk_usage(existing_folder(root)).free + bytes_there(root / _STORE)
    room = free - MIN_FREE_BYTES
    format = choose_format(num_images, side, dataset.cache, dataset.cache_gb, room)
    return store_bytes(num_images, side, format)


def fetch(config: StudyConfig, terminal: Terminal) -> Fetched:
    """Return where the images are, after fetching or drawing them where they are missing.

    Raises:
        DatasetError: They cannot be had.
    """
    dataset = config.dataset
    if dataset.source is not None and is_missing(dataset.root[0]):
        terminal.line("data", f"{dataset.root[0]} is fetched from {dataset.source}")
    with terminal.progress("fetch") as on_progress:
        return fetch_dataset(dataset.root, dataset.source, dataset.sample, on_progress)


def existing_folder(root: Path) -> Path:
    """Return the nearest folder that is there already, where the results will be made."""
    try:
        return next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    except OSError as error:
        raise ResultsError(
            f"--results {root}: must be writable, got {error.strerror}. "
            "Name a folder you may write to."
        ) from error


def keep_done_trials(config: StudyConfig, results: ResultsFolder) -> tuple[StudyConfig, str]:
    """Ask for no fewer trials than the folder has: what is done is not taken back.

    Returns:
        The study, and what to say about it, "" when it was asked for enough.
    """
    objective, asked = config.objective, config.budget.num_trials
    ledger = Ledger(results.events, objective.metric, objective.direction, read_since=0.0)
    num_done = len(ledger.finished())
    if num_done <= asked:
        return config, ""
    # A small space may have ended a search before the trials it was asked for.
    num_trials = max(num_done, results.read_marker("search").get("num_trials", 0))
    budget = config.budget.model_copy(update={"num_trials": num_trials})
    text = f"{num_done} trials are done, more than the {asked} asked for: all of them count"
    return config.model_copy(update={"budget": budget}), text
