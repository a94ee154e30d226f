"""Before the first trial: probe the backbones, plan the slots, forecast time and disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from search.disk import disk_faults
from search.errors import ResourceError, ResultsError
from search.forecast import (
    Costs,
    Images,
    disk_bytes,
    epochs_span,
    extremes,
    search_seconds,
    seconds_after_search,
    show_span,
)
from search.goals import footprint_text
from search.records import file_hash, fingerprint
from search.slots import Slots, count_again, fit_memory, lend_cpus, plan_slots
from search.stages.data import Data
from search.stages.study import Study
from search.tune.machine import MIN_FREE_BYTES
from search.tune.pending import wait_for_a_worker
from search.tune.preflight import (
    Backbone,
    default_recipe,
    default_warning,
    missing_weights_warning,
    probe_backbones,
)


def probe(study: Study, data: Data) -> tuple[Backbone, ...]:
    """Find weights, build and measure every backbone once, before the first trial."""
    config = study.config
    identity = fingerprint(study.identity, str(study.weights_folder))
    if study.results.is_done("probe", identity):
        rows = study.results.read_marker("probe")["backbones"]
        backbones = tuple(Backbone.from_json(row) for row in rows)
    else:
        begin = time.monotonic()
        with study.terminal.busy("probe", "starting workers and measuring the backbones"):
            slots = plan(study, data, ())
            wait_for_a_worker(slots, study.terminal.warn, study.session.cluster.may_grow)
            backbones = probe_backbones(
                extremes(config),
                config.possible_values("pretrained"),
                len(data.cache.classes),
                config.sizes_px,
                study.weights_folder,
                slots=slots,
                cluster=study.session.cluster,
                dropping_paths=config.search_space.backbones_with("drop_path"),
                trains="classifier" in config.trainables,
                default=default_recipe(config),
            )
        study.finish("probe", identity, begin, backbones=[b.to_json() for b in backbones])
    _refuse_other_weights(study, backbones)
    _introduce(study, backbones)
    return backbones


def _introduce(study: Study, backbones: tuple[Backbone, ...]) -> None:
    """Say what was found."""
    config = study.config
    for backbone in backbones:
        study.terminal.line("backbone", f"{backbone.name}: {backbone.describe()}")
    study.warn(missing_weights_warning(backbones, config.possible_values("pretrained")))
    known = {name: cost for b in backbones for name, cost in b.footprints.items()}
    for footprint in known.values():
        study.terminal.line("model", f"default recipe: {footprint_text(footprint)}")
    study.warn(default_warning(config, known))


def _refuse_other_weights(study: Study, backbones: tuple[Backbone, ...]) -> None:
    """Keep trials from random weights and trials from pretrained ones out of one search."""
    now = {b.name: file_hash(Path(b.weights)) if b.weights else "random" for b in backbones}
    before = study.results.read_marker("weights").get("files", now)
    changed = sorted(name for name in now if before.get(name) != now[name])
    if changed and study.results.events.exists():
        raise ResultsError(
            f"{study.results.root}: its trials started {changed[0]} from other weights, must be "
            f"the same ones, got {now[changed[0]][:12]}. Name "
            "the weights it began with, or use --fresh to start anew."
        )
    study.results.mark_done("weights", fingerprint(now), 0.0, files=now)


def plan(study: Study, data: Data, backbones: Sequence[Backbone]) -> Slots:
    """Return what each trial gets; waits for Ray, and for its nodes to have the images.

    Raises:
        ResourceError: Not even one trial fits.
    """
    study.session.wait()
    study.clock.renew_signal_handlers()
    say = partial(study.terminal.line, "nodes")
    cluster = study.session.cluster
    if not backbones and not cluster.is_own:
        say(cluster.describe())
    cluster.prepare(data.cache, say, study.warn)
    slots, lent, fewer = count_slots(study, backbones)
    if lent and not backbones:
        say(lent)
    study.warn(fewer)
    return slots


def count_slots(
    study: Study, backbones: Sequence[Backbone], planned: Slots | None = None
) -> tuple[Slots, str, str]:
    """Count what the cluster holds now.

    Args:
        planned: Those of a search that runs: what a training gets stays.

    Returns:
        The slots, what to say of nodes without a GPU, and of slots given up for memory.

    Raises:
        ResourceError: Not even one trial fits.
    """
    wanted, cluster = study.config.resources, study.session.cluster
    if planned is None:
        slots = plan_slots(wanted.cpus, wanted.gpus, wanted.max_concurrent, cluster.sizes())
    else:
        slots = count_again(planned, wanted.max_concurrent, cluster.sizes())
    slots, lent = lend_cpus(
        slots, wanted.gpus, wanted.max_concurrent, cluster.sizes_up(), study.config.light_names
    )
    largest = {b.name: b.costs[-1] for b in backbones if b.costs}
    slots, fewer = fit_memory(slots, largest, cluster.memory_bytes())
    return slots, lent, fewer


def forecast(
    study: Study, data: Data, backbones: Sequence[Backbone], slots: Slots, num_done: int
) -> str:
    """Forecast a search that is about to begin.

    Args:
        num_done: Trials that earlier runs finished.

    Returns:
        What to expect of its time, "" where the backbones were not measured.

    Raises:
        ResourceError: The disk, or the study's share of it, has no room for what will be written.
    """
    config = study.config
    costs: Costs = {b.name: b.costs for b in backbones if b.costs}
    if len(costs) < len(backbones):
        return ""
    images = Images(len(data.split.train), len(data.split.val))
    _check_disk(study, costs, images, slots)
    left = max(0, config.num_trials - num_done)
    seconds = search_seconds(
        config,
        costs,
        images,
        num_trials=left,
        num_epochs=epochs_span(config.budget, left),
        num_slots=slots.count,
    )
    after = seconds_after_search(config, costs, images, num_slots=slots.count)
    text = f"{show_span(seconds)}, then {show_span(after)} to confirm, retrain and test"
    limit = config.budget.time_limit
    if limit is not None and seconds.high + after.high > limit:
        text += f", cut at the limit of {limit / 60:.3g} min"
    return text


def _check_disk(study: Study, costs: Costs, images: Images, slots: Slots) -> None:
    """Check that what the trials will write has room; the image store is there already."""
    parts = disk_bytes(study.config, costs, images, store_bytes=0, num_slots=slots.at_once)
    there = study.disk.used_bytes()
    free = shutil.disk_usage(study.results.root).free - MIN_FREE_BYTES
    if fault := disk_faults(parts, free, there, study.config.resources.disk_gb):
        raise ResourceError(f"--results {study.results.root}: {fault}")
