"""Time and disk of a study, from what a probe measured."""

from __future__ import annotations

import pytest

from search.config import StudyConfig
from search.forecast import (
    Costs,
    Images,
    Span,
    disk_bytes,
    draw_points,
    epoch_seconds,
    epochs_span,
    extremes,
    search_seconds,
    seconds_after_search,
    show_span,
    work,
)
from tests.study_files import MINIMAL, load
from trainables.contract import StepCost

SPACE = """
name: mine
dataset: {root: data/mine, size_px: 64}
budget: {num_trials: 9, max_epochs: 9, min_epochs: 1}
space:
  backbone: {choice: [small_cnn, resnet18]}
  width: {choice: [8, 32], when: {backbone: small_cnn}}
  depth: {value: 3, when: {backbone: small_cnn}}
  size_px: {choice: [32, 64]}
  freeze: {choice: [none, backbone], when: {backbone: resnet18}}
  ema: {choice: [0.0, 0.99]}
"""
PROBES = """
name: mine
dataset: {root: data/mine, size_px: 64}
trainable: [linear_probe, classifier]
budget: {num_trials: 9, max_epochs: 9, min_epochs: 1}
space:
  backbone: resnet18
  augment_strength: {choice: [0.0, 0.5]}
  num_views: {value: 3, when: {trainable: linear_probe, augment_strength: 0.5}}
"""
IMAGES = Images(1000, 200)


def cost(backbone: str, width: int, size_px: int, seconds: float) -> StepCost:
    params = {"backbone": backbone, "size_px": size_px}
    params |= {"width": width, "depth": 3, "kernel_size": 3}
    return StepCost(params, 3 * seconds, seconds, 1000, 100, 1_000_000, 512, seconds / 10)


COSTS: Costs = {
    "small_cnn": (cost("small_cnn", 8, 32, 1e-4), cost("small_cnn", 32, 64, 64e-4)),
    "resnet18": (cost("resnet18", 32, 32, 4e-3), cost("resnet18", 32, 64, 16e-3)),
}


def forecast(config: StudyConfig, num_slots: int, costs: Costs = COSTS) -> Span:
    epochs = epochs_span(config.budget, config.num_trials)
    return search_seconds(
        config,
        costs,
        IMAGES,
        num_trials=config.num_trials,
        num_epochs=epochs,
        num_slots=num_slots,
    )


def test_the_extremes_are_points_of_the_space() -> None:
    config = load(SPACE)
    ends = extremes(config)
    assert [(p["width"], p["size_px"]) for p in ends["small_cnn"]] == [(8, 32), (32, 64)]
    assert [p["size_px"] for p in ends["resnet18"]] == [32, 64]
    assert [len(points) for points in extremes(load(MINIMAL)).values()] == [1]
    points = draw_points(config)
    assert points == draw_points(config), "the same seed draws the same"
    assert points[0] == config.recipe | {"size_px": 64, "ema": 0.0, **points[0]}
    for point in points[1:]:
        inside = {p.name: point[p.name] for p in config.search_space.parameters if not p.when}
        assert all(config.search_space.is_active(name, point) for name in inside)


def test_an_epoch_costs_what_was_measured_at_both_ends() -> None:
    recipe = load(SPACE).recipe | {"kernel_size": 3}
    small = recipe | {"backbone": "small_cnn", "depth": 3}
    for width, size_px, seconds in ((8, 32, 1e-4), (32, 64, 64e-4)):
        expected = 1000 * (3 + 0.1) * seconds + 200 * seconds
        point = small | {"width": width, "size_px": size_px}
        assert epoch_seconds(point, COSTS, IMAGES) == pytest.approx(expected)
    between = small | {"width": 16, "size_px": 64}
    assert work(small | {"width": 8, "size_px": 32}) < work(between)
    assert 1e-4 < epoch_seconds(between, COSTS, IMAGES) / 3300 < 64e-4
    resnet = recipe | {"backbone": "resnet18", "size_px": 64}
    whole = epoch_seconds(resnet, COSTS, IMAGES)
    assert epoch_seconds(resnet | {"freeze": "backbone"}, COSTS, IMAGES) < whole / 2


def test_epochs_follow_from_the_scheduler() -> None:
    budget = "budget={num_trials: 9, max_epochs: 9, min_epochs: 1%s}"
    asha = epochs_span(load(SPACE).budget, 9)
    assert 9 + 3 * 2 + 1 * 6 <= asha.low < asha.high < 81
    none = epochs_span(load(SPACE, budget % ", scheduler: none").budget, 9)
    assert none == Span(81, 81)
    capped = epochs_span(load(SPACE, budget % ", total_epochs: 20").budget, 9)
    assert capped == Span(20, 29)
    assert epochs_span(load(SPACE).budget, 0) == Span(0, 0)


def test_more_slots_and_fewer_trials_take_less_time() -> None:
    config = load(SPACE)
    one, two = forecast(config, 1), forecast(config, 2)
    assert 0 < two.low < one.low < one.high
    assert two.high < one.high
    assert forecast(load(SPACE, "budget.num_trials=3"), 1).high < one.high
    after = seconds_after_search(config, COSTS, IMAGES, num_slots=2)
    assert 0 < after.low < after.high
    only = {"small_cnn": COSTS["small_cnn"]}  # what was not measured is left out
    assert forecast(config, 1, only).high < one.high


def test_probes_cost_their_extraction_once() -> None:
    config = load(PROBES)
    probe = next(p for p in draw_points(config) if p["trainable"] == "linear_probe")
    trained = next(p for p in draw_points(config) if p["trainable"] == "classifier")
    ends = {"resnet18": COSTS["resnet18"][1:]}
    assert epoch_seconds(probe, ends, IMAGES) < epoch_seconds(trained, ends, IMAGES) / 50
    parts = disk_bytes(config, ends, IMAGES, store_bytes=7, num_slots=2)
    clean, views = 1200, 1000 * 4 + 200
    assert parts["features"] == 2 * 512 * (clean + views)
    assert parts["images"] == 7


def test_checkpoints_hold_moments_and_average_of_every_slot() -> None:
    parts = disk_bytes(load(SPACE), COSTS, IMAGES, store_bytes=0, num_slots=2)
    assert parts["checkpoints"] == 2 * 2 * (1 + 2 + 1) * 4_000_000
    assert parts["models"] == 4 * 4_000_000
    assert "features" not in parts
    assert "images" not in parts


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Span(1, 2), "about 5 s"),
        (Span(31, 62), "30 to 60 s"),
        (Span(40, 130), "40 s to 2 min"),
        (Span(721, 2100), "12 to 35 min"),
        (Span(3000, 9000), "50 min to 2.5 h"),
        (Span(40 * 3600, 90 * 3600), "40 to 90 h"),
    ],
)
def test_spans_in_words(span: Span, text: str) -> None:
    assert show_span(span) == text
