"""The shipped cluster file on hosts of this machine: up, who may join, commands, down."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cluster.cluster import CONFIG, HOME, PYTHON, RAY, Cluster, wait
from tests.cluster.hosts import PREFIX, Host, HostError, Hosts

DRIVER = "import ray; ray.init(address='auto', logging_level='ERROR'); print('RAN', ray.nodes())"


def drive(host: Host, variables: str = "") -> subprocess.CompletedProcess[str]:
    return host.run(f"{variables} {PYTHON} -c {shlex.quote(DRIVER)}", timeout=120, check=False)


def test_three_nodes_join(cluster: Cluster) -> None:
    assert cluster.nodes() == {host.ip: True for host in (cluster.head, *cluster.workers)}
    status = cluster.ray("exec", CONFIG, "ray status")
    assert "0.0/3.0 CPU" in status


def test_workers_have_the_project_of_the_laptop(cluster: Cluster) -> None:
    for host in (cluster.head, *cluster.workers):
        where = host.run(f"cd /tmp && {PYTHON} -c 'import search; print(search.__file__)'").stdout
        assert where.strip() == f"{HOME}/search/__init__.py"
        assert host.run("ls ~/seed-search/results ~/seed-search/.git", check=False).returncode != 0


def test_a_driver_with_the_token_runs(cluster: Cluster) -> None:
    for host in (cluster.head, cluster.workers[0]):
        assert "RAN" in drive(host).stdout


@pytest.mark.parametrize(
    "variables",
    [
        "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef",
        "HOME=/tmp",  # where there is no .ray/auth_token
    ],
    ids=["wrong token", "no token"],
)
def test_a_driver_without_the_token_is_refused(cluster: Cluster, variables: str) -> None:
    done = drive(cluster.head, variables)
    assert done.returncode != 0
    assert "RAN" not in done.stdout
    assert "token" in done.stderr.lower()


def test_a_node_without_the_token_cannot_join(cluster: Cluster) -> None:
    command = f"HOME=/tmp {RAY} start --address={cluster.head.ip}:6379 --num-cpus=1"
    done = cluster.laptop.run(command.replace(HOME, str(Path(PYTHON).parents[2])), 120, check=False)
    assert done.returncode != 0
    assert cluster.laptop.ip not in cluster.nodes()


def test_nothing_tells_rays_makers(cluster: Cluster) -> None:
    for host in (cluster.head, *cluster.workers):
        told = host.run("tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ").stdout.splitlines()
        assert "RAY_USAGE_STATS_ENABLED=0" in told
        assert not any(line.startswith("OMP_NUM_THREADS") for line in told)


def test_a_file_comes_back(cluster: Cluster) -> None:
    cluster.ray(
        "exec", CONFIG, "mkdir -p ~/seed-search/results/x && echo done > ~/seed-search/results/x/a"
    )
    cluster.ray("rsync-down", CONFIG, "~/seed-search/results/x/", "/root/fetched/")
    assert (cluster.laptop.home / "fetched" / "a").read_text() == "done\n"


def test_a_study_that_is_submitted_outlives_the_session(cluster: Cluster) -> None:
    job = cluster.submit("--help")
    assert "Usage" in job.wait(timeout=120)


def test_down(cluster: Cluster) -> None:
    """Last of all: it ends the cluster."""
    cluster.ray("down", "-y", CONFIG)
    for host in (cluster.head, *cluster.workers):
        wait(lambda host=host: host.run("pgrep -x raylet", check=False).returncode, timeout=120)


def test_nothing_of_the_hosts_is_left() -> None:
    with pytest.raises(HostError, match="ended with 7"), Hosts(["one", "two"]) as hosts:
        folder, bridge = hosts.folder, hosts.id
        assert hosts[0].run(f"cat {folder}/x", check=False).returncode == 1
        assert bridge in network()
        hosts[0].run("exit 7")
    assert bridge not in network()
    assert not folder.exists()


def network() -> str:
    commands = (["ip", "link"], ["ip", "netns"], ["mount"], ["ps", "-eo", "args"])
    return "".join(subprocess.run(c, capture_output=True, text=True).stdout for c in commands)
