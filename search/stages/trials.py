"""The search, and what runs the trainings of every stage."""

from __future__ import annotations

import time

from search.progress import duration
from search.records import SearchOutcome, fingerprint
from search.select import default_trial
from search.slots import Slots
from search.stages.data import Data
from search.stages.preflight import count_slots, forecast, plan
from search.stages.study import Study
from search.tune.preflight import Backbone
from search.tune.recorder import OnChange
from search.tune.runner import Runner
from search.tune.study import load_outcome, open_ledger, search_trials
from search.tune.warm_start import take_warm_start
from search.tune.worker import TrainingSet


def search(study: Study, data: Data, backbones: tuple[Backbone, ...]) -> SearchOutcome:
    """Search, or load the trials of a search that is done."""
    budget = study.config.budget
    identity = fingerprint(study.identity, budget.size)
    if study.config.report.tensorboard:
        study.write_tensorboard(open_ledger(study.config, study.results))
    if study.is_done("search", identity):
        note = study.results.read_marker("search")
        return load_outcome(study.config, study.results, note["reason"], note["seconds"])
    outcome = _search(study, data, backbones)
    study.clock.check()
    default_trial(outcome.trials, study.config.objective.direction)  # raises without any epoch
    begin, cut = time.monotonic() - outcome.seconds, outcome.reason.startswith("time limit")
    study.finish(
        "search",
        identity,
        begin,
        reason=outcome.reason,
        was_cut_short=cut,
        num_trials=budget.num_trials,
    )
    return outcome


def _search(study: Study, data: Data, backbones: tuple[Backbone, ...]) -> SearchOutcome:
    config, num_trials = study.config, study.config.num_trials
    slots = plan(study, data, backbones)
    text = (
        f"{num_trials} trials of at most {config.budget.max_epochs} epochs, "
        f"{slots.at_once} at once, by {config.goals.text()}"
    )
    if num_trials < config.budget.num_trials:
        text += f"; the space has no more than {num_trials} configurations"
    study.terminal.line("search", text)
    num_done = len(open_ledger(study.config, study.results).finished())
    if expected := forecast(study, data, backbones, slots, num_done):
        study.terminal.line("search", expected)
    warm_start = take_warm_start(config, study.results, study.warm_start)
    if warm_start:
        study.terminal.line("search", f"warm start: {warm_start.text(config)}")
    with study.board("search", num_trials) as on_change:
        runner = make_runner(study, data, backbones, slots, on_change)
        outcome = search_trials(runner, warm_start)
    study.terminal.line("search", f"ended: {outcome.reason} ({duration(outcome.seconds)})")
    return outcome


def make_runner(
    study: Study,
    data: Data,
    backbones: tuple[Backbone, ...],
    slots: Slots | None,
    on_change: OnChange,
) -> Runner:
    """Return what runs this study's trainings, on train and val."""
    split, store, cluster = data.split, study.results.features, study.session.cluster
    images = TrainingSet(data.cache, split.train, split.val, store, cluster.home)
    by_name = {backbone.name: backbone for backbone in backbones}
    return Runner(
        study.config,
        study.results,
        images,
        by_name,
        slots,
        study.clock,
        on_change,
        study.warn,
        study.terminal.warn,
        study.disk.reason_to_stop,
        cluster,
        lambda: count_slots(study, backbones, slots)[0],
    )
