"""How long a study will take, and how much disk: from a probe's measurements. Pure.

A forecast draws configurations as a random search would, and adds up what each costs. Between the
cheapest and the dearest configuration that was measured, cost follows a power of the work.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.budget_section import BudgetConfig
from search.config import StudyConfig
from search.rungs import expected_epochs, ladders
from search.select import (
    SECONDS_FOR_TEST_AND_REPORT,
    SECONDS_TO_START_WORKERS,
    num_retrainings,
)
from search.trainable_table import TRAINABLE
from trainables.contract import StepCost
from trainables.parameters import OWN_BACKBONES

NUM_DRAWN = 300
SECONDS_BETWEEN_TRIALS = 0.5
SECONDS_OF_A_HEAD = 40e-6
"""Of a probe, for one pass over the features of one image."""
TRAINED_SHARE = {"none": 1.0, "gradual": 1.0, "early_stages": 0.4, "backbone": 0.05}
"""Of the backward pass, by `freeze`."""
SHARE_OF_A_STAGE = 0.2  # more, for each stage that trains beside the last
SURER_THAN = (0.7, 1.4)
"""Real studies take this share of what was added up, at least and at most: images are read from
disk, workers share caches and memory, a sampler prefers what is good and not what is cheap."""
LUCK_OF_A_LADDER = 1.5
BYTES_OF_REPORT = 30_000_000  # pages, plots, tables, ledgers and logs

Costs = Mapping[str, tuple[StepCost, ...]]
"""Backbone -> what its cheapest and its dearest configuration take."""


@dataclass(frozen=True)
class Span:
    """From this to that."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Images:
    """How many images there are to train on and to judge by."""

    num_train: int
    num_val: int


class _Draw(random.Random):
    """Stands in for an Optuna trial: every value is as likely as any other."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return low + step * self.randint(0, round((high - low) / step))
        if log:
            return math.exp(self.uniform(math.log(low), math.log(high)))
        return self.uniform(low, high)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        if log:
            return round(math.exp(self.uniform(math.log(low), math.log(high))))
        return low + step * self.randint(0, (high - low) // step)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.choice(choices)


def epochs_span(budget: BudgetConfig, num_trials: int) -> Span:
    """Return the epochs that trials will train, all together: as expected, and at most.

    Trials whose order tells nothing of their quality pass as expected; a search that improves as
    it goes lets more of them pass, and lets hardly any fewer.
    """
    eta, full = budget.reduction_factor, budget.max_epochs
    most = float(num_trials * full)
    brackets = ladders(budget.scheduler, budget.min_epochs, full, eta, budget.brackets)
    low, high = expected_epochs(num_trials, brackets, eta, full), most
    if budget.scheduler == "median":  # by its own rule at most half of the trials fall behind
        low = (num_trials * (full + budget.min_epochs)) / 2
    if budget.scheduler in ("asha", "hyperband"):
        high = min(most, LUCK_OF_A_LADDER * low)
    limit = budget.total_epochs if budget.total_epochs is not None else math.inf
    return Span(min(low, limit), min(high, limit + full))


def draw_points(config: StudyConfig) -> list[dict[str, Any]]:
    """Return complete params of configurations that a trial can have, the default recipe first."""
    draw, space = _Draw(config.seed), config.search_space
    drawn = [space.suggest(draw) for _ in range(NUM_DRAWN)]
    started = [space.complete(point, config.recipe_of(point)) for point in config.start_points]
    return [config.recipe_of(point) | point for point in (*started, *drawn)]


def work(params: Mapping[str, Any]) -> float:
    """Return a number that grows with what an image costs; equal backbones compare by it."""
    pixels = float(params["size_px"]) ** 2
    if params["backbone"] not in OWN_BACKBONES:
        return pixels
    return pixels * float(params["depth"] * params["width"] ** 2 * params["kernel_size"])


def extremes(config: StudyConfig) -> dict[str, tuple[dict[str, Any], ...]]:
    """Return the cheapest and the dearest point of each backbone; one where all are alike."""
    points = draw_points(config)
    found: dict[str, tuple[dict[str, Any], ...]] = {}
    for name in config.possible_values("backbone"):
        own = [point for point in points if point["backbone"] == name]
        own = sorted(own or [config.recipe | {"backbone": name}], key=work)
        found[name] = tuple(own[:1] + own[-1:] if work(own[0]) < work(own[-1]) else own[-1:])
    return found


def _measured(config: StudyConfig, costs: Costs) -> list[dict[str, Any]]:
    """Return points of the backbones that were measured."""
    return [point for point in draw_points(config) if point["backbone"] in costs]


def epoch_seconds(point: Mapping[str, Any], costs: Costs, images: Images) -> float:
    """Return the seconds of one epoch of a trial; a probe's extraction is not in it."""
    if point.get(TRAINABLE) == "linear_probe":
        return SECONDS_OF_A_HEAD * float(images.num_train * point["passes"] + images.num_val)
    ends = costs[point["backbone"]]
    forward, load = (_between(ends, name, point) for name in ("eval_seconds", "load_seconds"))
    backward = max(0.0, _between(ends, "train_seconds", point) - forward)
    trained = TRAINED_SHARE[point["freeze"]]
    if point["freeze"] == "early_stages":
        trained += SHARE_OF_A_STAGE * (point["trained_stages"] - 1)
    train = forward + load + backward * trained
    return images.num_train * train + images.num_val * forward


def _between(ends: Sequence[StepCost], name: str, point: Mapping[str, Any]) -> float:
    """Return a cost of a point: a power of the work through what was measured at both ends."""
    low, high = float(getattr(ends[0], name)), float(getattr(ends[-1], name))
    least, most, here = work(ends[0].params), work(ends[-1].params), work(point)
    if not low or not high or least == most:
        return high * here / most
    power = math.log(high / low) / math.log(most / least)
    return low * math.pow(here / least, power)


def feature_blocks(points: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Return one point for each set of features that probes would extract."""
    names = ("backbone", "pretrained", "size_px", "augment_strength", "num_views")
    probes = (point for point in points if point.get(TRAINABLE) == "linear_probe")
    return {tuple(point[name] for name in names): point for point in probes}


def _num_extracted(point: Mapping[str, Any], images: Images) -> int:
    views = point["num_views"] if point["augment_strength"] else 0
    return images.num_train * (1 + views) + images.num_val


def extraction_seconds(
    points: Sequence[Mapping[str, Any]], costs: Costs, images: Images, num_trials: int
) -> Span:
    """Return the seconds that probes extract features, all trials together."""
    each = []
    for point in feature_blocks(points).values():
        ends = costs[point["backbone"]]
        per_image = sum(_between(ends, n, point) for n in ("eval_seconds", "load_seconds"))
        each.append(per_image * _num_extracted(point, images))
    each = sorted(each)[-num_trials:]  # the dearest, if not all get a turn
    return Span(0.5 * sum(each), sum(each))


def search_seconds(
    config: StudyConfig,
    costs: Costs,
    images: Images,
    *,
    num_trials: int,
    num_epochs: Span,
    num_slots: int,
) -> Span:
    """Forecast the search.

    Args:
        num_trials: That are left to do.
        num_epochs: That they train, all together.
        num_slots: Trials at once.
    """
    points = _measured(config, costs)
    each = [epoch_seconds(point, costs, images) for point in points]
    mean = sum(each) / len(each)
    extraction = extraction_seconds(points, costs, images, num_trials)
    between = num_trials * SECONDS_BETWEEN_TRIALS
    # The last trial has the machine to itself.
    alone = max(each) * config.budget.max_epochs * (1 - 1 / num_slots)
    low = num_epochs.low * mean + extraction.low + between
    high = num_epochs.high * mean + extraction.high + between
    low_share, high_share = SURER_THAN
    return Span(
        low_share * low / num_slots + SECONDS_TO_START_WORKERS,
        high_share * high / num_slots + alone + SECONDS_TO_START_WORKERS,
    )


def seconds_after_search(
    config: StudyConfig, costs: Costs, images: Images, *, num_slots: int
) -> Span:
    """Forecast confirm, retrain, test and report, whichever configurations win."""
    each = sorted(epoch_seconds(point, costs, images) for point in _measured(config, costs))
    wanted = config.confirm
    runs = (wanted.top_k + 1) * wanted.num_seeds
    retrained = num_retrainings(wanted.top_k + 1, wanted.num_seeds)
    rounds = math.ceil(runs / num_slots) + math.ceil(retrained / num_slots)
    epochs = rounds * config.budget.max_epochs
    low, high = each[len(each) // 4], each[len(each) * 9 // 10]
    fixed = SECONDS_FOR_TEST_AND_REPORT + 2 * SECONDS_TO_START_WORKERS
    return Span(SURER_THAN[0] * epochs * low + fixed / 2, SURER_THAN[1] * epochs * high + fixed)


def disk_bytes(
    config: StudyConfig, costs: Costs, images: Images, *, store_bytes: int, num_slots: int
) -> dict[str, int]:
    """Forecast the largest space that each part of the results takes.

    Args:
        store_bytes: Of the decoded images.
    """
    points = _measured(config, costs)
    largest = max((ends[-1] for ends in costs.values()), key=lambda cost: cost.num_parameters)
    weights = 4 * largest.num_parameters
    # Weights, two moments and an average; the one before goes after the next is written.
    checkpoint = weights * (3 + any(point.get("ema") for point in points))
    blocks = (
        2 * costs[point["backbone"]][-1].num_features * _num_extracted(point, images)
        for point in feature_blocks(points).values()
    )
    found = {
        "images": store_bytes,
        "features": sum(sorted(blocks)[-config.num_trials :]),
        "checkpoints": 2 * checkpoint * num_slots,
        "models": 4 * weights,  # the winner, its export, the default recipe, the runner-up
        "report": BYTES_OF_REPORT,
    }
    return {name: size for name, size in found.items() if size}


def show_span(span: Span) -> str:
    """Return seconds as a person says them: 12 to 35 min."""
    (low, unit), (high, last_unit) = (_in_words(seconds) for seconds in (span.low, span.high))
    if (low, unit) == (high, last_unit):
        return f"about {high} {last_unit}"
    return (
        f"{low} to {high} {last_unit}"
        if unit == last_unit
        else f"{low} {unit} to {high} {last_unit}"
    )


def _in_words(seconds: float) -> tuple[str, str]:
    """Return a rounded number and its unit."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)}", "s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f}", "min"
    return f"{seconds / 3600:.2g}" if seconds < 10 * 3600 else f"{seconds / 3600:.0f}", "h"
