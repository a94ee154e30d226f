"""Data stages: index, check, split, decode."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass

from search.data.cache import build_cache, stored_side
from search.data.check import (
    UnusableDataError,
    check_images,
    content_fingerprint,
    copies_warning,
    read_problems,
    write_problems,
)
from search.data.index import build_index, read_index, write_index
from search.data.splits import make_split, read_split, write_split
from search.data.store import bytes_there, choose_format, store_bytes
from search.environment import note_data
from search.identity import check_data, check_fingerprint
from search.records import CheckedDataset, DatasetIndex, ImageCache, Split, fingerprint
from search.stages.study import Study
from search.tune.machine import MIN_FREE_BYTES


@dataclass(frozen=True)
class Data:
    """The data stages' outcome."""

    checked: CheckedDataset
    split: Split
    cache: ImageCache


def prepare_data(study: Study) -> Data:
    """Index, check, split and decode the images."""
    terminal = study.terminal
    listed = build_index(study.fetched.roots, study.config.dataset.classes)
    for text in study.fetched.warnings + listed.warnings:
        study.warn(text)
    checked = _check(study, listed)
    study.warn(copies_warning(checked))
    note_data(study.results, checked.fingerprint)
    study.identity = check_data(study.config, study.results, checked.fingerprint)
    split = _split(study, checked)
    counts = f"{len(split.train)} train / {len(split.val)} val / {len(split.test)} test"
    index = checked.index
    terminal.line("data", f"{len(index.rows):,} images, {len(index.classes)} classes · {counts}")
    if checked.problems:
        kinds = Counter(p.kind.replace("_", " ") for p in checked.problems)
        text = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        terminal.line("data", f"{text} · listed in {study.results.data / 'problems.csv'}")
    return Data(checked, split, _decode(study, index))


def refuse_changed_images(study: Study) -> None:
    """Look again at images that may have changed since an earlier run, before Ray is started.

    Raises:
        ResultsError: They did.
    """
    results, dataset = study.results, study.config.dataset
    if not results.read_marker("images"):
        return
    listed = build_index(study.fetched.roots, dataset.classes)
    if not results.is_done("check", check_fingerprint(listed, dataset.max_dropped)):
        _check(study, listed)


def _check(study: Study, index: DatasetIndex) -> CheckedDataset:
    """Look at every image once; later runs only compare names, sizes and dates."""
    results, begin = study.results, time.monotonic()
    identity = check_fingerprint(index, study.config.dataset.max_dropped)
    index_csv, problems_csv = results.data / "index.csv", results.data / "problems.csv"
    if results.is_done("check", identity):
        index = read_index(index_csv, study.fetched.roots)
        return CheckedDataset(index, read_problems(problems_csv), content_fingerprint(index))
    try:
        with study.terminal.progress("check") as on_progress:
            checked = check_images(
                index,
                max_dropped=study.config.dataset.max_dropped,
                num_workers=os.cpu_count() or 1,
                on_progress=on_progress,
            )
    except UnusableDataError as error:
        write_problems(problems_csv, error.checked.problems)
        message = f"{error}\n  All that was found is listed in {problems_csv}"
        raise UnusableDataError(message, error.checked) from error
    check_data(study.config, results, checked.fingerprint)
    write_index(index_csv, checked.index)
    write_problems(problems_csv, checked.problems)
    study.finish("check", identity, begin)
    return checked


def _split(study: Study, checked: CheckedDataset) -> Split:
    dataset, seed = study.config.dataset, study.config.seed
    # Ids are places in the index: files renamed since are in another order, and split anew, which
    # gives every image the part it had, since the split goes by content.
    order = [row.sha256 for row in checked.index.rows]
    identity = fingerprint(order, dataset.val_fraction, dataset.test_fraction, seed)
    if study.results.is_done("split", identity):
        return read_split(study.results.data / "splits.csv")
    begin = time.monotonic()
    split = make_split(
        checked.index,
        val_fraction=dataset.val_fraction,
        test_fraction=dataset.test_fraction,
        seed=seed,
    )
    write_split(study.results.data / "splits.csv", checked.index, split)
    study.finish("split", identity, begin)
    return split


def _decode(study: Study, index: DatasetIndex) -> ImageCache:
    """Store the decoded images; what is stored already is checked and kept."""
    dataset, begin = study.config.dataset, time.monotonic()
    folder, num_images = study.results.data / "cache", len(index.rows)
    size_px = study.config.sizes_px[-1]
    side = stored_side(size_px)
    # What was chosen when the study began stays: other pixels would make other trials of the rest.
    room = shutil.disk_usage(study.results.root).free + bytes_there(folder) - MIN_FREE_BYTES
    format = study.results.read_marker("cache").get("format") or choose_format(
        num_images, side, dataset.cache, dataset.cache_gb, room
    )
    with study.terminal.progress("cache") as on_progress:
        cache = build_cache(
            index,
            folder,
            size_px=size_px,
            fit=dataset.fit,
            num_workers=os.cpu_count() or 1,
            format=format,
            on_progress=on_progress,
            on_warning=study.warn,
        )
    if format != "pixels" and dataset.cache == "auto":
        pixels = store_bytes(num_images, side, "pixels")
        study.warn(
            f"the decoded images would take {pixels / 1e6:,.1f} MB, more than dataset.cache_gb or "
            f"the disk had room for: stored as JPEG, {bytes_there(folder) / 1e6:,.1f} MB"
        )
    if not study.results.is_done("cache", cache.fingerprint):
        study.finish("cache", cache.fingerprint, begin, format=format)
    return cache
