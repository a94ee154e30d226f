"""The shipped cluster file on hosts of this machine: up, who may join, commands, down."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

import pytest

from tests.cluster.cluster import CONFIG, HOME, PYTHON, REPO, VENV, Cluster, Job, wait
from tests.cluster.hosts import Host, Hosts
from tests.cluster.namespaces import DISK, HostError
from tests.images import make_folder

DRIVER = "import ray; ray.init(address='auto', logging_level='ERROR'); print('RAN', ray.nodes())"

SPACE = """
name: mine
dataset: {size_px: 32}
budget: {num_trials: 2000, max_epochs: 4}
space: {backbone: small_cnn, depth: 2, width: 8, lr: {float: [2.0e-3, 2.0e-2], log: true}}
"""


def drive(host: Host, variables: str = "") -> subprocess.CompletedProcess[str]:
    return host.run(f"{variables} {PYTHON} -c {shlex.quote(DRIVER)}", timeout=120, check=False)


def test_three_nodes_join(cluster: Cluster) -> None:
    assert cluster.nodes() == {host.ip: True for host in (cluster.head, *cluster.workers)}
    status = cluster.ray("exec", CONFIG, "ray status")
    assert "0.0/3.0 CPU" in status


def test_every_node_has_the_project_of_the_laptop(cluster: Cluster) -> None:
    find = "find search trainables spaces -type f -not -path '*__pycache__*' | sort"
    here = subprocess.run(find, shell=True, cwd=REPO, capture_output=True, text=True).stdout
    assert "search/data/__main__.py" in here
    for host in (cluster.head, *cluster.workers):
        assert host.run(f"cd {HOME} && {find}").stdout == here
        where = host.run(f"cd /tmp && {PYTHON} -c 'import search; print(search.__file__)'").stdout
        assert where == f"{HOME}/search/__init__.py\n"


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
    command = f"{VENV}/bin/ray start --address={cluster.head.ip}:6379 --num-cpus=1"
    done = cluster.laptop.run(f"HOME=/tmp {command}", timeout=120, check=False)
    assert done.returncode != 0
    assert "token" in done.stderr.lower()
    assert cluster.laptop.ip not in cluster.nodes()


def test_nothing_tells_rays_makers(cluster: Cluster) -> None:
    for host in (cluster.head, *cluster.workers):
        told = host.run("tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ").stdout.splitlines()
        assert "RAY_USAGE_STATS_ENABLED=0" in told
        assert not any(line.startswith("OMP_NUM_THREADS") for line in told)


def test_the_readme_does_what_it_says(cluster: Cluster) -> None:
    """Last of all: it ends the cluster."""
    section = (REPO / "README.md").read_text("utf-8").split("## On several machines")[1]
    block = section.split("```")[1].strip()
    lines = [line.split("  #")[0].rstrip() for line in block.splitlines()]
    token, up, send, submit, watch, stop, fetch, down = lines
    assert (token, up) == ("ray get-auth-token --generate", f"ray up {CONFIG}")  # the fixture
    checkout = cluster.laptop.home / "checkout"
    make_folder(checkout / "my_photos", ("round", "square", "long"), 40, (40, 40))
    (cluster.head.home / "seed-search" / "spaces" / "photos.yaml").write_text(SPACE)
    cluster.shell(send)
    cluster.shell(submit)
    job = Job(cluster.head, "run.log")
    wait(lambda: "[1/2000]" in job.log(), timeout=240)
    assert "/2000] trial" in cluster.shell(f"timeout 10 {watch} || true")
    cluster.shell(stop)
    assert "interrupted: the same command goes on" in job.wait(timeout=120)
    cluster.shell(fetch)
    assert (checkout / "results" / "mine" / "study" / "events.jsonl").exists()
    assert (checkout / "results" / "mine" / "data" / "splits.csv").exists()
    cluster.shell(f"{down} -y")
    for host in (cluster.head, *cluster.workers):
        wait(lambda host=host: host.run("pgrep -x raylet", check=False).returncode, timeout=120)


def test_nothing_of_the_hosts_is_left(permitted: None) -> None:
    hosts = Hosts(["one", "two"])

    def fail() -> None:
        with hosts:
            assert hosts[1].run(f"ls {hosts.folder}", check=False).returncode == 0
            hosts[1].run("nohup setsid -f sleep 4321 > /dev/null 2>&1")
            assert all(name in traces() for name in (hosts.id, str(hosts.folder), "sleep 4321"))
            hosts[0].run("exit 7")

    with pytest.raises(HostError, match="ended with 7"):
        fail()
    assert not any(name in traces() for name in (hosts.id, str(hosts.folder), "sleep 4321"))
    assert not hosts.folder.exists()


ABANDON = """
import os, signal
from tests.cluster.hosts import Hosts
hosts = Hosts(["one"]).__enter__()
hosts[0].run("nohup setsid -f sleep 4323 > /dev/null 2>&1")
print(hosts.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_hosts_of_a_killed_test_run_end_and_are_swept_up(permitted: None) -> None:
    command = [sys.executable, "-c", ABANDON]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == -9
    wait(lambda: "sleep 4323" not in traces(), timeout=30)
    assert done.stdout.strip() in traces()
    with Hosts(["two"]):
        assert done.stdout.strip() not in traces()


def test_a_power_cut_ends_everything_but_the_disk(permitted: None) -> None:
    with Hosts(["one", "two"]) as hosts:
        one, two = hosts
        two.run(
            "nohup setsid -f sleep 4322 > /dev/null 2>&1; echo kept > kept; echo lost > /tmp/lost"
        )
        assert one.run("ssh -i key -oStrictHostKeyChecking=no two hostname").stdout == "two\n"
        two.kill()
        reach = "ssh -i key -oStrictHostKeyChecking=no -oConnectTimeout=2 two hostname"
        assert one.run(reach, check=False).returncode == 255
        two.start()
        assert not any("sleep 4322" in line for line in two.processes())
        assert two.run("cat kept; ls /tmp").stdout == "kept\n"


def test_a_host_that_is_cut_off_runs_on(permitted: None) -> None:
    with Hosts(["one", "two"]) as hosts:
        one, two = hosts
        reach = "ssh -i key -oStrictHostKeyChecking=no -oConnectTimeout=2 two cat went_on"
        two.run("nohup setsid -f sh -c 'sleep 3; echo yes > went_on' > /dev/null 2>&1")
        two.cut()
        assert one.run(reach, check=False).returncode == 255
        time.sleep(3)
        two.join()
        assert one.run(reach).stdout == "yes\n"


def traces() -> str:
    """Return everything on this machine that could still name a host."""

    commands = (["ip", "link"], ["ip", "netns"], ["mount"], ["ps", "-ewwo", "args"], ["ls", DISK])
    return "".join(subprocess.run(c, capture_output=True, text=True).stdout for c in commands)
