"""What one trial gets, and what is refused before anything starts."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from search.errors import ResourceError, ResultsError
from search.space import Choice, Fixed, Float, Int, Space
from search.tune import machine, session
from search.tune.machine import check_machine
from search.tune.preflight import (
    Backbone,
    memory_of_a_slot,
    missing_weights_warning,
    plan_slots,
)


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
    slots = plan_slots(*wanted, *have)
    assert (slots.gpus, slots.count) == expected
    assert slots.num_threads == max(1, int(wanted[0]))


@pytest.mark.parametrize(("cpus", "gpus"), [(4, 0), (1, 2), (1, 0.75)])
def test_a_trial_that_never_fits_is_an_error_not_pending_for_ever(cpus: float, gpus: float) -> None:
    with pytest.raises(ResourceError, match="must fit the cluster"):
        plan_slots(cpus, gpus, "auto", 2, 0 if gpus == 0.75 else 1)


def test_a_slot_has_its_share_of_memory_but_for_the_libraries() -> None:
    assert memory_of_a_slot(16e9, 2) == 7_100_000_000
    assert memory_of_a_slot(1e9, 4) == 300_000_000  # little enough to train in small pieces
    assert memory_of_a_slot(0, 2) is None  # a cluster that does not say: no limit


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(ResultsError, match=r"must have .* of free disk, got .* Free some space"):
        check_machine(1, "auto", tmp_path, "local")


def test_a_cluster_is_not_judged_by_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_machine(4096, 64, tmp_path, address)


def test_possible_values() -> None:
    space = Space((Choice("backbone", ("a", "b")), Fixed("pretrained", True), Float("lr", 0.1, 1)))
    assert space.possible_values("backbone", "c") == ("a", "b")
    assert space.possible_values("pretrained", "auto") == (True,)
    assert space.possible_values("freeze", "none") == ("none",)
    sizes = Int("size_px", 32, 96, step=32, when={"backbone": ("a",)})
    space = Space((Choice("backbone", ("a", "b")), sizes))
    assert space.possible_values("size_px", 128) == (32, 64, 96, 128)  # inactive: the default
    assert space.possible_values("size_px", 64) == (32, 64, 96)


def test_backbones_without_weights_are_named_unless_none_were_wanted() -> None:
    found = (
        Backbone("resnet18", None, 1),
        Backbone("vgg16", "w", 1),
        Backbone("small_cnn", None, 1),
    )
    assert "for resnet18:" in missing_weights_warning(found, ("auto",))
    assert missing_weights_warning(found, (False,)) == ""
    assert missing_weights_warning(found[1:], ("auto",)) == ""


def test_an_interpreter_in_a_folder_with_a_space_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/My Projects/.venv/bin/python")
    assert session._runtime_env() == {"py_executable": "'/home/me/My Projects/.venv/bin/python'"}
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert session._runtime_env() is None
