"""One quiet Ray session: started in the background while the data is read, warmed, shut down."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from search.clock import EXIT_INTERRUPTED, Clock, leave_at_once, write_raw
from search.errors import ResourceError, TrialError, first_line
from search.tune.workers import (
    SYSTEM_CONFIG,
    keep_workers_of_both_kinds,
    let_workers_start,
    retry_what_was_handed_over,
    share_idle_workers,
    start_servers,
    start_workers,
)

if TYPE_CHECKING:
    from search.tune.cluster import Cluster

_QUIET = {
    # Every one of these costs seconds, disk or lines on the terminal in a plain set-up.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the ledger is our snapshot
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # as many as have slots: see `let_workers_start`
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "30",
    # A reused actor waits this long for the thread of its last trial; 2 s lose trials under load.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
    "MALLOC_ARENA_MAX": "2",  # of the workers: an arena a thread is memory that never comes back
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


_FOR_WORKERS = (
    "MALLOC_ARENA_MAX",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S",
    "SEED_SEARCH_CHECKPOINT_SECONDS",
)
"""Sent to the workers of a cluster that is joined; those of our own inherit every variable."""

SERVERS = ("gcs_server", "raylet")
WATCH_SECONDS = 0.5


class RaySession:
    """A Ray cluster, local unless an address is given.

    Args:
        address: "local" for a cluster of this process's own, "auto" or host:port to join one.
        verbose: Let Ray and Optuna talk.
        clock: Knows whether a stop was asked for, which Ray's servers may obey first.
    """

    def __init__(
        self, address: str = "local", verbose: bool = False, clock: Clock | None = None
    ) -> None:
        self._clock = clock
        self.address = address
        self._verbose = verbose
        self._error: BaseException | None = None
        self._imported = threading.Event()
        self._up = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched: tuple[tuple[str, Any], ...] = ()
        self._cluster: Cluster | None = None

    def start(self) -> None:
        """Begin starting in the background, workers that import torch and timm included."""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def wait_for_imports(self) -> None:
        """Wait until ray is imported: two threads importing it at once break it."""
        if self._thread is not None:
            self._imported.wait()

    @property
    def cluster(self) -> Cluster:
        """The nodes; waits until they can be asked.

        Raises:
            ResourceError: See `wait`.
        """
        self.wait()
        if self._cluster is None:
            from search.tune.cluster import Cluster

            self._cluster = Cluster() if self.address == "local" else Cluster.joined()
        return self._cluster

    def wait(self) -> None:
        """Wait until trials can run.

        Raises:
            ResourceError: No cluster at the address, or Ray could not start.
        """
        if self._thread is None:
            return
        self._up.wait()
        if self._error is not None and self.address == "local":
            raise ResourceError(
                f"Ray must start on this machine, got: {first_line(self._error)}. "
                "Run again with -v to see its own messages."
            ) from self._error
        if self._error is not None:
            raise ResourceError(
                f"--address {self.address}: must be a running Ray cluster, got: "
                f"{first_line(self._error)}. Start one, "
                "or leave --address out to use this machine."
            ) from self._error

    def stop(self) -> None:
        """Shut a local cluster down; leave a joined one alone."""
        if self._thread is not None:
            self._up.wait()
            import ray

            self._watched = ()
            ray.shutdown()
            self._over.set()
            self._thread.join()

    def _live(self) -> None:
        """Start Ray, then stay: the kernel ends Ray's processes with the thread that made them."""
        try:
            self._start()
        except BaseException as error:  # handed to wait(), which raises it where it can be shown
            self._error = error
        self._imported.set()
        self._up.set()
        while not self._over.wait(WATCH_SECONDS):
            self._leave_a_dead_cluster()

    def _leave_a_dead_cluster(self) -> None:
        """End the command when one of Ray's servers died: trials would wait for it for ever.

        Nothing can be unwound, shutting down included, that does not wait for the dead one too.
        """
        for name, process in self._watched:
            if process.poll() is not None:
                if self._clock is not None and self._clock.stop_requested:
                    # The signal went to all processes, as `timeout` and Slurm send it.
                    write_raw(b"\nstopped: finished trials are kept, the same command goes on\n")
                    leave_at_once(EXIT_INTERRUPTED)
                write_raw(
                    f"\nerror: Ray's {name} must live as long as the command, got killed (out of "
                    "memory?). What is finished is kept, the same command goes on.\n".encode()
                )
                leave_at_once(TrialError.exit_code)

    def _start(self) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        level = logging.INFO if self._verbose else logging.ERROR
        is_own = self.address == "local"
        environment = _runtime_env() if is_own else _variables_of_workers()
        start_servers(
            lambda: ray.init(
                address=self.address,
                include_dashboard=False if is_own else None,
                log_to_driver=self._verbose,
                logging_level=level,
                runtime_env=environment,
                _system_config=SYSTEM_CONFIG if is_own else None,
            )
        )
        self._watched = _servers()
        if is_own and environment:  # Ray has started a worker for each CPU, but without it
            start_workers(int(ray.available_resources().get("CPU", 1)))
        # Only now: meanwhile the workers import what takes them longest.
        import ray.tune.search.optuna

        let_workers_start()
        keep_workers_of_both_kinds()
        retry_what_was_handed_over()
        from search.tune.places import keep_places_up_to_date

        keep_places_up_to_date()
        if is_own:
            share_idle_workers()
        self._imported.set()
        self._quieten(level)

    def _quieten(self, level: int) -> None:
        if self._verbose:
            return
        for name in ("ray", "ray.tune", "ray.train", "ray.air", "ray.data"):
            logging.getLogger(name).setLevel(level)
        # Trials that fail have their row and their line, a full disk its message.
        for name in ("ray.tune.tune", "ray.tune.execution.experiment_state"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ray_worker = importlib.import_module("ray._private.worker")
        ray_worker.print_to_stdstream = lambda *_, **__: None  # type: ignore[attr-defined]
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="ray|optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _servers() -> tuple[tuple[str, Any], ...]:
    """Return name and process of the servers that this process started, none of a joined cluster's.

    Ray hides them well; without them a dead server is noticed after a minute, by a crash.
    """
    from ray._private.worker import _global_node as node

    processes: dict[str, Any] = node.all_processes if node is not None else {}
    return tuple((name, processes[name][0].process) for name in SERVERS if name in processes)


def _variables_of_workers() -> dict[str, Any]:
    return {"env_vars": {name: os.environ[name] for name in _FOR_WORKERS if name in os.environ}}


def _runtime_env() -> dict[str, Any] | None:
    """Return what workers need to start at all.

    Ray starts them through a shell without quoting the interpreter's path; in a folder such as
    "My Projects" none ever starts, and every trial waits for ever.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}
