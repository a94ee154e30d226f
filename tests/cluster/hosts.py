"""Hosts for a cluster, each with a network, processes, name, /tmp, /dev/shm and home of its own.

They are Linux namespaces joined by a bridge, and each runs an sshd, so that whatever is written for
real machines (ssh, rsync, `ray up`) works on them unchanged. What they share with this machine, and
so with each other: its kernel, clock, memory, cores, and the files outside of those folders (which
is how they come by the interpreter and its libraries). There is no route out of the bridge.

Needs root, and ip, sshd, ssh and setpriv.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from tests.cluster.namespaces import (
    DISK,
    PREFIX,
    HostError,
    children,
    free_subnet,
    ip,
    kill,
    sweep,
)

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
        ip("netns", "add", self._namespace)
        # The same card after a power cut: neighbours remember its number.
        card = "02:00:" + ":".join(f"{int(number):02x}" for number in self.ip.split("."))
        peer = ("peer", "name", "eth0", "address", card, "netns", self._namespace)
        ip("link", "add", self._link, "type", "veth", *peer)
        ip("link", "set", self._link, "master", self._net.id, "up")
        ip("-n", self._namespace, "address", "add", f"{self.ip}/24", "dev", "eth0")
        ip("-n", self._namespace, "link", "set", "eth0", "up")
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
        ip("link", "delete", self._link, check=False)  # first: closing sockets says goodbye
        # unshare reaps its child, the host's first process, and follows it.
        for pid in children(self._process.pid) or [self._process.pid]:
            kill(pid)
        self._process.wait(timeout=60)
        self._process = None
        ip("netns", "delete", self._namespace, check=False)

    def cut(self) -> None:
        """Pull its network cable; everything on it runs on."""
        ip("link", "set", self._link, "down")

    def join(self) -> None:
        """Plug its network cable in again."""
        ip("link", "set", self._link, "up")

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
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.id}-", dir=DISK))
        self.key = self.folder / "key"
        self._visible = [path.resolve() for path in visible if _is_hidden(path.resolve())]
        self._environment = environment or {}
        self._subnet = free_subnet()
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
        ip("link", "delete", self.id, check=False)
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
        sweep()
        ip("link", "add", self.id, "type", "bridge", "forward_delay", "0")
        ip("address", "add", f"{self._subnet}.1/24", "dev", self.id)
        ip("link", "set", self.id, "up")
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


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in ("/tmp", "/root", "/run", "/dev/shm"))
