"""`--dry-run`: what a study would do, without training anything or writing anywhere."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from search.config import StudyConfig
from search.data.archive import is_archive, open_archive, unpacked_folder
from search.data.sources import fetch_dataset, is_missing
from search.identity import refuse_other_study
from search.intake import check_images_suffice
from search.results import ResultsFolder
from search.rungs import rung_epochs
from search.terminal import Terminal, describe_params


def expected_epochs(num_trials: int, rungs: tuple[int, ...], factor: int, max_epochs: int) -> float:
    """Return the epochs a search will train if each rung lets one trial in `factor` pass. Pure.

    The first trial, the default recipe, always trains to the end. Asynchronous halving lets more
    pass at first, when a rung has seen few trials, so this is the low end of what to expect.
    """
    total, alive, before = 0.0, float(num_trials - 1), 0
    for rung in (*rungs, max_epochs):
        total += alive * (rung - before)
        alive, before = alive / factor, rung
    return total + max_epochs


def print_plan(config: StudyConfig, results: Path, terminal: Terminal) -> None:
    """Check the images and the results folder, and print what would happen."""
    refuse_other_study(config, ResultsFolder(results))
    terminal.line("study", f"{config.name} · results go to {results}")
    _print_data(config, results, terminal)
    budget, space = config.budget, config.search_space
    rungs = rung_epochs(budget.min_epochs, budget.max_epochs, budget.reduction_factor)
    low = expected_epochs(budget.num_trials, rungs, budget.reduction_factor, budget.max_epochs)
    high = budget.num_trials * budget.max_epochs
    ladder = ", ".join(str(epoch) for epoch in rungs) or "none"
    slots = int((os.cpu_count() or 1) // config.resources.cpus)
    terminal.line(
        "search",
        f"{budget.num_trials} trials of at most {budget.max_epochs} epochs, {slots} at once on "
        f"this machine; compared after epochs {ladder}",
    )
    terminal.line(
        "search", f"{low:.0f} to {high} epochs in all; searched: {', '.join(space.searched)}"
    )
    for number, point in enumerate(config.start_points):
        name = "default recipe" if number == 0 else "start_with"
        terminal.line("search", f"trial {number} ({name}): {describe_params(point, 20)}")
    runs = (config.confirm.top_k + 1) * config.confirm.num_seeds
    text = f"top {config.confirm.top_k} and the default recipe, {config.confirm.num_seeds} seeds"
    terminal.line("confirm", f"{text}: {runs} trainings of {budget.max_epochs} epochs")
    limit = "none" if budget.time_limit is None else f"{budget.time_limit / 60:.0f} min"
    terminal.line("plan", f"time limit {limit}; nothing was trained or written")


def _print_data(config: StudyConfig, results: Path, terminal: Terminal) -> None:
    dataset = config.dataset
    missing = [root for root in dataset.root if is_missing(root)]
    if missing and dataset.source is not None:
        text = f"{missing[0]} is not there yet: would be fetched from {dataset.source}"
        terminal.line("data", text)
        return
    packed = [root for root in dataset.root if is_archive(root) and not unpacked_folder(root)]
    for archive in map(open_archive, packed):
        text = f"{len(archive.members):,} files, {archive.num_bytes / 1e6:,.0f} MB"
        terminal.line("data", f"{archive.path} would be unpacked beside itself: {text}")
    if packed:
        return
    fetched = fetch_dataset(dataset.root, None, None)
    index = check_images_suffice(config, fetched.roots, results)
    for text in index.warnings:
        terminal.warn(text)
    counts = Counter(row.label for row in index.rows)
    given = sorted({row.split for row in index.rows if row.split})
    parts = f"splits given: {', '.join(given)}" if given else "splits: made by the study"
    few, many = min(counts.values()), max(counts.values())
    sizes = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    terminal.line("data", f"{len(index.rows):,} images, {len(counts)} classes of {sizes}; {parts}")
