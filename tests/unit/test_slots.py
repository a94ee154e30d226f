"""How many trials run at once, and with how much memory."""

from __future__ import annotations

import pytest

from search.errors import ResourceError
from search.slots import (
    Slots,
    count_again,
    fit_memory,
    is_light,
    lend_cpus,
    light_names,
    memory_of_a_slot,
    plan_slots,
)
from trainables.contract import StepCost


def cost(fixed_bytes: int, bytes_per_image: int) -> StepCost:
    params = {"backbone": "net", "size_px": 224}
    return StepCost(params, 0.01, 0.003, fixed_bytes, bytes_per_image, 25_000_000, 512)


@pytest.mark.parametrize(
    ("wanted", "have", "expected"),
    [
        ((1, "auto", "auto"), (2, 0), (0, 2)),
        ((1, "auto", 1), (8, 0), (0, 1)),
        ((0.5, "auto", "auto"), (2, 0), (0, 4)),
        ((1, "auto", "auto"), (16, 1), (0.25, 4)),  # at most four trials share a GPU
        ((8, "auto", "auto"), (16, 1), (0.5, 2)),
        ((4, "auto", "auto"), (8, 4), (1, 2)),
        ((1, 0.4, "auto"), (16, 2), (0.4, 4)),  # two trials of 0.4 a GPU, not five in all
        ((1, 2, "auto"), (16, 8), (2, 4)),
        ((1, 0, "auto"), (4, 8), (0, 4)),
    ],
)
def test_slots(
    wanted: tuple[float, float | str, int | str],
    have: tuple[float, float],
    expected: tuple[float, int],
) -> None:
    slots = plan_slots(*wanted, [have])
    assert (slots.gpus, slots.count) == expected
    assert slots.num_threads == max(1, int(wanted[0]))


@pytest.mark.parametrize(("cpus", "gpus"), [(4, 0), (1, 2), (1, 0.75)])
def test_a_trial_that_never_fits_is_an_error_not_pending_for_ever(cpus: float, gpus: float) -> None:
    with pytest.raises(ResourceError, match="must fit this machine"):
        plan_slots(cpus, gpus, "auto", [(2, 0 if gpus == 0.75 else 1)])


def test_a_trial_runs_on_one_node() -> None:
    """Three desktops of six CPUs hold three trials of four, though they have eighteen in all."""
    slots = plan_slots(4, 0, "auto", [(6, 0), (6, 0), (6, 0)])
    assert slots.count == 3
    assert slots.merged() == Slots(4, 0, 1), "a training alone has one node's slots, not all"
    assert plan_slots(2, 0, "auto", [(0, 0), (6, 0), (2, 0)]).merged().cpus == 6
    assert plan_slots(1, "auto", "auto", [(4, 0), (4, 1)]).count == 4, "where the GPU is"
    with pytest.raises(ResourceError, match="must fit one of 2 nodes"):
        plan_slots(4, 0, "auto", [(3, 0), (3, 0)])


def test_a_slot_has_its_share_of_memory_but_for_the_libraries() -> None:
    assert memory_of_a_slot(16e9, 2) == 7_100_000_000
    assert memory_of_a_slot(1e9, 4) == 300_000_000  # little enough to train in small pieces
    assert memory_of_a_slot(0, 2) is None  # a cluster that does not say: no limit


@pytest.mark.parametrize(
    ("fixed_bytes", "bytes_per_image", "count"),
    [
        (10**8, 10**7, 4),
        (10**9, 10**8, 4),  # 1.8 GB for eight images: each of four has 3.1 GB
        (3 * 10**9, 10**8, 3),
        (10**9, 10**9, 1),  # two images at once are enough for the last slot
    ],
)
def test_slots_are_given_up_for_memory(fixed_bytes: int, bytes_per_image: int, count: int) -> None:
    costs = {"small": cost(1000, 10), "large": cost(fixed_bytes, bytes_per_image)}
    slots, text = fit_memory(Slots(1, 0, 4), costs, 16e9)
    assert slots == Slots(1, 0, count, memory_of_a_slot(16e9, count))
    assert bool(text) == (count < 4)
    if text:
        assert text.startswith(f"{count} instead of 4 trials at once: large needs ")
        assert "16.0 GB in all" in text


def test_a_network_that_no_memory_holds_is_an_error_before_the_search() -> None:
    with pytest.raises(ResourceError, match=r"a trial of large .* needs 25\.9 GB .* got 16\.0 GB"):
        fit_memory(Slots(1, 0, 2), {"large": cost(10**9, 8 * 10**9)}, 16e9)


def test_memory_is_no_matter_where_it_is_not_known_or_a_gpus() -> None:
    costs = {"large": cost(10**12, 10**12)}
    assert fit_memory(Slots(1, 0, 2), costs, 0) == (Slots(1, 0, 2), "")
    assert fit_memory(Slots(1, 1, 2), costs, 16e9)[0].count == 2
    assert fit_memory(Slots(1, 0, 2), {}, 16e9) == (Slots(1, 0, 2, 7_100_000_000), "")


LIGHT = ["linear_probe", "small_cnn"]
TWO_KINDS = [(4.0, 1.0), (2.0, 0.0), (0.0, 0.0), (3.0, 0.0)]
"""A node with a GPU, two without, and a head that lends nothing."""


@pytest.mark.parametrize(
    ("trainable", "backbone", "light"),
    [
        ("linear_probe", "convnext_large", True),
        ("classifier", "small_cnn", True),
        ("classifier", "separable_cnn", True),
        ("classifier", "resnet18", False),
    ],
)
def test_what_a_cpu_can_take_off_a_gpu(trainable: str, backbone: str, light: bool) -> None:
    assert is_light(trainable, backbone) is light


def test_what_is_light_in_a_space() -> None:
    backbones = ("small_cnn", "resnet18")
    assert light_names(("classifier",), backbones) == ["small_cnn"]
    assert light_names(("linear_probe", "classifier"), backbones) == LIGHT
    assert light_names(("linear_probe",), backbones) == ["linear_probe"], "it trains no CNN"
    assert light_names(("classifier",), ("resnet18",)) == []


def test_nodes_without_a_gpu_take_light_trials_beside() -> None:
    slots, text = lend_cpus(
        plan_slots(1, "auto", "auto", TWO_KINDS), "auto", "auto", TWO_KINDS, LIGHT
    )
    assert (slots.count, slots.beside, slots.at_once, slots.gpus) == (4, 5, 9, 0.25)
    assert text == (
        "2 without a GPU take linear_probe, small_cnn, 5 at once; all else, and light trials when "
        "they are full, 0.25 of a GPU each, 4 at once"
    )
    assert slots.merged().beside == 0
    slots, _ = fit_memory(slots, {}, 18e9)
    assert slots.memory_bytes == memory_of_a_slot(18e9, 9), "they share the memory of all nodes"


@pytest.mark.parametrize(
    "nodes", [[(4.0, 1.0)], [(4.0, 1.0), (8.0, 2.0)], [(2.0, 0.0), (4.0, 0.0)]]
)
def test_where_all_nodes_are_alike_every_trial_is_treated_alike(
    nodes: list[tuple[float, float]],
) -> None:
    """One GPU trains a small CNN faster than any CPU beside it, so there it may."""
    slots = plan_slots(1, "auto", "auto", nodes)
    assert lend_cpus(slots, "auto", "auto", nodes, LIGHT) == (slots, "")


@pytest.mark.parametrize(
    ("cpus", "gpus", "most", "light", "beside", "reason"),
    [
        (1, 0.5, "auto", LIGHT, 0, "resources.gpus is for every trial"),
        (1, "auto", "auto", [], 0, "no trial of this space is"),
        (1, "auto", 4, LIGHT, 0, "resources.max_concurrent leaves them no trial"),
        (1, "auto", 6, LIGHT, 2, "take linear_probe, small_cnn, 2 at once"),
        (3, "auto", "auto", LIGHT, 1, "1 without a GPU take"),
        (4, "auto", "auto", LIGHT, 0, ""),  # no node without a GPU has room
        (1, 0, "auto", LIGHT, 0, ""),  # the user wants no GPU: all nodes train
    ],
)
def test_what_keeps_nodes_without_a_gpu_idle_is_said(
    cpus: float, gpus: float | str, most: int | str, light: list[str], beside: int, reason: str
) -> None:
    planned = plan_slots(cpus, gpus, most, TWO_KINDS)
    slots, text = lend_cpus(planned, gpus, most, TWO_KINDS, light)
    assert slots.beside == beside
    assert reason in text
    assert bool(text) == bool(reason)
    assert slots.count == planned.count


def test_nodes_come_and_go_and_a_trial_keeps_its_share() -> None:
    slots = plan_slots(1, "auto", "auto", [(4, 1), (2, 0)])
    assert (slots.gpus, slots.count) == (0.25, 4)
    assert count_again(slots, "auto", [(4, 1), (8, 2), (2, 0)]).count == 12
    assert count_again(slots, 6, [(4, 1), (8, 2), (2, 0)]).count == 6
    gone = count_again(slots, "auto", [(2, 0)])
    assert (gone.count, gone.gpus) == (0, 0.25)
    assert fit_memory(gone, {}, 4e9) == (gone, ""), "no division by nothing"
    lent, _ = lend_cpus(gone, "auto", "auto", [(2, 0)], LIGHT)
    assert (lent.count, lent.beside) == (0, 2), "light trials go on"
