"""Data stages: index, check, split, decode."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass

from search.data.cache import build_cache
from search.data.check import check_images, content_fingerprint, read_problems, write_problems
from search.data.index import build_index, read_index, write_index
from search.data.splits import make_split, read_split, write_split
from search.environment import note_data
from search.identity import check_data, listing_fingerprint
from search.records import CheckedDataset, ImageCache, Split, fingerprint
from search.stages.study import Study


@dataclass(frozen=True)
class Data:
    """The data stages' outcome."""

    checked: CheckedDataset
    split: Split
    cache: ImageCache


def prepare_data(study: Study) -> Data:
    """Index, check, split and decode the images."""
    dataset, terminal = study.config.dataset, study.terminal
    for text in study.fetched.warnings:
        study.warn(text)
    checked = _check(study)
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
    begin = time.monotonic()
    with terminal.progress("cache") as on_progress:
        cache = build_cache(
            index,
            study.results.data / "cache",
            size_px=dataset.size_px,
            fit=dataset.fit,
            num_workers=os.cpu_count() or 1,
            on_progress=on_progress,
        )
    if not study.results.is_done("cache", cache.fingerprint):
        study.finish("cache", cache.fingerprint, begin)
    return Data(checked, split, cache)


def _check(study: Study) -> CheckedDataset:
    """Look at every image once; later runs only compare names, sizes and dates."""
    index = build_index(study.fetched.roots)
    results, begin = study.results, time.monotonic()
    identity = fingerprint(listing_fingerprint(index), study.config.dataset.max_dropped)
    index_csv, problems_csv = results.data / "index.csv", results.data / "problems.csv"
    if results.is_done("check", identity):
        index = read_index(index_csv, study.fetched.roots)
        return CheckedDataset(index, read_problems(problems_csv), content_fingerprint(index))
    with study.terminal.progress("check") as on_progress:
        checked = check_images(
            index,
            max_dropped=study.config.dataset.max_dropped,
            num_workers=os.cpu_count() or 1,
            on_progress=on_progress,
        )
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
