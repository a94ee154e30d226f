"""`--dry-run`: what a study would do, without training anything or writing anywhere."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from search.config import StudyConfig
from search.data.archive import is_archive, open_archive, unpacked_folder
from search.data.sources import fetch_dataset, is_missing
from search.disk import disk_faults, folder_bytes
from search.errors import ResourceError
from search.forecast import (
    Span,
    disk_bytes,
    epochs_span,
    extremes,
    search_seconds,
    seconds_after_search,
    show_span,
)
from search.goals import architecture_of, footprint_text
from search.identity import refuse_other_study
from search.intake import check_images_suffice, count_images, existing_folder, image_store_bytes
from search.records import DatasetIndex
from search.results import ResultsFolder
from search.rungs import expected_trials, ladders
from search.select import num_retrainings
from search.slots import Slots, lend_cpus, plan_slots
from search.terminal import Terminal, describe_params
from search.tune.machine import MIN_FREE_BYTES, count_gpus
from trainables.parameters import OWN_BACKBONES

if TYPE_CHECKING:
    from search.tune.preflight import Backbone

PROBE_SECONDS = 10.0
"""Of this process: after them no further backbone is measured."""


def print_plan(
    config: StudyConfig,
    results: Path,
    terminal: Terminal,
    weights: Path | None = None,
    address: str = "local",
) -> None:
    """Check the images and the results folder, and print what would happen.

    Args:
        weights: The user's `--weights`.
        address: The user's `--address`.

    Raises:
        SearchError: What a run would refuse before its first trial.
    """
    folder = ResultsFolder(results)
    refuse_other_study(config, folder)
    terminal.line("study", f"{config.name} · results go to {results}")
    index = _print_data(config, results, terminal)
    slots = _plan_slots(config, address, terminal)
    where = "on this machine" if address == "local" else "on the cluster"
    epochs = _print_trials(config, slots, terminal, where)
    runs = (config.confirm.top_k + 1) * config.confirm.num_seeds
    text = f"top {config.confirm.top_k} and the default recipe, {config.confirm.num_seeds} seeds"
    terminal.line("confirm", f"{text}: {runs} trainings of {config.budget.max_epochs} epochs")
    third = num_retrainings(config.confirm.top_k + 1, config.confirm.num_seeds) > 2
    names = (
        "the winner, the default recipe and the runner-up" if third else "the winner and a rival"
    )
    terminal.line("retrain", f"{names} on train + val, to be tested on the same images")
    backbones = _backbones(config, folder, slots, terminal, weights)
    if index is not None:
        _print_default(config, backbones, len(index.classes), slots, terminal)
    if index is None:
        terminal.line("time", "forecast, like the disk, as soon as the images are there")
    else:
        _print_forecast(config, results, terminal, index, backbones, slots, epochs)
    limit = config.budget.time_limit
    shown = "none" if limit is None else f"{limit / 60:.3g} min"
    terminal.line("plan", f"time limit {shown}; nothing was trained or written")


def _plan_slots(config: StudyConfig, address: str, terminal: Terminal) -> Slots:
    """Return what each trial gets; print the machines where there may be several."""
    wanted = config.resources
    if address == "local":
        here = [(os.cpu_count() or 1, count_gpus())]
        return plan_slots(wanted.cpus, wanted.gpus, wanted.max_concurrent, here)
    from search.tune.session import RaySession

    session = RaySession(address)
    session.start()
    try:
        cluster, most = session.cluster, wanted.max_concurrent
        terminal.line("nodes", cluster.describe())
        slots = plan_slots(wanted.cpus, wanted.gpus, most, cluster.sizes())
        slots, lent = lend_cpus(slots, wanted.gpus, most, cluster.sizes_up(), config.light_names)
    finally:
        session.stop()
    if lent:
        terminal.line("nodes", lent)
    return slots


def _print_trials(config: StudyConfig, slots: Slots, terminal: Terminal, where: str) -> Span:
    """Print how many trials there are and how far they go; return their epochs."""
    budget, num_trials = config.budget, config.num_trials
    eta, full = budget.reduction_factor, budget.max_epochs
    brackets = ladders(budget.scheduler, budget.min_epochs, full, eta, budget.brackets)
    each = f"{num_trials} trials of at most {full} epochs, {slots.at_once} at once {where}"
    terminal.line("search", f"{each}; {_rungs_text(config)}")
    terminal.line("search", f"sought: {config.goals.text()}")
    expected = expected_trials(num_trials, brackets, eta, full)
    reached = ", ".join(f"{count:.0f} to epoch {epoch}" for epoch, count in expected.items())
    span = epochs_span(budget, num_trials)
    total = f"{span.low:.0f}" if span.low == span.high else f"{span.low:.0f} to {span.high:.0f}"
    terminal.line("search", f"expected: {reached}; {total} epochs in all")
    for text in _ends(config):
        terminal.line("search", text)
    terminal.line("search", f"searched: {', '.join(config.search_space.searched)}")
    for number, point in enumerate(config.start_points):
        name = "default recipe" if number == 0 else "start_with"
        terminal.line("search", f"trial {number} ({name}): {describe_params(point, 20)}")
    return span


def _rungs_text(config: StudyConfig) -> str:
    budget = config.budget
    if budget.scheduler == "none":
        return "none is stopped early"
    if budget.scheduler == "median":
        return f"from epoch {budget.min_epochs} on stopped below the median of the others"
    brackets = ladders(
        budget.scheduler,
        budget.min_epochs,
        budget.max_epochs,
        budget.reduction_factor,
        budget.brackets,
    )
    shown = (", ".join(map(str, ladder)) or "none" for ladder in brackets)
    return f"compared after epochs {' or '.join(shown)}"


def _ends(config: StudyConfig) -> Iterator[str]:
    """Yield what else can end the search."""
    budget = config.budget
    if budget.total_epochs is not None:
        yield f"no trial starts after {budget.total_epochs} epochs in all"
    if budget.plateau_trials is not None:
        yield f"no trial starts after {budget.plateau_trials} trials without a new best"


def _backbones(
    config: StudyConfig,
    folder: ResultsFolder,
    slots: Slots,
    terminal: Terminal,
    weights: Path | None,
) -> list[Backbone]:
    """Print what each backbone is; return those whose speed is known."""
    from search.tune.preflight import Backbone

    rows = folder.read_marker("probe").get("backbones", [])
    found = [Backbone.from_json(row) for row in rows]
    if not found or not all(backbone.costs for backbone in found):
        found = _measured(config, slots, weights)
    for backbone in found:
        terminal.line("backbone", f"{backbone.name}: {backbone.describe()}")
    wants = any(config.possible_values("pretrained"))
    alone = [b.name for b in found if wants and not b.weights and b.name not in OWN_BACKBONES]
    if alone:
        text = f"no weights of {', '.join(alone)} on this machine: a run asks the hub for them"
        terminal.line("backbone", text)
    known = {backbone.name for backbone in found}
    if late := [name for name in config.possible_values("backbone") if name not in known]:
        text = f"{', '.join(late)}: not measured here, the forecast leaves it out"
        terminal.line("backbone", f"{text}; a run measures every backbone before its first trial")
    return found


def _device(slots: Slots) -> str:
    """Return what this machine can measure on: the head of a cluster need not have a GPU."""
    return "cuda" if slots.gpus and count_gpus() else "cpu"


def _print_default(
    config: StudyConfig,
    backbones: list[Backbone],
    num_classes: int,
    slots: Slots,
    terminal: Terminal,
) -> None:
    """Print what the default recipe's network costs, and whether it keeps the constraints."""
    from search.tune.preflight import default_recipe, default_warning, footprints_of

    recipe = default_recipe(config)
    known = next((b.footprints for b in backbones if b.footprints), {})
    if architecture_of(recipe) not in known:
        device = "cpu" if slots.beside else _device(slots)  # as in its trainings
        known = footprints_of(recipe, num_classes, device)
    text = footprint_text(known[architecture_of(recipe)])
    terminal.line("model", f"default recipe: {text}")
    if warning := default_warning(config, known):
        terminal.warn(warning)


def _measured(config: StudyConfig, slots: Slots, weights: Path | None) -> list[Backbone]:
    """Measure as many backbones as a plan has time for, on random images in this process.

    Raises:
        ResourceError: A backbone cannot be built.
    """
    from search.tune.preflight import Backbone, measure_backbone
    from trainables.weights import find_weights

    device = _device(slots)
    trains = "classifier" in config.trainables
    wants = any(config.possible_values("pretrained"))
    found: list[Backbone] = []
    begin = time.process_time()
    for name, points in extremes(config).items():
        if found and time.process_time() - begin > PROBE_SECONDS:
            break
        try:
            mode, costs = measure_backbone(
                points, device, slots.num_threads, trains=trains, thorough=False
            )
        except ValueError as error:
            raise ResourceError(f"space.backbone: {name} cannot be used: {error}") from error
        file = find_weights(name, weights, download=False) if wants else None
        source = str(file) if file else None
        found.append(Backbone(name, source, costs[-1].num_parameters, "", mode, costs))
    return found


def _print_forecast(
    config: StudyConfig,
    results: Path,
    terminal: Terminal,
    index: DatasetIndex,
    backbones: list[Backbone],
    slots: Slots,
    epochs: Span,
) -> None:
    """Print time and disk.

    Raises:
        ResourceError: The disk has no room for it.
    """
    costs = {backbone.name: backbone.costs for backbone in backbones}
    images = count_images(config, index)
    seconds = search_seconds(
        config,
        costs,
        images,
        num_trials=config.num_trials,
        num_epochs=epochs,
        num_slots=slots.count,
    )
    after = seconds_after_search(config, costs, images, num_slots=slots.count)
    limit = config.budget.time_limit
    cut = ""
    if limit is not None and seconds.high + after.high > limit:
        cut = " if the time limit does not end it before"
    terminal.line("time", f"search {show_span(seconds)} on {slots.count} slots{cut}")
    terminal.line("time", f"then {show_span(after)} to confirm, retrain and test")
    there = existing_folder(results)
    store = image_store_bytes(config, len(index.rows), results)
    parts = disk_bytes(config, costs, images, store_bytes=store, num_slots=slots.at_once)
    free = shutil.disk_usage(there).free
    shown = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in parts.items())
    total = sum(parts.values())
    used = folder_bytes(results)
    terminal.line("disk", f"{total / 1e6:,.0f} MB of {free / 1e6:,.0f} MB free: {shown}")
    limit_gb = config.resources.disk_gb
    if fault := disk_faults(parts, free - MIN_FREE_BYTES + used, 0, limit_gb):
        raise ResourceError(f"--results {results}: {fault}")


def _print_data(config: StudyConfig, results: Path, terminal: Terminal) -> DatasetIndex | None:
    """Print what the images are; return them unless they have to be fetched or unpacked first."""
    dataset = config.dataset
    missing = [root for root in dataset.root if is_missing(root)]
    if missing and dataset.source is not None:
        text = f"{missing[0]} is not there yet: would be fetched from {dataset.source}"
        terminal.line("data", text)
        return None
    packed = [root for root in dataset.root if is_archive(root) and not unpacked_folder(root)]
    for archive in map(open_archive, packed):
        text = f"{len(archive.members):,} files, {archive.num_bytes / 1e6:,.0f} MB"
        terminal.line("data", f"{archive.path} would be unpacked beside itself: {text}")
    if packed:
        return None
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
    return index
