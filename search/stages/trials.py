"""Trial stages: probe the backbones, plan the slots, search."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from search.errors import ResultsError
from search.records import SearchOutcome, file_hash, fingerprint
from search.select import default_trial
from search.stages.data import Data
from search.stages.study import Study
from search.tune.engine import Slots
from search.tune.preflight import (
    Backbone,
    memory_of_a_slot,
    missing_weights_warning,
    plan_slots,
    probe_backbones,
)
from search.tune.recorder import OnChange
from search.tune.runner import Runner
from search.tune.session import cluster_memory, cluster_resources
from search.tune.study import load_outcome, search_trials
from search.tune.worker import TrainingSet


def probe(study: Study, data: Data) -> tuple[Backbone, ...]:
    """Find weights and build every backbone once, before the first trial."""
    config = study.config
    pretrained = config.possible_values("pretrained")
    identity = fingerprint(study.identity, str(study.weights_folder))
    if study.results.is_done("probe", identity):
        rows = study.results.read_marker("probe")["backbones"]
        backbones = tuple(Backbone(**row) for row in rows)
    else:
        begin = time.monotonic()
        study.session.wait()
        backbones = probe_backbones(
            config.possible_values("backbone"),
            pretrained,
            len(data.cache.classes),
            config.sizes_px,
            study.weights_folder,
            slots=plan(study),
            dropping_paths=config.search_space.backbones_with("drop_path"),
            measure="classifier" in config.trainables,
        )
        study.finish("probe", identity, begin, backbones=[vars(b) for b in backbones])
    _refuse_other_weights(study, backbones)
    for backbone in backbones:
        source = Path(backbone.weights).name if backbone.weights else "random weights"
        size = f"{backbone.num_parameters / 1e6:.1f} M parameters"
        parts = [size, source, *([backbone.mode] if backbone.mode else [])]
        study.terminal.line("backbone", f"{backbone.name}: {', '.join(parts)}")
    study.warn(missing_weights_warning(backbones, pretrained))
    return backbones


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


def search(study: Study, data: Data, backbones: tuple[Backbone, ...]) -> SearchOutcome:
    """Search, or load the trials of a search that is done."""
    budget = study.config.budget
    identity = fingerprint(study.identity, budget.num_trials)
    if study.is_done("search", identity):
        note = study.results.read_marker("search")
        return load_outcome(study.config, study.results, note["reason"], note["seconds"])
    outcome = _search(study, data, backbones)
    study.clock.check()
    default_trial(outcome.trials, study.config.objective.direction)  # raises without any epoch
    begin, cut = time.monotonic() - outcome.seconds, outcome.reason.startswith("time limit")
    study.finish("search", identity, begin, reason=outcome.reason, was_cut_short=cut)
    return outcome


def _search(study: Study, data: Data, backbones: tuple[Backbone, ...]) -> SearchOutcome:
    budget = study.config.budget
    slots = plan(study)
    text = (
        f"{budget.num_trials} trials of at most {budget.max_epochs} epochs, {slots.count} at once"
    )
    study.terminal.line("search", text)
    with study.board("search", budget.num_trials) as on_change:
        outcome = search_trials(make_runner(study, data, backbones, slots, on_change))
    study.terminal.line("search", f"ended: {outcome.reason} ({outcome.seconds:.0f} s)")
    return outcome


def make_runner(
    study: Study,
    data: Data,
    backbones: tuple[Backbone, ...],
    slots: Slots | None,
    on_change: OnChange,
) -> Runner:
    """Return what runs this study's trainings, on train and val."""
    split, store = data.split, study.results.features
    images = TrainingSet(data.cache, split.train, split.val, store)
    by_name = {backbone.name: backbone for backbone in backbones}
    return Runner(study.config, study.results, images, by_name, slots, study.clock, on_change)


def plan(study: Study) -> Slots:
    """Return what each trial gets; waits for Ray."""
    study.session.wait()
    wanted = study.config.resources
    have_cpus, have_gpus = cluster_resources()
    slots = plan_slots(wanted.cpus, wanted.gpus, wanted.max_concurrent, have_cpus, have_gpus)
    return replace(slots, memory_bytes=memory_of_a_slot(cluster_memory(), slots.count))
