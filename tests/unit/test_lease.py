"""One run at a time sends its results to a place; a dead one's place is free."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from search import lease as lease_module
from search import mirroring
from search.config import StudyConfig
from search.errors import ResultsError
from search.lease import NOTE, Lease, TakenError
from search.mirror import Mirror
from search.mirroring import Mirroring
from search.storage import Storage
from tests.mirrored import brought, kept, opened, write
from tests.unit.test_mirroring import Spoken, until

WHO = r"a run on lab1 \(process \d+, since 20\d\d-.*\)"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second here stands for half a minute there."""
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "SILENT_SECONDS", 6.0)


class Machines:
    """Where the next lease is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.said: list[str] = []

    def lease(self, host: str, url: str) -> Lease:
        self._patch.setattr(lease_module, "_host", lambda: host)
        return Lease(Storage(url), self.said.append)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(monkeypatch)


def switch_off(lease: Lease) -> None:
    """End a lease as a power cut does: no more beats, and the note stays."""
    lease._over.set()
    time.sleep(0.3)


def note(url: str) -> dict[str, Any]:
    return dict(json.loads(Storage(url).read(NOTE)))


def test_a_second_machine_is_refused_and_told_who_is_there(url: str, machines: Machines) -> None:
    first = machines.lease("lab1", url)
    first.claim()
    second = machines.lease("lab2", url)
    with pytest.raises(TakenError, match=f"must be used by one run at a time, got {WHO}. Wait"):
        second.claim()
    assert len(machines.said) == 1, "it had to wait for a sign of life"
    assert machines.said[0].startswith("a run on lab1 (process ")
    with pytest.raises(TakenError, match="if its machine is dead, the same command takes over"):
        second.hold()
    first.hold()
    assert note(url)["host"] == "lab1"
    second.release()
    assert note(url)["host"] == "lab1", "what is not its own it leaves alone"
    first.release()
    assert NOTE not in Storage(url).list_files()
    machines.lease("lab2", url).look()


def test_a_dead_machines_place_is_taken_over_and_it_notices_should_it_wake_up(
    url: str, machines: Machines
) -> None:
    first = machines.lease("lab1", url)
    first.claim()
    switch_off(first)
    begin = time.monotonic()
    second = machines.lease("lab2", url)
    second.claim()
    assert 2 < time.monotonic() - begin < 60
    assert note(url)["host"] == "lab2"
    with pytest.raises(TakenError, match="got a run on lab2"):
        first.hold()
    assert note(url)["host"] == "lab2"
    assert first.lost_to.startswith("a run on lab2")
    second.release()


def test_by_the_storages_clock_a_long_dead_machine_costs_no_wait(
    tmp_path: Path, machines: Machines
) -> None:
    import os

    url = str(tmp_path / "mount")
    first = machines.lease("lab1", url)
    first.claim()
    switch_off(first)
    long_ago = time.time() - 1000
    os.utime(tmp_path / "mount" / NOTE, (long_ago, long_ago))
    machines.lease("lab2", url).look()
    assert machines.said == []


def test_of_its_own_machine_it_is_known_who_lives(tmp_path: Path, machines: Machines) -> None:
    url = str(tmp_path / "mount")
    first = machines.lease("lab1", url)
    first.claim()
    with pytest.raises(TakenError):
        machines.lease("lab1", url).look()
    switch_off(first)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for other in ({"pid": ended.pid}, {"started": 1.0}):
        Storage(url).write(NOTE, json.dumps(note(url) | other).encode())
        machines.lease("lab1", url).look()
    assert machines.said == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": "lab1"}'])
def test_a_note_that_says_nothing_holds_nobody_off(
    tmp_path: Path, machines: Machines, content: bytes
) -> None:
    url = str(tmp_path / "mount")
    Storage(url).write(NOTE, content)
    first = machines.lease("lab1", url)
    first.claim()
    assert note(url)["host"] == "lab1"
    first.release()


def test_the_note_is_no_part_of_the_results(
    config: StudyConfig, root: Path, url: str, machines: Machines, tmp_path: Path
) -> None:
    first = machines.lease("lab1", url)
    first.claim()
    mirror = Mirror(root, Storage(url))  # a place with a note alone is empty
    mirror.push()
    assert NOTE in Storage(url).list_files()
    assert brought(url, tmp_path / "head") == kept(root)
    first.release()
    opened(config, root, url)


def test_a_second_study_does_not_begin(
    config: StudyConfig, root: Path, tmp_path: Path, machines: Machines
) -> None:
    url = str(tmp_path / "mount")
    first = machines.lease("lab1", url)
    first.claim()
    machines.lease("lab2", url)
    with pytest.raises(TakenError, match=WHO) as caught:
        opened(config, root, url)
    assert caught.value.exit_code == 2
    begun: list[int] = []
    with (
        pytest.raises(TakenError, match=WHO),
        Mirroring(Mirror(root, Storage(url)), Spoken().terminal).running(),
    ):
        begun.append(1)
    assert not begun
    first.release()


def test_a_run_that_was_thought_dead_sends_nothing_more(
    root: Path, tmp_path: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "PUSH_SECONDS", 0.02)
    url, spoken = str(tmp_path / "mount"), Spoken()
    storage = Storage(url)
    machines.lease("lab1", url)

    def study() -> None:
        with Mirroring(Mirror(root, Storage(url)), spoken.terminal).running():
            until(lambda: ".mirror.json" in storage.list_files())
            # As it would be had this machine slept for two minutes.
            storage.write(NOTE, json.dumps(note(url) | {"host": "lab2", "run": "other"}).encode())
            until(lambda: bool(spoken.lines))
            write(root, "summary.json", "of the one that slept")

    with pytest.raises(ResultsError, match="was taken over, got a run on lab2") as caught:
        study()
    assert str(root) in str(caught.value)
    assert len(spoken.lines) == 1
    assert "The study goes on without a copy" in spoken.lines[0]
    assert "summary.json" not in storage.list_files()
    assert note(url)["host"] == "lab2"
