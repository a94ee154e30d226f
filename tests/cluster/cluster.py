"""The shipped cluster.local.yaml, brought up by the real `ray up` on hosts of this machine."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import Host, Hosts
from tests.cluster.namespaces import HostError

REPO = Path(__file__).resolve().parents[2]
VENV = (REPO / ".venv").resolve()
HOME = "/root/seed-search"  # the project on every host: what `ray up` copies there
PYTHON = f"{HOME}/.venv/bin/python"
RAY = f"{HOME}/.venv/bin/ray"
CHECKOUT = "/root/checkout"  # the project on the laptop, from where `ray up` is called
CONFIG = "cluster.local.yaml"

# nohup and setsid: it outlives this ssh session, and its terminal.
SUBMIT = (
    "cd ~/seed-search && {environment}nohup setsid -f .venv/bin/python {command}"
    " > {log} 2>&1 < /dev/null"
)

_CACHES = shutil.ignore_patterns("__pycache__")
UP_SECONDS = 240.0
JOIN_SECONDS = 240.0

NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print("NODES", json.dumps([(node["NodeManagerAddress"], node["Alive"]) for node in ray.nodes()]))
"""


class Cluster:
    """A laptop, from which the cluster is brought up, a head and workers.

    Attributes:
        laptop: Where `ray up` is called; no node of the cluster.
        head: Runs the search itself, and trials.
        workers: Run trials.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.laptop, self.head, *self.workers = hosts

    def check_out(self) -> None:
        """Give the laptop the project, the shipped file with these hosts in it, and a token."""
        config = local_config(self.hosts)
        checkout = self.laptop.home / Path(CHECKOUT).name
        for name in (here for here in config["file_mounts"].values() if not here.startswith("~")):
            source, target = REPO / name, checkout / name
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=_CACHES)
            else:
                shutil.copy(source, target)
        (checkout / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
        self.shell("ray get-auth-token --generate")

    def up(self) -> str:
        """Bring it up from the laptop, and return what `ray up` said.

        Ray on the head is restarted, and a study that runs there ends. Workers that were lost need
        no such call: the head takes them in again by itself, half a minute after they are back.
        """
        self.check_out()
        return self.ray("up", "-y", CONFIG, timeout=UP_SECONDS)

    def ray(self, *arguments: str, timeout: float = 120) -> str:
        """Run a ray command on the laptop, such as `exec` or `down`, and return what it said."""
        return self.shell(shlex.join(["ray", *arguments]), timeout)

    def shell(self, command: str, timeout: float = 120) -> str:
        """Run a command on the laptop, in the project, and return what it said."""
        path = f"export PATH={VENV}/bin:$PATH"
        return self.laptop.run(f"cd {CHECKOUT} && {path} && {command}", timeout).stdout

    def submit(self, *arguments: str, log: str = "run.log", environment: str = "") -> Job:
        """Start a study on the head, as the README says, and return at once.

        Args:
            arguments: Of `python -m search.run`, without --address.
            log: Name of the file in ~/seed-search for what it says; another for each study.
            environment: NAME=value of variables, for the driver.
        """
        command = shlex.join(["-m", "search.run", *arguments, "--address", "auto"])
        before = f"{environment} " if environment else ""
        self.ray("exec", CONFIG, SUBMIT.format(command=command, log=log, environment=before))
        return Job(self.head, log)

    def nodes(self) -> dict[str, bool]:
        """Return of every node that ever joined, by address, whether it is alive."""
        said = self.head.run(f"cd {HOME} && {PYTHON} -c {shlex.quote(NODES)}", timeout=120).stdout
        line = next(line for line in said.splitlines() if line.startswith("NODES "))
        alive: dict[str, bool] = {}
        for ip, is_alive in json.loads(line.removeprefix("NODES ")):
            alive[ip] = alive.get(ip, False) or is_alive
        return alive

    def wait_for_nodes(self, count: int, timeout: float = JOIN_SECONDS) -> dict[str, bool]:
        """Wait until this many nodes are alive.

        Raises:
            HostError: They are not in time.
        """
        return wait(lambda: sum((nodes := self.nodes()).values()) == count and nodes, timeout)


@dataclass(frozen=True)
class Job:
    """A study that was submitted.

    Attributes:
        host: The head.
        log_name: Name of its log.
    """

    host: Host
    log_name: str

    def log(self) -> str:
        """Return what it has said so far."""
        return self.host.run(f"cat {HOME}/{self.log_name}").stdout

    def is_running(self) -> bool:
        return self.host.run("pgrep -f '[-]m search.run'", check=False).returncode == 0

    def stop(self, name: str = "INT") -> None:
        """Send it a signal: INT is Ctrl-C."""
        self.host.run(f"pkill -{name} -f '[-]m search.run'")

    def wait(self, timeout: float) -> str:
        """Wait until it has ended, well or badly, and return its log."""
        wait(lambda: not self.is_running(), timeout)
        return self.log()


def wait(ready: Callable[[], Any], timeout: float, seconds: float = 2.0) -> Any:
    """Ask again and again, until the answer is true, and return it.

    Raises:
        HostError: It was not in time.
    """
    deadline = time.monotonic() + timeout
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise HostError(f"must be so within {timeout:.0f} s, was not")
        time.sleep(seconds)
    return found


def local_config(hosts: Hosts) -> dict[str, Any]:
    """Return cluster.local.yaml with what its user must change, and two things for these hosts.

    They take the libraries from the one .venv that they all see, instead of installing 6 GB each
    without a network; and three nodes share the cores and the memory of one machine.
    """
    _, head, *workers = hosts
    config: dict[str, Any] = yaml.safe_load((REPO / "cluster.local.yaml").read_text("utf-8"))
    config["provider"] |= {"head_ip": head.ip, "worker_ips": [host.ip for host in workers]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": "/root/key"}
    others = [command for command in config["setup_commands"] if ".uv/bin/" not in command]
    config["setup_commands"] = [f"ln -sfn {VENV} {HOME}/.venv", *others]
    small = "ray start --num-cpus=1 --object-store-memory=200000000"
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        config[name] = [line.replace("ray start", small) for line in config[name]]
    return config


def make_hosts(num_workers: int = 2) -> Hosts:
    """Return a laptop, a head and workers, to be switched on by `with`."""
    names = ["laptop", "head", *(f"desk-{number + 1}" for number in range(num_workers))]
    # PYTHONPATH: the shared .venv knows the project in its own place, not in theirs.
    return Hosts(
        names, visible=[REPO, VENV, Path(sys.base_prefix)], environment={"PYTHONPATH": HOME}
    )
