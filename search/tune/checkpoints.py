"""Checkpoints: one a trial, on the driver's node, and only as long as it may be needed."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.records import TrialState
from search.results import CHECKPOINT
from search.tune.home import HERE, Home
from search.tune.ledger import LedgerTrial

FULL_BYTES = 1_000_000  # a disk with less has no room for the next piece of a file


@dataclass(frozen=True)
class Checkpoints:
    """What the trainings of one stage leave behind, a folder for each.

    Ray Tune's own would ask every node for the same disk. Where they are follows from a trial's
    number, so a retry, a later process and another machine find them without being told.

    Attributes:
        folder: On the driver's node.
    """

    folder: Path
    home: Home = HERE

    def of(self, number: int) -> Path:
        """Return the folder of a trial's files."""
        return self.folder / str(number)

    def keep(self, number: int, write: Callable[[Path], object]) -> None:
        """Have files written into a folder, each of which then replaces the trial's last one.

        Called in a worker, on any node.

        Raises:
            OSError: The disk is full, or fails; the files that were there stay.
        """
        here = self.home.is_here
        if here:
            self.of(number).mkdir(parents=True, exist_ok=True)
        # Beside its place: a folder of another disk would have it copied.
        with tempfile.TemporaryDirectory(dir=self.of(number) if here else None) as folder:
            try:
                write(Path(folder))
            except RuntimeError as error:  # torch has none of its own for a full disk
                if shutil.disk_usage(folder).free < FULL_BYTES:
                    raise OSError(errno.ENOSPC, "no space left on device") from error
                raise
            for file in sorted(Path(folder).iterdir()):
                target = self.of(number) / file.name
                if here:
                    file.replace(target)
                else:
                    self.home.store(file, target)

    @contextmanager
    def newest(self, number: int) -> Iterator[tuple[Path | None, bool]]:
        """Yield a trial's checkpoint if it can be read, and whether there is a damaged one.

        Called in a worker, on any node; the file is there within the context.
        """
        file = self.of(number) / CHECKPOINT
        if self.home.is_here:
            is_whole = _is_whole(file)
            yield (file if is_whole else None), file.exists() and not is_whole
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / CHECKPOINT
            if self.home.sizes(file):
                self.home.fetch(file, copy)
            is_whole = _is_whole(copy)
            yield (copy if is_whole else None), copy.exists() and not is_whole

    def remove(self, number: int) -> None:
        """Remove what a trial left."""
        shutil.rmtree(self.of(number), ignore_errors=True)

    def remove_leftovers(self, trials: Mapping[int, LedgerTrial]) -> None:
        """Remove the files that no trial goes on from; called before any of them runs.

        A process that was killed before it removed them left them behind.
        """
        for folder in self.folder.glob("*"):
            trial = trials.get(int(folder.name)) if folder.name.isdigit() else None
            if trial is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            goes_on = trial.state is TrialState.INTERRUPTED
            for left in list(folder.iterdir()):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                elif left.name.startswith(".") or (left.name == CHECKPOINT and not goes_on):
                    left.unlink()


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint can be read: torch writes a zip file with checksums."""
    try:
        with zipfile.ZipFile(checkpoint) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
