"""How many trials run at once, and with how much memory."""

from __future__ import annotations

import pytest

from search.errors import ResourceError
from search.slots import Slots, fit_memory, memory_of_a_slot, plan_slots
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
