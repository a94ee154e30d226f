"""The links, namespaces and folders that hosts are made of, and the sweeping up after them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

PREFIX = "sd"  # of their names: PREFIX, process id, x, number
DISK = "/var/tmp"  # of this machine: where homes survive a power cut
TOOLS = ("ip", "rsync", "ssh", "ssh-keygen", "setpriv", "unshare")


class HostError(Exception):
    """A command on a host failed, or a host did not come up."""


def missing() -> str:
    """Return why there can be no hosts on this machine, empty where there can."""
    if os.geteuid() != 0:
        return "hosts need root, to make network and process namespaces"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not Path("/usr/sbin/sshd").exists():
        lacking.append("sshd")
    if lacking:
        return f"hosts need {', '.join(lacking)}: apt-get install iproute2 openssh-server rsync"
    return ""


def forbidden() -> str:
    """Return why this machine does not permit namespaces, empty where it does."""
    trial = ["unshare", "-n", "-p", "-m", "-u", "--fork", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=30)
    return done.stderr.strip() or f"unshare ended with {done.returncode}" if done.returncode else ""


def ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise HostError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it was first


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def free_subnet() -> str:
    """Return the first three numbers of a network that this machine has no address in."""
    taken = ip("-4", "address")
    return next(s for n in range(256) if f" {(s := f'10.99.{n}')}." not in taken)


def sweep() -> None:
    """Remove links, namespaces and folders of test runs that were killed before they could."""
    links = [entry["ifname"] for entry in json.loads(ip("-j", "link") or "[]")]
    spaces = [entry["name"] for entry in json.loads(ip("-j", "netns", "list") or "[]")]
    folders = [path.name for path in Path(DISK).iterdir()]
    for kind, names in (("link", links), ("netns", spaces), ("folder", folders)):
        for name in names:
            match = re.match(rf"{PREFIX}(\d+)x", name)
            if match is None or Path(f"/proc/{match[1]}").exists():
                continue
            if kind == "folder":
                shutil.rmtree(f"{DISK}/{name}", ignore_errors=True)
            else:
                ip(kind, "delete", name, check=False)
