"""Hosts for a cluster, each with a network, processes, name, /tmp, /dev/shm and home of its own.

They are Linux namespaces joined by a bridge, and each runs an sshd, so that whatever is written for
real machines (ssh, rsync, `ray up`) works on them unchanged. What they share with this machine, and
so with each other: its kernel, clock, memory, cores, and the files outside of those folders (which
is how they come by the interpreter and its libraries). There is no route out of the bridge.

Needs root, and ip, sshd, ssh and setpriv.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

PREFIX = "sd"  # of bridges, links and network namespaces: PREFIX, process id, x, number
TOOLS = ("ip", "ssh", "ssh-keygen", "setpriv", "unshare")
START_SECONDS = 60.0

_serial = count()

# Run as the first process of a host: arrange its files, then become its sshd, which outlives every
# session and reaps what daemons leave behind.
INIT = r"""
set -eu
hostname "$1"; home=$2; hosts=$3; config=$4; shift 4
mount -t tmpfs -o mode=755 host /run
mkdir -p /run/sshd /run/kept
i=0; for path in "$@"; do  # what lies under /tmp or /root is about to be hidden
  mkdir /run/kept/$i; mount --rbind "$path" /run/kept/$i; i=$((i + 1))
done
mount --bind "$hosts" /etc/hosts
mkdir /run/kept/home; mount --bind "$home" /run/kept/home
cat "$config" > /run/sshd_config
mount -t tmpfs -o mode=1777 host /tmp
mount -t tmpfs -o mode=1777 host /dev/shm
mount --rbind /run/kept/home /root
i=0; for path in "$@"; do
  mkdir -p "$path"; mount --rbind /run/kept/$i "$path"; i=$((i + 1))
done
ip link set lo up
exec /usr/sbin/sshd -D -f /run/sshd_config
"""


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


class Host:
    """One machine of a network.

    Attributes:
        name: Its host name.
        ip: Its address.
        home: Its /root, as a folder of this machine; it survives a power cut, like a disk.
    """

    def __init__(self, name: str, ip: str, net: Hosts, serial: int) -> None:
        self.name = name
        self.ip = ip
        self.home = net.folder / name
        self._net = net
        self._namespace = f"{net.id}n{serial}"
        self._link = f"{net.id}v{serial}"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.ip}, {'up' if self.is_up else 'down'})"

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Switch it on, and wait until ssh answers; nothing that ran before a power cut runs now.

        Raises:
            HostError: ssh does not answer.
        """
        if self.is_up:
            return
        _ip("netns", "add", self._namespace)
        # The same card after a power cut: neighbours remember its number.
        card = "02:00:" + ":".join(f"{int(number):02x}" for number in self.ip.split("."))
        peer = ("peer", "name", "eth0", "address", card, "netns", self._namespace)
        _ip("link", "add", self._link, "type", "veth", *peer)
        _ip("link", "set", self._link, "master", self._net.id, "up")
        _ip("-n", self._namespace, "address", "add", f"{self.ip}/24", "dev", "eth0")
        _ip("-n", self._namespace, "link", "set", "eth0", "up")
        log = self._net.folder / f"{self.name}.log"
        join = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self._namespace]
        isolate = ["unshare", "-m", "-p", "-u", "-i", "--fork", "--kill-child", "--mount-proc"]
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*join, *isolate, "bash", "-c", INIT, "init", *self._net.init_arguments(self)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or not self.is_up:
                raise HostError(f"{self.name}: sshd must answer, got: {log.read_text()[-2000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Cut its power: every process ends at once, and no peer hears a last word."""
        if self._process is None:
            return
        _ip("link", "delete", self._link, check=False)  # first: closing sockets says goodbye
        # unshare reaps its child, the host's first process, and follows it.
        for pid in _children(self._process.pid) or [self._process.pid]:
            _kill(pid)
        self._process.wait(timeout=60)
        self._process = None
        _ip("netns", "delete", self._namespace, check=False)

    def cut(self) -> None:
        """Pull its network cable; everything on it runs on."""
        _ip("link", "set", self._link, "down")

    def join(self) -> None:
        """Plug its network cable in again."""
        _ip("link", "set", self._link, "up")

    def run(
        self, command: str, timeout: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on it over ssh, and return its exit code, stdout and stderr.

        Raises:
            HostError: It failed, if `check`.
            subprocess.TimeoutExpired: It took longer than `timeout` seconds.
        """
        done = subprocess.run(
            [*self._net.ssh, f"root@{self.ip}", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            raise HostError(f"{self.name}: {command}\nended with {done.returncode}:\n{said}")
        return done

    def processes(self) -> list[str]:
        """Return the command lines of what runs on it, without kernel threads."""
        return self.run("ps -eo args --no-headers").stdout.splitlines()

    def _answers(self) -> bool:
        try:
            return self.run("true", timeout=10, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False


class Hosts(Sequence[Host]):
    """A network of hosts, switched on within a `with` and gone without trace after it.

    Args:
        names: Their host names; they know each other by these.
        visible: Folders of this machine that they see though they lie under /tmp or /root.
        environment: Variables of every ssh session on them.
    """

    def __init__(
        self,
        names: Sequence[str],
        visible: Sequence[Path] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.id = (
            f"{PREFIX}{os.getpid()}x{next(_serial)}"  # a link's name has 15 characters at most
        )
        self.folder = Path(tempfile.mkdtemp(prefix="hosts-", dir="/var/tmp"))
        self.key = self.folder / "key"
        self._visible = [path.resolve() for path in visible if _is_hidden(path.resolve())]
        self._environment = environment or {}
        self._subnet = _free_subnet()
        self._hosts = [
            Host(name, f"{self._subnet}.{number + 2}", self, number)
            for number, name in enumerate(names)
        ]

    def __getitem__(self, index: int) -> Host:  # type: ignore[override]
        return self._hosts[index]

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    def __enter__(self) -> Hosts:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, and remove links, namespaces and folders."""
        for host in self._hosts:
            host.kill()
        _ip("link", "delete", self.id, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def ssh(self) -> list[str]:
        """The start of an ssh command to any of them."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "5",
            "ServerAliveInterval": "5",
            "LogLevel": "ERROR",
        }
        words = [f"-o{key}={value}" for key, value in options.items()]
        return ["ssh", "-F", "none", "-i", str(self.key), *words]

    def init_arguments(self, host: Host) -> list[str]:
        """Return the arguments of a host's first process."""
        files = (host.home, self.folder / "hosts", self.folder / f"{host.name}.sshd_config")
        return [host.name, *map(str, files), *map(str, self._visible)]

    def _start(self) -> None:
        _sweep()
        _ip("link", "add", self.id, "type", "bridge", "forward_delay", "0")
        _ip("address", "add", f"{self._subnet}.1/24", "dev", self.id)
        _ip("link", "set", self.id, "up")
        for path in (self.key, self.folder / "host_key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(make, check=True, timeout=60)
        names = "".join(f"{host.ip} {host.name}\n" for host in self._hosts)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        variables = " ".join(shlex.quote(f"{k}={v}") for k, v in self._environment.items())
        for host in self._hosts:
            host.home.mkdir(mode=0o700)
            (host.home / ".bashrc").touch()
            shutil.copy(self.key, host.home / "key")  # any of them may log in on any other
            (self.folder / f"{host.name}.sshd_config").write_text(
                f"ListenAddress {host.ip}\nHostKey {self.folder}/host_key\nPidFile none\n"
                f"AuthorizedKeysFile {self.key}.pub\nStrictModes no\nUsePAM no\n"
                "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
                "UseDNS no\nPrintMotd no\nSubsystem sftp internal-sftp\nMaxStartups 100\n"
                + (f"SetEnv {variables}\n" if variables else "")
            )
        for host in self._hosts:
            host.start()


def _ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise HostError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it was first


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in ("/tmp", "/root", "/run", "/dev/shm"))


def _free_subnet() -> str:
    """Return the first three numbers of a network that this machine has no address in."""
    taken = _ip("-4", "address")
    return next(s for n in range(256) if f" {(s := f'10.99.{n}')}." not in taken)


def _sweep() -> None:
    """Remove links and namespaces of test runs that were killed before they could."""
    links = [entry["ifname"] for entry in json.loads(_ip("-j", "link") or "[]")]
    spaces = [entry["name"] for entry in json.loads(_ip("-j", "netns", "list") or "[]")]
    for kind, names in (("link", links), ("netns", spaces)):
        for name in names:
            match = re.match(rf"{PREFIX}(\d+)x", name)
            if match and not Path(f"/proc/{match[1]}").exists():
                _ip(kind, "delete", name, check=False)
