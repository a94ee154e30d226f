"""A trial that waits for its worker is named, with what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from search.slots import Slots
from search.tune import pending
from search.tune.pending import PendingWatch, describe_waiting, describe_waiting_beside

SLOTS = Slots(2, 0.5, 4)


@dataclass
class FakeTrial:
    """As much of Ray's trial as is looked at."""

    trial_id: str
    status: str = "PENDING"
    config: dict[str, Any] = field(default_factory=lambda: {"number": 7})


@pytest.mark.parametrize(
    ("free", "total", "reason"),
    [
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, "Other work holds the rest"),
        ({"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0}, "Other work holds the rest"),
        ({"CPU": 8.0}, {"CPU": 8.0}, "a node has left it"),
        ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, "no single node has all of it"),
        # All that is taken is held by two workers of this study that have not started yet.
        ({"CPU": 0.0}, {"CPU": 4.0, "GPU": 1.0}, "The worker is starting"),
    ],
)
def test_the_reason_follows_from_what_is_free(
    free: dict[str, float], total: dict[str, float], reason: str
) -> None:
    text = describe_waiting(SLOTS, 2, free, total, 2)
    assert text.startswith("for a worker with 2 CPU and 0.5 GPU; free now: ")
    assert f"{free['CPU']:g} of {total['CPU']:g} CPU" in text
    assert "(2 nodes)" in text
    assert reason in text


def test_a_machine_that_is_to_come_is_no_machine_that_was_lost() -> None:
    text = describe_waiting(SLOTS, 2, {}, {}, 1, may_grow=True)
    assert "free now: 0 of 0 CPU, 0 of 0 GPU (1 node). The autoscaler has been asked" in text
    assert "has left" not in text


def test_a_light_trial_waits_for_a_machine_without_a_gpu() -> None:
    text = describe_waiting_beside(2, 3)
    assert text.startswith(
        "for a worker with 2 CPU on a machine without a GPU, of 3 up. The worker"
    )
    assert "the same command give it a GPU instead" in describe_waiting_beside(2, 0)


def test_a_wait_is_told_once_and_the_next_one_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pending.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        pending, "explain_waiting", lambda slots, num_own, may_grow: f"for {num_own}"
    )
    said: list[str] = []
    watch, trial = PendingWatch(SLOTS, said.append), FakeTrial("a")
    running = FakeTrial("b", "RUNNING", {"number": 3})

    def look(seconds: float) -> list[str]:
        now[0] += seconds
        watch.on_step_end(0, [trial, running])  # type: ignore[list-item]
        return said

    assert look(0) == look(20) == [], "a worker takes some seconds to start"
    assert look(20) == ["trial 7 waits for 2"]
    assert look(60) == ["trial 7 waits for 2"]
    trial.status = "RUNNING"
    assert look(60) == ["trial 7 waits for 2"]
    trial.status = "PENDING"
    assert look(5) == ["trial 7 waits for 2"]
    assert look(40) == ["trial 7 waits for 2"] * 2


def test_trainings_after_the_search_are_counted_not_numbered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(pending.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        pending, "explain_waiting", lambda slots, num_own, may_grow: f"for {num_own}"
    )
    said: list[str] = []
    watch = PendingWatch(SLOTS, said.append, numbered=False)
    for trials in ([FakeTrial("a")], [FakeTrial("b"), FakeTrial("c")]):
        for _ in range(2):
            watch.on_step_end(0, trials)  # type: ignore[arg-type]
            now[0] += 40
    assert said == ["a training waits for 1", "2 trainings wait for 2"]
