"""The node where a study's driver and its files are, as workers on any node of a cluster see it.

Only that node has photos, weights and results. Others are sent what a training reads, and send back
what it writes, through Ray: they need no shared disk, and no rights beside Ray's token.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIECE_BYTES = 32 * 2**20
"""Sent in one message: large enough for the network, small in any object store."""
NUM_ON_THE_WAY = 3
NUM_SERVED_AT_ONCE = 16
SPARE_BYTES = 100 * 2**20


class Courier:
    """Reads and writes files of the driver's node for workers elsewhere. A Ray actor there."""

    def sizes(self, path: Path) -> dict[str, int]:
        """Return name -> bytes of a folder's files, or of one file; {} where there is nothing."""
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
        return {file.name: file.stat().st_size for file in files if file.is_file()}

    def read(self, file: Path, start: int, num_bytes: int) -> bytes:
        """Return the piece of a file that starts there."""
        with file.open("rb") as source:
            source.seek(start)
            return source.read(num_bytes)

    def write(self, file: Path, start: int, piece: bytes) -> None:
        """Write a piece of a file; only `put` makes it one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("r+b" if start else "wb") as target:
            target.seek(start)
            target.write(piece)

    def put(self, unfinished: Path, file: Path) -> None:
        """Let a file that was written take its place."""
        unfinished.replace(file)

    def find_weights(self, backbone: str, folder: Path | None) -> Path | None:
        """Look for pretrained weights there."""
        return _find_weights(backbone, folder)


def _find_weights(backbone: str, folder: Path | None) -> Path | None:
    from trainables.weights import find_weights  # seconds, of torch and timm

    return find_weights(backbone, folder)


@dataclass(frozen=True)
class Home:
    """Where the study's files are.

    Attributes:
        node_id: Ray's, of the driver's node; "" where there is no other.
        courier: Handle of the `Courier` there.
    """

    node_id: str = ""
    courier: Any = None

    @property
    def is_here(self) -> bool:
        """Whether this process is on that node."""
        return not self.node_id or this_node() == self.node_id

    def sizes(self, path: Path) -> dict[str, int]:
        """Return name -> bytes of the files there; {} where there is nothing."""
        found: dict[str, int] = self._ask("sizes", path)
        return found

    def find_weights(self, backbone: str, folder: Path | None) -> Path | None:
        """Look there for pretrained weights: in a folder, the hub's cache and the hub."""
        if self.is_here:
            return _find_weights(backbone, folder)
        found: Path | None = self._ask("find_weights", backbone, folder)
        return found

    def fetch(self, source: Path, target: Path) -> None:
        """Copy a file, or the files of a folder, from there to here: whole or not at all.

        One process at a time fetches a target.

        Raises:
            OSError: There is nothing there, or no room here.
        """
        sizes = self.sizes(source)
        if not sizes:
            raise FileNotFoundError(f"{source}: nothing there on the study's node")
        target.parent.mkdir(parents=True, exist_ok=True)
        needed, free = sum(sizes.values()), shutil.disk_usage(target.parent).free
        if needed + SPARE_BYTES > free:
            raise OSError(
                f"{target.parent}: needs {(needed + SPARE_BYTES) / 1e6:,.0f} MB of disk, "
                f"has {free / 1e6:,.0f} MB"
            )
        unfinished = f".{target.name}-unfinished-"
        for left in target.parent.glob(f"{unfinished}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=unfinished))
        try:
            is_file = list(sizes) == [source.name]
            for name, num_bytes in sizes.items():
                self._fetch(source if is_file else source / name, folder / name, num_bytes)
            shutil.rmtree(target, ignore_errors=True)
            (folder / source.name if is_file else folder).replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, source: Path, target: Path, num_bytes: int) -> None:
        import ray

        read, size = self.courier.read.remote, PIECE_BYTES
        pieces = (read(source, start, size) for start in range(0, num_bytes, size))
        coming = list(itertools.islice(pieces, NUM_ON_THE_WAY))
        with target.open("wb") as file:
            while coming:
                file.write(ray.get(coming.pop(0)))
                coming += itertools.islice(pieces, 1)
        if target.stat().st_size != num_bytes:
            raise OSError(f"{source}: changed on the study's node while it was sent")

    def store(self, file: Path, target: Path) -> None:
        """Copy a file from here to there, where it replaces what it replaces at once."""
        # Of a node that was given up and still writes, the file is another one.
        unfinished = target.with_name(f".{target.name}.{os.getpid()}-{file.stat().st_mtime_ns}")
        for start, piece in _pieces(file):
            self._ask("write", unfinished, start, piece)
        self._ask("put", unfinished, target)

    def _ask(self, method: str, *args: Any) -> Any:
        import ray

        return ray.get(getattr(self.courier, method).remote(*args))


def _pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as source:
        for start in range(0, max(1, file.stat().st_size), PIECE_BYTES):
            yield start, source.read(PIECE_BYTES)


HERE = Home()
"""Of a study on one machine."""


def this_node() -> str:
    """Return Ray's name of the node that this process is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def make_home() -> Home:
    """Start the courier on this process's node, which need not have CPUs to lend."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
    actor: Any = ray.remote(Courier)
    options = {"num_cpus": 0, "max_concurrency": NUM_SERVED_AT_ONCE, "scheduling_strategy": here}
    return Home(this_node(), actor.options(**options).remote())
