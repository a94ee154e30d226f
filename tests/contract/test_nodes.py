"""A training on another node than the study's files: real Ray, two of its servers, one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from ray.cluster_utils import Cluster as RayCluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.data.cache import build_cache
from search.data.index import build_index
from search.data.store import open_images
from search.records import ImageCache
from search.results import CHECKPOINT
from search.slots import Slots, plan_slots
from search.tune import cluster as cluster_module
from search.tune import home as home_module
from search.tune.checkpoints import Checkpoints
from search.tune.cluster import Cluster
from search.tune.node_files import file_here, images_here
from tests.images import make_folder

SMALL_PIECE = 5000


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two nodes: this one, which lends no CPUs, and another; yields the other's cache folder."""
    cache = tmp_path_factory.mktemp("elsewhere")
    before = dict(os.environ)
    os.environ |= {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(Path.cwd())}
    given = {"object_store_memory": 80_000_000, "include_dashboard": False}
    nodes = RayCluster(initialize_head=True, head_node_args={"num_cpus": 0, **given})
    try:
        nodes.add_node(num_cpus=2, object_store_memory=80_000_000)
        ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
        yield cache / "seed-search"
    finally:
        ray.shutdown()
        nodes.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def cluster(elsewhere: Path) -> Cluster:
    return Cluster.joined()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    folder = tmp_path_factory.mktemp("photos")
    index = build_index([make_folder(folder / "photos", ("a", "b"), 60)])
    return build_cache(index, folder / "cache", size_px=32, fit="crop", num_workers=2)


def there(cluster: Cluster, function: Any, *args: Any) -> Any:
    """Run a function on the node that is not this one."""
    (node,) = [n for n in cluster.nodes() if n.node_id != cluster.home.node_id]
    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    job: Any = ray.remote(function)
    return ray.get(job.options(num_cpus=0, scheduling_strategy=strategy).remote(*args), timeout=120)


def test_images_arrive_whole_and_once(
    cluster: Cluster, images: ImageCache, elsewhere: Path
) -> None:
    def fetch(cache: ImageCache, home: Any) -> tuple[ImageCache, float]:
        home_module.PIECE_BYTES = SMALL_PIECE
        here = images_here(cache, home)
        return here, (here.folder / "meta.json").stat().st_mtime

    assert images_here(images, cluster.home) is images, "nothing is copied where the files are"
    here, written = there(cluster, fetch, images, cluster.home)
    assert here.folder.parent == elsewhere / "images"
    (pixels, labels), (mine, my_labels) = open_images(here), open_images(images)
    assert np.array_equal(labels, my_labels)
    assert all(np.array_equal(pixels[k], mine[k]) for k in range(len(mine)))
    assert len(mine) == len(pixels) > 10
    assert there(cluster, fetch, images, cluster.home) == (here, written), "it is there already"
    assert sorted(p.name for p in here.folder.parent.iterdir()) == [
        here.folder.name, f"{here.folder.name}.lock",
    ]  # fmt: skip


def test_images_that_were_damaged_on_the_way_are_refused(
    cluster: Cluster, images: ImageCache, elsewhere: Path
) -> None:
    """The disk there gives other bytes back than it was given."""

    def fetch(cache: ImageCache, home: Any) -> str:
        from search.tune import node_files

        node_files.user_cache = lambda: elsewhere / "other"  # type: ignore[assignment]
        fetch_whole = type(home)._fetch

        def fetch_badly(self: Any, source: Path, target: Path, num_bytes: int) -> None:
            fetch_whole(self, source, target, num_bytes)
            if target.name == "images.npy":
                with target.open("r+b") as file:
                    file.seek(9000)
                    file.write(b"damage")

        type(home)._fetch = fetch_badly  # type: ignore[method-assign]
        try:
            images_here(cache, home)
        except OSError as error:
            return str(error)
        finally:
            type(home)._fetch = fetch_whole  # type: ignore[method-assign]
        return ""

    message = there(cluster, fetch, images, cluster.home)
    assert message.endswith("the images arrived damaged")
    left = [p for p in (elsewhere / "other" / "images").iterdir() if p.is_dir()]
    assert left == []


def test_weights_arrive_by_their_name(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "resnet18.safetensors"
    file.write_bytes(os.urandom(3 * SMALL_PIECE + 7))
    copy = there(cluster, file_here, file, cluster.home)
    assert copy != file
    assert copy.name == file.name
    assert copy.read_bytes() == file.read_bytes()
    assert file_here(file, cluster.home) == file


def test_checkpoints_are_kept_where_the_study_is(cluster: Cluster, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "search", cluster.home)

    def train(checkpoints: Checkpoints, epoch: int) -> int | None:
        import torch

        with checkpoints.newest(4) as (file, is_damaged):
            assert not is_damaged
            before = torch.load(file, weights_only=True)["epoch"] if file else None
        state = {"epoch": epoch, "model": torch.zeros(10_000)}
        checkpoints.keep(4, lambda folder: torch.save(state, folder / CHECKPOINT))
        return before

    assert there(cluster, train, checkpoints, 1) is None
    assert there(cluster, train, checkpoints, 2) == 1
    assert [f.name for f in (tmp_path / "search" / "4").iterdir()] == [CHECKPOINT]
    with checkpoints.newest(4) as (file, _):
        assert file == tmp_path / "search" / "4" / CHECKPOINT


def test_what_an_autoscaler_may_add_is_counted_as_it_counts(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bootstrap.yaml"
    kinds = {"head": {}, "worker": {"resources": {"CPU": 2}, "max_workers": 3}}
    described = {"provider": {"type": "aws"}, "head_node_type": "head"}
    file.write_text(yaml.safe_dump({**described, "available_node_types": kinds}))
    monkeypatch.setattr(cluster_module, "BOOTSTRAP_FILE", file)
    assert sorted(cluster.sizes()) == [(0, 0), *[(2, 0)] * 3], "two more beside the one that is up"
    (other,) = [n.node_id for n in cluster.nodes() if n.cpus]
    cluster.excluded[other] = "no room"
    try:
        assert sorted(cluster.sizes()) == [(0, 0), *[(2, 0)] * 2], "it is not started in its place"
    finally:
        cluster.excluded.clear()


def test_nodes_are_counted_one_by_one_and_those_left_out_get_nothing(cluster: Cluster) -> None:
    assert sorted(cluster.sizes()) == [(0, 0), (2, 0)]
    slots = plan_slots(1, "auto", "auto", cluster.sizes())
    assert (slots.count, slots.gpus) == (2, 0)
    factory: Any = cluster.resources(Slots(1, 0, 2))
    group = factory.to_placement_group()
    ray.get(group.ready(), timeout=60)
    ray.util.remove_placement_group(group)
    (other,) = [n.node_id for n in cluster.nodes() if n.cpus]
    cluster.excluded[other] = "no room"
    try:
        assert cluster.sizes() == [(0, 0)]
        group = cluster.resources(Slots(1, 0, 2)).to_placement_group()
        assert ray.wait([group.ready()], timeout=3)[0] == []
        ray.util.remove_placement_group(group)
    finally:
        cluster.excluded.clear()


def test_a_node_without_room_is_left_out_and_named(
    cluster: Cluster, images: ImageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    warned: list[str] = []
    cluster.prepare(images, said.append, warned.append)
    assert len(said) == 1
    assert said[0].startswith("the images are on ")
    cluster.prepare(images, said.append, warned.append)
    assert len(said) == 1, "once a node"
    cluster.prepared.clear()
    images_of_others = ImageCache(
        **vars(images) | {"folder": images.folder / "gone", "fingerprint": "x"}
    )
    cluster.prepare(images_of_others, said.append, warned.append)
    assert len(warned) == 1
    assert "is left out: " in warned[0]
    assert "gone: nothing there on the study's node" in warned[0]
    assert list(cluster.excluded) == [n["NodeID"] for n in ray.nodes() if n["Resources"].get("CPU")]
    cluster.excluded.clear()


def test_the_cluster_is_described(cluster: Cluster) -> None:
    assert cluster.describe() == "2 up (1 × 0 CPU; 1 × 2 CPU)"
