"""Trials of another study, for this one's search to begin with what was learned there.

They are no trials of this study: they have no number here, rank nowhere, are in no table and on no
rung. What fits the space goes to the sampler, and the best are trained first. The folder keeps what
was taken, so that a run that goes on needs neither the flag nor the other folder.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from search.config import StudyConfig, load_study
from search.errors import ResultsError, SpaceError
from search.goals import Goals
from search.ranges import same
from search.records import TrialState, write_json
from search.results import ResultsFolder
from search.space import Fixed, Space
from search.trainable_table import TRAINABLE
from search.tune.differences import differences_of, unmeasured
from search.tune.ledger import Ledger
from search.tune.points import point_key
from search.tune.sampler import distributions
from search.tune.told import Told, told_of

NUM_START_POINTS = 3
_OF_THE_SPLIT = ("the images", "seed", "dataset.val_fraction", "dataset.test_fraction")
_LEARNED_FROM = (TrialState.COMPLETE.value, TrialState.PRUNED.value)


@dataclass(frozen=True)
class PastTrial:
    """A trial of another study that is a point of this one's space.

    Attributes:
        number: There.
        params: Searched params, as they are here.
        state: "complete" or "pruned".
        value: Of its best epoch; values: epoch -> value.
        figures: Every metric that is known of it: its best epoch's, and its footprint.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: float
    values: dict[int, float]
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WarmStart:
    """What a study takes from another.

    Attributes:
        source: The other study's folder.
        num_trials: It had, all states.
        trials: Those that fit this space, best first: complete ones before pruned ones.
        skipped: Why others do not -> how many.
        differences: Settings that make a value there and a value here two things: then values do
            not count, and the best trials are only where the search starts.
        num_test_looks: Final models that the same test images judged there.
    """

    source: str
    num_trials: int
    trials: tuple[PastTrial, ...]
    skipped: dict[str, int]
    differences: tuple[str, ...] = ()
    num_test_looks: int = 0

    def start_points(self, config: StudyConfig) -> list[dict[str, Any]]:
        """Return the params of the best complete trials that the study does not start with.

        None that is known to break a constraint of this study.
        """
        space = config.search_space
        seen = {point_key(space, point) for point in config.start_points}
        chosen: list[dict[str, Any]] = []
        for trial in self.trials:
            key = point_key(space, trial.params)
            is_allowed = not config.goals.faults(trial.figures)
            if trial.state == TrialState.COMPLETE.value and key not in seen and is_allowed:
                seen.add(key)
                chosen.append(trial.params)
        return chosen[:NUM_START_POINTS]

    def frozen_trials(self, space: Space, goals: Goals) -> list[FrozenTrial]:
        """Return what the sampler learns from, in the other study's order."""
        if self.differences:
            return []
        known = distributions(space)
        return [
            _told(trial, goals).frozen(trial.params, known)
            for trial in sorted(self.trials, key=lambda trial: trial.number)
        ]

    def text(self, config: StudyConfig) -> str:
        """Say in one line what was taken."""
        skipped = ", ".join(f"{reason}: {count}" for reason, count in self.skipped.items())
        text = f"{len(self.trials)} of {self.num_trials} trials of {self.source}"
        text += f" fit (skipped: {skipped})" if skipped else " fit"
        if count := len(self.start_points(config)):
            text += f"; its best {count} come first" if count > 1 else "; its best comes first"
        if self.differences:
            text += f"; its values do not count, since {' and '.join(self.differences[:3])} here"
        return text


def read_other_study(config: StudyConfig, folder: Path) -> WarmStart:
    """Read what another study offers to this one.

    Raises:
        ResultsError: It is no study, has another (first) objective, or none of its trials fits.
    """
    where = f"--warm-start {folder}"
    other = ResultsFolder(folder.resolve())
    if not other.events.exists() or not other.study_file.exists():
        raise ResultsError(
            f"{where}: must be the results folder of a study with trials, got none there. "
            "Check the path."
        )
    try:
        there = load_study(other.study_file)
    except SpaceError as error:
        raise ResultsError(f"{where}: must hold a study that can be read, got {error}") from error
    if there.objective.metric != config.objective.metric:
        raise ResultsError(
            f"{where}: must have the objective {config.objective.metric}, got "
            f"{there.objective.metric}. Name another study, or change objective.metric."
        )
    ledger = Ledger(other.events, there.objective.metric, there.objective.direction, read_since=0.0)
    trials, skipped = _fitting(config, there, ledger)
    if not trials:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.items())
        raise ResultsError(
            f"{where}: must have finished trials inside this space, got none of "
            f"{len(ledger.trials)} ({reasons}). Leave the flag out, or widen the space."
        )
    return WarmStart(str(other.root), len(ledger.trials), trials, skipped)


def take_warm_start(
    config: StudyConfig, results: ResultsFolder, folder: Path | None
) -> WarmStart | None:
    """Return what this study began with, now or in an earlier run; the folder keeps it.

    Args:
        folder: The other study; None for what the folder has, if anything.
    """
    if results.warm_start.exists():
        return _read(results.warm_start)
    if folder is None:
        return None
    found = read_other_study(config, folder)
    other = ResultsFolder(folder.resolve())
    figures = [trial.figures for trial in found.trials]
    differences = (
        *differences_of(config, results, other),
        *unmeasured(config, results, other, figures),
    )
    same_test = not any(text.startswith(_OF_THE_SPLIT) for text in differences)
    looks = other.read_marker("evaluate").get("times", 0) if same_test else 0
    found = replace(found, differences=differences, num_test_looks=looks)
    write_json(results.warm_start, asdict(found))
    return found


def check_warm_start(config: StudyConfig, results: ResultsFolder, folder: Path) -> WarmStart:
    """Refuse, before anything is written, what `--warm-start` cannot do.

    Raises:
        ResultsError: The other folder does not suit, or this study has begun without it.
    """
    where, source = f"--warm-start {folder}", folder.resolve()
    if results.warm_start.exists():
        before = _read(results.warm_start)
        # A study that was begun with --fresh from its own older results goes on from these.
        if before.source != str(source) and source != results.root.resolve():
            raise ResultsError(
                f"{where}: must be the study that {results.root} began with, {before.source}. "
                "Leave the flag out to go on, or use --fresh to start anew."
            )
        return before
    if results.events.exists():
        raise ResultsError(
            f"{where}: must be given when a study begins, got trials in {results.root} already. "
            "Leave the flag out to go on, or use --fresh to start anew."
        )
    return read_other_study(config, folder)


def fit_point(
    config: StudyConfig, params: Mapping[str, Any], full: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Express a trial of another study in this one's space. Pure.

    Args:
        params: Its active params, fixed ones included.
        full: `params` over the default recipe there, and the trainable.

    Returns:
        Searched params here, and why it is outside the space, "" if it is inside.
    """
    space = config.search_space
    point: dict[str, Any] = {}
    for parameter in space.parameters:
        if space.is_active(parameter.name, point):
            value = full.get(parameter.name)
            if not parameter.contains(value):
                fixed = isinstance(parameter, Fixed)
                what = f"is {parameter.first} here" if fixed else "is outside this space"
                return {}, f"{parameter.name} {what}"
            point[parameter.name] = parameter.nearest(value)
    here = {TRAINABLE: config.trainables[0], **config.recipe_of(point), **point}
    for name, value in {TRAINABLE: full[TRAINABLE], **params}.items():
        if not same(here.get(name), value):
            return {}, f"{name} is {here.get(name)} here"
    return {name: point[name] for name in space.searched if name in point}, ""


def _fitting(
    config: StudyConfig, there: StudyConfig, ledger: Ledger
) -> tuple[tuple[PastTrial, ...], dict[str, int]]:
    """Return the trials inside this space, best first, and how many others there are, by reason."""
    found: list[PastTrial] = []
    skipped: Counter[str] = Counter()
    for trial in ledger.trials.values():
        best = ledger.best(trial)
        state = trial.state.value if trial.state else "unfinished"
        if best is None or not math.isfinite(best[1]) or state not in _LEARNED_FROM:
            skipped[state if state not in _LEARNED_FROM else "without a value"] += 1
            continue
        recipe = there.recipe_of(trial.params)
        full = {TRAINABLE: there.trainables[0], **recipe, **trial.params}
        point, reason = fit_point(config, trial.params, full)
        if reason:
            skipped[reason] += 1
        else:
            values, figures = trial.values(ledger.metric), ledger.figures(trial)
            found.append(PastTrial(trial.number, point, state, best[1], values, figures))
    sign = -1.0 if ledger.direction == "maximize" else 1.0
    found.sort(key=lambda trial: (trial.state, sign * trial.value, trial.number))
    return tuple(found), dict(skipped.most_common())


def _told(trial: PastTrial, goals: Goals) -> Told:
    """Return a trial in Optuna's terms, its values those that matter here."""
    epochs: dict[int, dict[str, float]] = {e: {goals.metric: v} for e, v in trial.values.items()}
    best = next((e for e, value in trial.values.items() if value == trial.value), None)
    if best is not None:
        epochs[best] |= trial.figures
    return told_of(goals, TrialState(trial.state), epochs, trial.figures)


def _read(path: Path) -> WarmStart:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(
            PastTrial(**{**t, "values": {int(e): v for e, v in t["values"].items()}})
            for t in value.pop("trials")
        )
        return WarmStart(**{**value, "trials": trials, "differences": tuple(value["differences"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{path}: must hold what the study began with, got {error!r}. Start again with --fresh."
        ) from error
