"""A head without CPUs, and an autoscaler that starts machines for the trials.

Ray's own fake provider starts processes in place of machines; autoscaler, launcher file and search
are the real ones. That idle machines are ended is not looked at: the fake ones share an address, by
which the autoscaler tells who is idle.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import REPO, VENV, make_hosts
from tests.cluster.hosts import Host
from tests.images import make_folder

RAY = f"{VENV}/bin/ray"
SMALL = {"object_store_memory": 100_000_000}
SPACE = """
name: grow
dataset: {root: photos, size_px: 32, val_fraction: 0.2, test_fraction: 0.2}
budget: {num_trials: 6, max_epochs: 6, scheduler: none}
confirm: {top_k: 1, num_seeds: 0}
report: {cam_images: 2}
space:
  backbone: small_cnn
  depth: 4
  width: 16
  lr: {float: [2.0e-3, 2.0e-2], log: true}
  batch_size: 16
"""


def launcher_file() -> dict[str, Any]:
    """Return what `ray up` would leave on a head that may start two workers."""
    config: dict[str, Any] = {
        "cluster_name": "grow",
        # Its machines are processes: one that does not answer is ended, not repaired over ssh.
        "provider": {"type": "fake_multinode", "head_node_id": "", "disable_node_updaters": True},
        "auth": {},
        "upscaling_speed": 1.0,
        "docker": {},
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "head_node_type": "ray.head.default",
    }
    config["available_node_types"] = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1} | SMALL,
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    }
    return config | {"max_workers": 2, "idle_timeout_minutes": 5}


@pytest.fixture
def head(permitted: None) -> Iterator[Host]:
    with make_hosts(num_workers=0) as hosts:
        head = hosts[1]
        (head.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(launcher_file()))
        make_folder(head.home / "photos", ("round", "square"), 60)
        (head.home / "grow.yaml").write_text(SPACE)
        variables = (
            f"PATH={VENV}/bin:$PATH PYTHONPATH={REPO} RAY_FAKE_CLUSTER=1 "
            "AUTOSCALER_UPDATE_INTERVAL_S=1 RAY_USAGE_STATS_ENABLED=0"
        )
        start = (
            f"{RAY} start --head --num-cpus=0 --object-store-memory=100000000 "
            "--include-dashboard=false --autoscaling-config=/root/ray_bootstrap_config.yaml"
        )
        head.run(f"{variables} {start}", timeout=120)
        yield head


def workers(head: Host) -> int:
    """Return how many nodes but the head are up."""
    code = (
        "import ray; ray.init(address='auto', logging_level='ERROR'); "
        "print('UP', sum(n['Alive'] for n in ray.nodes()) - 1)"
    )
    said = head.run(f"{VENV}/bin/python -c {shlex.quote(code)}", timeout=120).stdout
    return int(said.rpartition("UP ")[2].split()[0])


@pytest.mark.timeout(600)
def test_machines_start_for_the_trials(head: Host) -> None:
    assert workers(head) == 0
    run = (
        f"cd /root && PYTHONPATH={REPO} {VENV}/bin/python -m search.run --space grow.yaml "
        "--address auto"
    )
    plan = head.run(f"{run} --dry-run", timeout=200).stdout
    assert "1 up (1 × 0 CPU); the autoscaler may add 2 × 1 CPU" in plan
    assert "6 trials of at most 6 epochs, 2 at once on the cluster" in plan
    done = head.run(run, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 at once" in done.stdout
    assert "has become too small" not in done.stdout
    log = head.home / "results" / "grow" / "study" / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    ends = [e["state"] for e in events if e["event"] == "end"]
    assert ends == ["complete"] * 6
