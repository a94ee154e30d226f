"""Where trainings go on a cluster with GPUs on some of its nodes; which nodes are left out."""

from __future__ import annotations

import pickle
import random
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from search.slots import Slots
from search.tune import cluster as cluster_module
from search.tune.cluster import NUM_TRIES, Cluster, Node, NodeShare
from search.tune.places import MODE_ON_CPU, Places, ask_anew
from tests.study_files import load
from trainables.precision import MODES

BOTH = Slots(1, 0.25, 2, beside=2)


class Drawn(Searcher):
    """Hands out trials of these backbones in order, and remembers who ended."""

    def __init__(self, *backbones: str) -> None:
        super().__init__(metric="epoch", mode="max")
        self.waiting = list(backbones)
        self.ended: list[tuple[str, bool]] = []

    def suggest(self, trial_id: str) -> Any:
        if not self.waiting:
            return Searcher.FINISHED
        params = {"backbone": self.waiting.pop(0)}
        return {"trainable": "classifier", "params": params, "on_cpu": False, "mode": "measured"}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.ended.append((trial_id, error))


def draw(places: Places, first: int) -> str:
    """Draw until nothing more is given; return G for each trial on a GPU and C for one beside."""
    kinds = ""
    while isinstance(config := places.suggest(f"{first + len(kinds)}"), dict):
        kinds += "C" if config["on_cpu"] else "G"
    return kinds


def test_light_trials_go_beside_while_there_is_room() -> None:
    drawn = Drawn("small_cnn", "resnet18", "small_cnn", "small_cnn", "small_cnn", "resnet18")
    places = Places(drawn, BOTH, lends_cpus=True)
    assert draw(places, 0) == "CGCG", "the fourth is light, and there is no room beside"
    places.on_trial_complete("0", error=True)
    assert draw(places, 4) == "", "beside there is room, but what is drawn might need a GPU"
    places.on_trial_complete("1")
    assert draw(places, 4) == "CG"
    assert drawn.ended == [("0", True), ("1", False)]
    assert MODE_ON_CPU in MODES


def test_a_trial_keeps_what_was_measured_unless_it_goes_beside() -> None:
    places = Places(Drawn("resnet18", "small_cnn"), BOTH, lends_cpus=True)
    modes = [places.suggest("0")["mode"], places.suggest("1")["mode"]]
    assert modes == ["measured", MODE_ON_CPU]


@pytest.mark.parametrize(("slots", "lends"), [(BOTH, False), (Slots(1, 0, 2), True)])
def test_otherwise_nothing_is_different(slots: Slots, lends: bool) -> None:
    places = Places(Drawn(*["small_cnn"] * 9), slots, lends_cpus=lends)
    assert draw(places, 0) == "GG"


def test_nodes_that_come_and_go_change_how_many_go_where() -> None:
    places = Places(Drawn(*["small_cnn"] * 99), BOTH, lends_cpus=True)
    assert draw(places, 0) == "CCGG"
    places.resize(Slots(1, 0.25, 3, beside=3))
    assert draw(places, 4) == "CG"
    places.resize(Slots(1, 0.25, 0, beside=1))
    assert draw(places, 6) == ""
    for number in (0, 1, 2, 3, 4):
        places.on_trial_complete(f"{number}")
    assert draw(places, 6) == "", "one still runs on the GPU that was lost"
    places.on_trial_complete("5")
    assert draw(places, 6) == "CG"


def test_no_order_of_events_gives_more_than_there_is() -> None:
    rng = random.Random(0)
    for _ in range(200):
        backbones = rng.choices(["small_cnn", "resnet18"], k=60)
        places = Places(Drawn(*backbones), BOTH, lends_cpus=True)
        live: dict[str, bool] = {}
        for number in range(300):
            config = places.suggest(f"{number}")
            if isinstance(config, dict):
                live[f"{number}"] = config["on_cpu"]
                assert not config["on_cpu"] or config["params"]["backbone"] == "small_cnn"
            elif config is None:
                assert sum(not on_cpu for on_cpu in live.values()) == BOTH.count
                ended = rng.choice(sorted(live))
                del live[ended]
                places.on_trial_complete(ended)
            on_gpu = sum(not on_cpu for on_cpu in live.values())
            assert on_gpu <= BOTH.count
            assert len(live) - on_gpu <= BOTH.beside


def test_the_plan_knows_what_is_light_in_a_space() -> None:
    head = "name: a\ndataset: {root: photos}\n"
    text = f"{head}space: {{backbone: {{choice: [small_cnn, resnet18]}}}}\n"
    assert load(text).light_names == ["small_cnn"]
    space = "{backbone: {choice: [resnet18, resnet50]}}"
    probes = f"{head}trainable: linear_probe\nspace: {space}\n"
    assert load(probes).light_names == ["linear_probe"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Two nodes without a GPU and one with: "c", "d" and "g"."""
    rows = [Node("c", "lab1", 2, 0, 0), Node("d", "lab2", 2, 0, 0), Node("g", "big", 4, 1, 0)]
    cluster = Cluster(is_own=False)
    kept = lambda self: [row for row in rows if row.node_id not in self.excluded]  # noqa: E731
    monkeypatch.setattr(Cluster, "nodes", kept)
    monkeypatch.setattr(
        cluster_module.ray,
        "nodes",
        lambda: [{"NodeID": row.node_id, "NodeManagerHostname": row.name} for row in rows],
    )
    return cluster


def test_light_trainings_are_kept_off_nodes_with_a_gpu_as_long_as_there_are_others(
    cluster: Cluster,
) -> None:
    assert cluster.label_selector() == {}
    assert cluster.label_selector(on_cpu=True) == {"ray.io/node-id": "!in(g)"}
    cluster.excluded["c"] = "no room"
    assert cluster.label_selector() == {"ray.io/node-id": "!in(c)"}
    assert cluster.label_selector(on_cpu=True) == {"ray.io/node-id": "!in(c,g)"}
    cluster.excluded["d"] = "no room"
    assert cluster.label_selector(on_cpu=True) == {"ray.io/node-id": "!in(c,d)"}


def test_shares_of_one_size_are_one_to_tune_and_know_the_cluster_of_today(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune pickles what it is given, and hands workers on between trials of equal shares."""
    asked: list[Any] = []

    def ask(bundles: Any, strategy: str, bundle_label_selector: Any) -> SimpleNamespace:
        asked.append(bundle_label_selector)
        return SimpleNamespace()

    monkeypatch.setattr(cluster_module, "placement_group", ask)
    share = cluster.resources(BOTH)
    copy = pickle.loads(pickle.dumps(share))
    light = pickle.loads(pickle.dumps(cluster.resources(BOTH, on_cpu=True)))
    assert share == copy
    assert hash(share) == hash(copy)
    assert share != light
    assert light.required_resources == {"CPU": 1}
    copy.to_placement_group()
    cluster.excluded["c"] = "no room"
    assert cluster.resources(BOTH) == copy
    copy.to_placement_group()
    light.to_placement_group()
    expected = [None, [{"ray.io/node-id": "!in(c)"}], [{"ray.io/node-id": "!in(c,g)"}]]
    assert asked == expected


class Manager:
    """Ray's, as far as it is asked: which groups wait for a place."""

    def __init__(self, *shares: NodeShare) -> None:
        self._request_to_staged_pgs: dict[NodeShare, set[Any]] = {share: set() for share in shares}
        for share in shares:
            self.request_resources(share)
            self.request_resources(share)

    def request_resources(self, share: NodeShare) -> None:
        self._request_to_staged_pgs[share].add(share.to_placement_group())

    def cancel_resource_request(self, share: NodeShare) -> None:
        self._request_to_staged_pgs[share].pop()


class Group:
    selector: dict[str, str]


def test_places_that_wait_where_no_node_is_any_more_are_asked_for_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "placement_group", lambda *a, **k: Group())
    light: Any = cluster.resources(BOTH, on_cpu=True)
    other: Any = cluster.resources(BOTH)
    manager = Manager(light, other)
    waiting = {share: set(groups) for share, groups in manager._request_to_staged_pgs.items()}
    ask_anew(manager)
    assert manager._request_to_staged_pgs == waiting, "nothing has changed"
    gone = [node for node in cluster.nodes() if node.gpus]
    monkeypatch.setattr(Cluster, "nodes", lambda self: gone)
    ask_anew(manager)
    now = manager._request_to_staged_pgs
    assert now[other] == waiting[other]
    assert not now[light] & waiting[light]
    assert [group.selector for group in now[light]] == [{}, {}], "anywhere"


def test_a_node_is_left_out_after_a_few_trainings_that_could_not_begin_there(
    cluster: Cluster,
) -> None:
    said: list[str] = []
    slots = Slots(1, 0, 8)
    for _ in range(NUM_TRIES + 1):
        assert cluster.refuse("c", "no space left", slots, said.append)
    assert said == ["node lab1 is left out: no space left. The others go on without it"]
    assert cluster.excluded == {"c": "no space left"}
    cluster.excluded["d"] = "likewise"
    for _ in range(NUM_TRIES):
        assert not cluster.refuse("g", "no space left", slots, said.append), "there is no other"
    assert "g" not in cluster.excluded
    with_gpu = Slots(1, 0.25, 4)
    del cluster.excluded["d"]
    assert not cluster.refuse("g", "no space left", with_gpu, said.append), "no other has a GPU"
