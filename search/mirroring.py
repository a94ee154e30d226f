"""`--storage`: what is refused before a study is mirrored, and the thread that mirrors it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.errors import ResultsError
from search.identity import refuse_other_identity
from search.lease import Lease, TakenError
from search.mirror import Mirror
from search.storage import Storage, open_storage, reason_of
from search.terminal import Terminal

PUSH_SECONDS = 30.0


class Mirroring:
    """Pushes in the background: at most one at a time, and nothing waits for it but the end."""

    def __init__(self, mirror: Mirror, terminal: Terminal) -> None:
        self._mirror = mirror
        self._terminal = terminal
        self._lease = Lease(mirror.storage, terminal.warn)
        self._failure = ""
        self._over, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="mirror", daemon=True)

    def soon(self) -> None:
        """Push now rather than at the next turn; does not wait for it."""
        self._wake.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Push every 30 s while the body runs, and once more when it ended, however it ended.

        Raises:
            ResultsError: Another run sends its results there; or the body was fine and the last
                push failed.
        """
        self._lease.claim()
        self._mirror.before_write = self._lease.check
        self._thread.start()
        try:
            yield
        except BaseException:
            self._close()
            if self._failure:
                self._terminal.error(self._last_words())
            raise
        self._close()
        if self._failure:
            raise ResultsError(self._last_words())

    def _keep_up(self) -> None:
        is_last = has_warned = False
        while not is_last:
            self._wake.wait(PUSH_SECONDS)
            self._wake.clear()
            is_last = self._over.is_set()
            try:
                self._lease.hold()
                self._mirror.push()
                self._failure = ""
            except TakenError as error:
                self._failure = str(error)
                if not is_last:
                    self._terminal.warn(f"{self._last_words()} The study goes on without a copy")
                return
            except Exception as error:  # whatever it is, trainings do not end for it
                self._failure = reason_of(error)
            if self._failure and not has_warned and not is_last:
                has_warned = True
                self._terminal.warn(
                    f"--storage {self._mirror.storage.url}: cannot be written just now, got "
                    f"{self._failure}; the study goes on, and this is tried again every "
                    f"{PUSH_SECONDS:.0f} s"
                )

    def _close(self) -> None:
        self._over.set()
        self._wake.set()
        with self._terminal.busy("storage", f"sending the last to {self._mirror.storage.url}"):
            self._thread.join()
        self._lease.release()

    def _last_words(self) -> str:
        if self._lease.lost_to:
            return (
                f"--storage {self._mirror.storage.url}: must be used by one run at a time, and was "
                f"taken over, got {self._lease.lost_to}. The results of this run are whole in "
                f"{self._mirror.root}: name another --storage for them."
            )
        return (
            f"--storage {self._mirror.storage.url}: must take all results at the end, got "
            f"{self._failure}. They are whole in {self._mirror.root}: mend the storage, and the "
            "same command sends them."
        )


def open_mirror(
    config: StudyConfig,
    root: Path,
    url: str,
    *,
    fresh: bool,
    dry_run: bool,
    on_wait: Callable[[str], None] = lambda text: None,
) -> Mirror:
    """Open the copy of a results folder, and refuse what cannot be mirrored; nothing is brought.

    Args:
        url: A folder or `s3://bucket/folder`, as `--storage` names it.
        fresh: The study starts anew, which an earlier one there must not be lost to.
        dry_run: Write nothing there, not even to try.
        on_wait: Told why it takes a minute: another run may still send its results there.

    Raises:
        ResultsError: It cannot be reached or written, another run has it, or it holds another
            study, other trials than the results folder, or something else; or the results folder
            does.
    """
    storage = open_storage("--storage", url)
    _refuse_nested(storage, root)
    try:
        storage.reach()
        if not dry_run:
            storage.check_writable()
            Lease(storage, on_wait).look()
        mirror = Mirror(root, storage)
        before = mirror.marker().get("identity")
        goes_on = fresh or mirror.is_to_be_pulled or mirror.goes_on_here()
    except OSError as error:
        raise ResultsError(
            f"--storage {url}: must be reachable and writable, got {reason_of(error)}. "
            "Check its name, the network, and the credentials in the environment."
        ) from error
    _refuse_what_is_there(mirror, config, before, fresh=fresh, goes_on=goes_on)
    return mirror


def _refuse_what_is_there(
    mirror: Mirror, config: StudyConfig, before: Any, *, fresh: bool, goes_on: bool
) -> None:
    """Keep two studies out of one place.

    Args:
        before: Identity of the study that is there, None for none.
        goes_on: Whether the trials here are those there, and perhaps more.
    """
    root, url = mirror.root, mirror.storage.url
    where = f"--storage {url}"
    if fresh and mirror.has_study:
        raise ResultsError(
            f"{where}: must be empty for --fresh, got the results of an earlier study. "
            "Name another folder there, or move that one out of the way."
        )
    refuse_other_identity(config, before, where, "Name another folder there.")
    if not goes_on:
        raise ResultsError(
            f"{where}: must hold no other trials than {root}, got others or more. To go on with "
            "what is there, name another folder with --results or move this one away; to go on "
            "with what is here, name another --storage."
        )
    if mirror.is_to_be_pulled and not mirror.is_free_here:
        raise ResultsError(
            f"--results {root}: must be empty to bring the study from {url}, got something else "
            "there. Name another folder."
        )


def pull(mirror: Mirror) -> None:
    """Bring the copy into the results folder.

    Raises:
        ResultsError: It cannot be reached any more, or the folder is not free or not writable.
    """
    try:
        mirror.pull()
    except OSError as error:
        raise ResultsError(
            f"--storage {mirror.storage.url}: its results must be copied to {mirror.root}, got "
            f"{reason_of(error)}. Mend that: the same command brings them again."
        ) from error


def _refuse_nested(storage: Storage, root: Path) -> None:
    here, there = root.resolve(), storage.folder
    if there and (here.is_relative_to(there) or there.is_relative_to(here)):
        raise ResultsError(
            f"--storage {storage.url}: must be apart from the results in {root}, got one inside "
            "the other. Name another folder."
        )
