"""Studies on a cluster whose machines are switched off, cut off and brought back meanwhile."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import CONFIG, Cluster, Job, wait
from tests.cluster.hosts import Host
from tests.images import make_folder

SPACE = """
name: lab
dataset: {root: photos, size_px: 64, val_fraction: 0.2, test_fraction: 0.2}
budget: {num_trials: TRIALS, max_epochs: 16, scheduler: none}
confirm: {top_k: 1, num_seeds: 1}
report: {cam_images: 2}
space:
  backbone: small_cnn
  depth: 4
  width: 32
  lr: {float: [2.0e-3, 2.0e-2], log: true}
  dropout: {float: [0.0, 0.5]}
  batch_size: 16
"""
STUDY_SECONDS = 420.0
EVERY_EPOCH = "SEED_SEARCH_CHECKPOINT_SECONDS=0"


@pytest.fixture(scope="module", autouse=True)
def project(cluster: Cluster) -> Path:
    """The photos and the space file, on the head alone."""
    folder = cluster.head.home / "seed-search"
    make_folder(folder / "photos", ("round", "square", "long"), 150, (80, 80))
    return folder


def submit(cluster: Cluster, name: str, num_trials: int, *flags: str) -> Job:
    file = f"{name}.yaml"
    (cluster.head.home / "seed-search" / file).write_text(SPACE.replace("TRIALS", str(num_trials)))
    given = ("--space", file, "--results", f"results/{name}", *flags)
    return cluster.submit(*given, log=f"{name}.log", environment=EVERY_EPOCH)


def events(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    file = cluster.head.home / "seed-search" / "results" / name / "study" / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def running_on(cluster: Cluster, name: str, host: Host) -> dict[int, int]:
    """Return number -> last epoch of the trials that train on a host now, as far as is known."""
    found: dict[int, int] = {}
    for event in events(cluster, name):
        if event["event"] == "epoch":
            found.pop(event["number"], None)
            if event["node"] == host.name:
                found[event["number"]] = event["epoch"]
        elif event["event"] in ("end", "retry"):
            found.pop(event["number"], None)
    return found


def in_mid_trial(cluster: Cluster, name: str, host: Host) -> dict[int, int]:
    """Wait until a trial on a host has some epochs behind it, and some before it."""

    def ready() -> dict[int, int]:
        return {n: e for n, e in running_on(cluster, name, host).items() if 2 <= e <= 11}

    found: dict[int, int] = wait(ready, 120, seconds=0.2)
    return found


def lost_hosts(job: Job) -> set[str]:
    """Return the hosts that a study has missed; one line may name several."""
    lines = re.findall(r"node ([^:;]*?) was lost, its trainings go on elsewhere", job.log())
    return {name for line in lines for name in line.split(", ")}


def repeated_epochs(log: list[dict[str, Any]]) -> dict[int, int]:
    """Return number -> how many epochs of a trial were trained more than once."""
    counts = Counter((e["number"], e["epoch"]) for e in log if e["event"] == "epoch")
    repeated: dict[int, int] = Counter()
    for (number, _), count in counts.items():
        if count > 1:
            repeated[number] += count - 1
    return dict(repeated)


def check_ledger(log: list[dict[str, Any]], num_trials: int) -> None:
    """Every trial ended once, complete, with every epoch."""
    ends = Counter(e["number"] for e in log if e["event"] == "end" and e["state"] == "complete")
    assert ends == dict.fromkeys(range(num_trials), 1)
    epochs = {(e["number"], e["epoch"]) for e in log if e["event"] == "epoch"}
    assert epochs == {(number, epoch) for number in range(num_trials) for epoch in range(1, 17)}


@pytest.fixture
def all_up(cluster: Cluster) -> Iterator[None]:
    """Leave every host on, connected and in the cluster."""
    yield
    for host in (cluster.head, *cluster.workers):
        host.start()
        host.join()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("all_up")
def test_hosts_that_are_lost_cost_an_epoch_and_no_trial(cluster: Cluster, project: Path) -> None:
    first, second = cluster.workers
    job = submit(cluster, "losses", 12)
    lost = in_mid_trial(cluster, "losses", first)
    first.kill()
    cut = in_mid_trial(cluster, "losses", second)
    second.cut()
    wait(lambda: {first.name, second.name} <= lost_hosts(job), 180)
    first.start()  # and joins late: the head starts Ray on whatever answers again
    wait(lambda: f"node {first.name} joined" in job.log(), 240)
    in_mid_trial(cluster, "losses", first)
    second.join()
    log = job.wait(STUDY_SECONDS)
    assert "summary" in log, log
    assert "the images are on desk-1, desk-2 too" in log
    found = events(cluster, "losses")
    check_ledger(found, 12)
    retried = {e["number"] for e in found if e["event"] == "retry"}
    assert retried == {*lost, *cut}
    assert {e["reason"] for e in found if e["event"] == "retry"} == {
        "the node of its worker was lost"
    }
    assert all(count <= 1 for count in repeated_epochs(found).values()), repeated_epochs(found)
    assert {e["node"] for e in found if e["event"] == "epoch"} == {"head", "desk-1", "desk-2"}
    model = project / "results" / "losses" / "best" / "weights.safetensors"
    assert model.exists()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("all_up")
def test_a_head_that_is_lost_goes_on_with_the_same_command(cluster: Cluster) -> None:
    """Trials that ended before are not trained again, and a worker that cannot help is named."""
    job = submit(cluster, "head", 6)
    wait(lambda: sum(e["event"] == "end" for e in events(cluster, "head")) >= 2, 180, seconds=0.5)
    in_mid_trial(cluster, "head", cluster.workers[0])
    cluster.head.kill()
    before = events(cluster, "head")
    cluster.head.start()
    cache = cluster.workers[1].home / ".cache"
    cache.rename(cache.with_name(".cache-before"))
    cache.write_text("a file where a folder should be")
    try:
        cluster.up()
        cluster.wait_for_nodes(3)
        job = submit(cluster, "head", 6)
        log = job.wait(STUDY_SECONDS)
    finally:
        cache.unlink()
        cache.with_name(".cache-before").rename(cache)
    assert "summary" in log, log
    assert f"node {cluster.workers[1].name} is left out: " in log
    found = events(cluster, "head")
    assert found[: len(before)] == before
    check_ledger(found, 6)
    ended = {e["number"] for e in before if e["event"] == "end"}
    again = {e["number"] for e in found[len(before) :] if e["event"] == "start"}
    assert len(ended) >= 2
    assert not ended & again
    assert cluster.workers[1].name not in {e["node"] for e in found[len(before) :] if "node" in e}
    cluster.ray("rsync-down", CONFIG, "~/seed-search/results/head/", "/root/head/")
    assert (cluster.laptop.home / "head" / "report" / "index.html").exists()
