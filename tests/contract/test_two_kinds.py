"""One study on nodes with a GPU and nodes without: real Ray, GPUs that it only believes in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from search import plan as plan_module
from search.clock import Clock
from search.config import StudyConfig
from search.data.cache import build_cache
from search.data.index import build_index
from search.records import TrialState
from search.results import ResultsFolder
from search.slots import Slots, count_again, lend_cpus, plan_slots
from search.terminal import Terminal
from search.tune.cluster import NUM_TRIES, Cluster
from search.tune.ledger import Ledger
from search.tune.places import MODE_ON_CPU
from search.tune.preflight import Backbone
from search.tune.runner import Runner
from search.tune.session import RaySession
from search.tune.study import open_ledger, search_trials
from search.tune.worker import Request
from tests.images import make_folder
from tests.placed import PlacedSet, notes_in
from tests.study_files import load

SPACE = """
name: kinds
dataset: {root: photos, size_px: 32}
budget: {num_trials: TRIALS, max_epochs: 4, scheduler: none}
search: {sampler: random}
space:
  backbone: {choice: [small_cnn, resnet18], default: resnet18}
  lr: {float: [1.0e-4, 1.0e-2], log: true}
"""
LIMITED = {"object_store_memory": 80_000_000, "include_dashboard": False}
SECONDS = 500.0


@dataclass(frozen=True)
class PlacedRunner(Runner):
    """A study's runner whose trainings only note where they are, once the gate is there."""

    epoch_seconds: float = 0.2
    gate: Path = Path("/")
    gates_gpus: bool = True

    def request(self, number: int, *args: Any, **kwargs: Any) -> Request:
        request = super().request(number, *args, **kwargs)
        own = {"epoch_seconds": self.epoch_seconds, "notes": str(self.results.root / "notes")}
        params = request.params | own | {"gate": str(self.gate), "gates_gpus": self.gates_gpus}
        return replace(request, trainable="placed", params=params)


@dataclass(frozen=True)
class TwoKinds:
    """A head that lends nothing, a node of 5 CPUs and a GPU, one of 2 CPUs without.

    Attributes:
        nodes: Of Ray's, by what they are: "gpu" and "cpu".
    """

    raylets: Any
    cluster: Cluster
    nodes: dict[str, Any]

    def add(self, **options: Any) -> Any:
        return self.raylets.add_node(object_store_memory=80_000_000, **options)

    def runner(self, root: Path, num_trials: int, said: list[str]) -> PlacedRunner:
        config = load(SPACE.replace("TRIALS", str(num_trials)))
        (root / "notes").mkdir(parents=True)
        index = build_index([make_folder(root / "photos", ("a", "b"), 20)])
        cache = build_cache(index, root / "cache", size_px=32, fit="crop", num_workers=1)
        ids = tuple(range(4))
        images = PlacedSet(cache, ids, ids, root / "features", self.cluster.home)
        backbones = {name: Backbone(name, None, 0) for name in config.possible_values("backbone")}
        slots = self.lend(config, plan_slots(1, "auto", "auto", self.cluster.sizes()))
        return PlacedRunner(
            config,
            ResultsFolder(root),
            images,
            backbones,
            slots,
            Clock(SECONDS),
            lambda *_: None,
            said.append,
            said.append,
            cluster=self.cluster,
            count_slots=lambda: self.lend(config, count_again(slots, "auto", self.cluster.sizes())),
        )

    def lend(self, config: StudyConfig, slots: Slots) -> Slots:
        return lend_cpus(slots, "auto", "auto", self.cluster.sizes_up(), config.light_names)[0]


@pytest.fixture
def raylets(tmp_path: Path) -> Iterator[Any]:
    before = dict(os.environ)
    os.environ |= {"XDG_CACHE_HOME": str(tmp_path / "elsewhere"), "PYTHONPATH": str(Path.cwd())}
    raylets: Any = RayCluster(initialize_head=True, head_node_args=LIMITED | {"num_cpus": 0})
    try:
        yield raylets
    finally:
        raylets.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def nodes(raylets: Any) -> dict[str, Any]:
    store = {"object_store_memory": 80_000_000}
    return {
        "gpu": raylets.add_node(num_cpus=5, num_gpus=1, **store),
        "cpu": raylets.add_node(num_cpus=2, **store),
    }


@pytest.fixture
def kinds(raylets: Any, nodes: dict[str, Any]) -> Iterator[TwoKinds]:
    session = RaySession(raylets.address)
    session.start()
    try:
        yield TwoKinds(raylets, session.cluster, nodes)
    finally:
        session.stop()


def most_at_once(notes: list[dict[str, Any]]) -> int:
    return max(sum(o["begin"] <= n["begin"] < o["end"] for o in notes) for n in notes)


def check_all_complete(runner: Runner, num_trials: int) -> Ledger:
    ledger = open_ledger(runner.config, runner.results)
    states = {number: trial.state for number, trial in ledger.trials.items()}
    assert states == dict.fromkeys(range(num_trials), TrialState.COMPLETE)
    return ledger


@pytest.mark.usefixtures("nodes")
def test_the_plan_says_what_goes_where(raylets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(SPACE.replace("TRIALS", "4"))
    slots = plan_module._plan_slots(config, raylets.address, Terminal())
    assert (slots.count, slots.beside) == (4, 2)
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 up (1 × 0 CPU; 1 × 2 CPU; 1 × 5 CPU, 1 GPU)" in shown
    assert "1 without a GPU take small_cnn, 2 at once; all else, " in shown


@pytest.mark.timeout(600)
def test_gpus_take_what_needs_them_and_cpus_what_is_light(kinds: TwoKinds, tmp_path: Path) -> None:
    said: list[str] = []
    runner = kinds.runner(tmp_path / "study", 40, said)
    assert runner.slots == Slots(1, 0.25, 4, most_on_a_node=4, beside=2)
    gate = tmp_path / "gate"  # or GPUs do all, where workers of the other node are late
    during(replace(runner, gate=gate), lambda _: has_begun_beside(runner), gate.touch)
    check_all_complete(runner, 40)
    notes = notes_in(tmp_path / "study" / "notes")
    with_gpu, gpu_node = [note for note in notes if note["gpus"]], kinds.nodes["gpu"].node_id
    without, cpu_node = [note for note in notes if not note["gpus"]], kinds.nodes["cpu"].node_id
    assert {note["node"] for note in with_gpu} == {gpu_node}
    assert {note["node"] for note in without} == {cpu_node}
    assert {note["backbone"] for note in without} == {"small_cnn"}
    assert {note["mode"] for note in without} == {MODE_ON_CPU}
    assert len(without) > 3
    assert most_at_once(with_gpu) <= 4
    assert most_at_once(without) <= 2
    assert len({note["process"] for note in notes}) <= 8, "workers go from trial to trial"
    # On a busy machine the first ones may wait for their workers to start.
    named = [re.findall(r"\d+", text.split(" wait")[0]) for text in said]
    late = [text for text, numbers in zip(said, named, strict=True) if max(map(int, numbers)) > 5]
    assert late == [], "no trial waits that need not"
    points = [trial.params for trial in open_ledger(runner.config, runner.results).finished()]
    light = [{"backbone": "small_cnn", "lr": point["lr"]} for point in points[:6]]
    requests = [runner.request(n, point, 1000 + n) for n, point in enumerate(light)]
    for file in (tmp_path / "study" / "notes").iterdir():
        file.unlink()
    runner.run_requests(
        "confirm", requests, tmp_path / "confirm", ("val_accuracy", "maximize"), bool
    )
    again = notes_in(tmp_path / "study" / "notes")
    assert len(again) == 6
    assert all(note["gpus"] for note in again), "what is compared is trained alike"


def has_begun_beside(runner: Runner) -> bool:
    """Whether both CPUs of the node without a GPU have a training."""
    begun = notes_in(runner.results.root / "notes", "begun")
    return sum(not note["gpus"] for note in begun) >= 2


def during(runner: Runner, ready: Callable[[Ledger], bool], act: Callable[[], object]) -> None:
    """Search, and do something to the cluster as soon as the search is ready for it.

    In the search's own thread: Ray starts nodes in no other.
    """
    acted: list[object] = []

    def on_change(ledger: Ledger, event: str, number: int) -> None:
        if not acted and ready(ledger):
            acted.append(True)
            act()
        runner.on_change(ledger, event, number)

    search_trials(replace(runner, on_change=on_change))
    assert acted


@pytest.mark.timeout(600)
def test_a_light_trial_whose_node_is_lost_goes_on_where_there_is_room(
    kinds: TwoKinds, tmp_path: Path
) -> None:
    said: list[str] = []
    gate = tmp_path / "gate"

    def on_change(ledger: Ledger, event: str, number: int) -> None:
        if event == "retry":  # workers outlive their node by a moment, in which they would end
            gate.touch()

    runner = kinds.runner(tmp_path / "study", 16, said)
    runner = replace(runner, gate=gate, on_change=on_change)

    def lose() -> None:
        kinds.raylets.remove_node(kinds.nodes["cpu"], False)

    during(runner, lambda _: has_begun_beside(runner), lose)
    ledger = check_all_complete(runner, 16)
    assert any("was lost, its trainings go on elsewhere" in text for text in said), said
    assert sum(trial.num_retries for trial in ledger.trials.values()) >= 1
    notes = notes_in(tmp_path / "study" / "notes")
    moved = [n for n in notes if not n["gpus"] and n["node"] == kinds.nodes["gpu"].node_id]
    assert moved, "without a GPU as they began, on a CPU that was to spare"


@pytest.mark.timeout(600)
def test_a_node_that_comes_late_and_cannot_take_the_images_is_left_out(
    kinds: TwoKinds, tmp_path: Path
) -> None:
    said: list[str] = []
    gate = tmp_path / "gate"

    def say(text: str) -> None:
        said.append(text)
        if "is left out: " in text:
            gate.touch()

    runner = kinds.runner(tmp_path / "study", 40, said)
    # However slow the machine, light trainings last until the node has failed to begin its own.
    runner = replace(runner, say=say, notify=say, gate=gate, gates_gpus=False)
    (tmp_path / "no folder").write_text("a file where a folder should be")

    def add() -> None:
        kinds.add(num_cpus=3, env_vars={"XDG_CACHE_HOME": str(tmp_path / "no folder")})

    during(runner, lambda ledger: any(t.epochs for t in ledger.trials.values()), add)
    check_all_complete(runner, 40)
    left_out = [text for text in said if "is left out: " in text]
    assert len(left_out) == 1, said
    assert "no folder" in left_out[0]
    assert not any("was lost" in text for text in said)
    assert sum(kinds.cluster.refused.values()) >= NUM_TRIES
    (bad,) = kinds.cluster.excluded
    assert bad not in {note["node"] for note in notes_in(tmp_path / "study" / "notes")}
    assert bad in {row["NodeID"] for row in ray.nodes() if row["Alive"]}
