"""What a training reads, on the node it runs on: sent there once, shared by all its workers."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from search.data.store import is_sound, read_cache
from search.records import ImageCache, fingerprint
from search.tune.home import Home

SECONDS_KEPT = 7 * 86_400
"""A node's copy that no study asked for as long as this makes room."""


def user_cache() -> Path:
    """Return where this machine's user keeps what can be made or measured again."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "seed-search"


def images_here(cache: ImageCache, home: Home) -> ImageCache:
    """Return the store of decoded images on this node, where it is fetched if it is not there.

    Nobody decodes a photo twice, and a node that joins late has what it needs before its first
    epoch. What arrives is compared with the checksums of the store.

    Raises:
        OSError: It cannot be had, or there is no room for it.
    """
    if home.is_here:
        return cache
    folder = user_cache() / "images" / cache.fingerprint[:16]
    here = replace(cache, folder=folder)
    with _alone(folder):
        if read_cache(folder) != here:
            home.fetch(cache.folder, folder)
            if read_cache(folder) != here or not is_sound(here):
                shutil.rmtree(folder, ignore_errors=True)
                raise OSError(f"{folder}: the images arrived damaged")
    return here


def file_here(file: Path, home: Home) -> Path:
    """Return a file of pretrained weights on this node; fetched if it is not there.

    Raises:
        OSError: It cannot be had, or there is no room for it.
    """
    if home.is_here:
        return file
    size = home.sizes(file).get(file.name, 0)
    target = user_cache() / "weights" / fingerprint(str(file), size)[:16] / file.name
    with _alone(target.parent):
        if not target.exists() or target.stat().st_size != size:
            target.parent.mkdir(exist_ok=True)
            home.fetch(file, target)
    return target


def features_here(folder: Path, cache: ImageCache, home: Home) -> Path:
    """Return where this node's trials share the features of frozen backbones.

    Args:
        folder: That of the study's node.
        cache: The images of this one; what is made of them goes when they go.
    """
    return folder if home.is_here else cache.folder / "features"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold off the node's other workers; make room of what no study uses any more."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        for other in folder.parent.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - SECONDS_KEPT:
                shutil.rmtree(other, ignore_errors=True)
        yield
        os.utime(folder)
