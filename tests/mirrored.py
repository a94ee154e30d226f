"""A results folder with something of every kind, and its copy elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from search.config import StudyConfig
from search.mirror import Mirror
from search.mirroring import open_mirror
from search.storage import Storage

SPACE = """
name: cars
dataset: {root: photos}
budget: {num_trials: 4, max_epochs: 3}
space: {lr: {float: [1.0e-3, 1.0e-1], log: true}}
"""
NAMES = (
    "study.yaml",
    "study/events.jsonl",
    "study/checkpoints/search/3/checkpoint.pt",
    "best/weights.safetensors",
    "report/plots/a 'b' ü & 100%.png",
    "test/cam/-1.png",
    ".stages/search.json",
)
LEFT_OUT = (
    "data/cache/chunk-0.bin",
    "data/features/x.npy",
    "study/ray/search-1/trial.json",
    ".lock",
    ".lock-holder.json",
    "study/.trials.csv.123.tmp",
    "best/weights.safetensors.tmp",
)


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def kept(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(root).items() if name not in LEFT_OUT}


def brought(url: str, root: Path) -> dict[str, bytes]:
    """Return what a machine that has nothing yet is brought."""
    mirror = Mirror(root, Storage(url))
    assert mirror.is_to_be_pulled
    assert mirror.is_free_here
    mirror.pull()
    return {name: c for name, c in files(root).items() if not name.startswith(".lock")}


def opened(config: StudyConfig, root: Path, url: str, fresh: bool = False) -> Mirror:
    return open_mirror(config, root, url, fresh=fresh, dry_run=False)


class Watched(Storage):
    """The real storage, with something else to do before each change."""

    before: Callable[[str, str], None] = staticmethod(lambda kind, name: None)

    def write(self, name: str, content: BinaryIO | bytes, num_bytes: int = 0) -> None:
        self.before("write", name)
        super().write(name, content, num_bytes)

    def remove(self, name: str) -> None:
        self.before("remove", name)
        super().remove(name)


def watch(url: str, before: Callable[[str, str], Any]) -> Watched:
    storage = Watched(url)
    storage.before = before  # type: ignore[method-assign]
    return storage
