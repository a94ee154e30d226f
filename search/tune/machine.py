"""Whether one trial fits this machine: asked before Ray starts, without importing it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from search.errors import ResourceError, ResultsError

CONNECT_SECONDS = 3.0

MIN_FREE_BYTES = 500_000_000
"""Logs, checkpoints of running trials, models and report; the image cache checks its own room."""


def count_gpus() -> int:
    """Count this machine's NVIDIA GPUs without importing torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs has no GPU to lend
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def check_machine(cpus: float, gpus: float | str, results: Path, address: str) -> None:
    """Check, before Ray starts, that one trial fits this machine.

    Args:
        cpus, gpus: Of one trial; gpus may be "auto".
        results: Where everything is written.
        address: Of the Ray cluster; the machine's own CPUs and GPUs matter to "local" alone.

    Raises:
        ResourceError: A trial asks for more than there is; it would wait for ever.
        ResultsError: The disk is too full.
    """
    free = shutil.disk_usage(results).free
    if free < MIN_FREE_BYTES:
        raise ResultsError(
            f"--results {results}: must have {MIN_FREE_BYTES / 1e6:.0f} MB of free disk, "
            f"got {free / 1e6:.0f} MB. Free some space, or name a folder on another disk."
        )
    if address != "local":
        _check_address(address)
        return
    have_cpus = os.cpu_count() or 1
    if cpus > have_cpus:
        raise ResourceError(
            f"resources.cpus: must be at most the {have_cpus} CPUs of this machine, got {cpus:g}. "
            "Lower it, or join a cluster with --address."
        )
    if gpus != "auto" and float(gpus) > 0:
        have_gpus = count_gpus()
        if float(gpus) > have_gpus:
            raise ResourceError(
                f"resources.gpus: must be at most the {have_gpus} GPUs of this machine, "
                f"got {float(gpus):g}. Use gpus: auto (takes them where there are any), or join a "
                "cluster with --address."
            )


def _check_address(address: str) -> None:
    """Knock at a cluster's door: Ray itself would knock for minutes."""
    started = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    found = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS", "")
        if not found and started.exists():
            found = started.read_text(encoding="utf-8").strip()
    host, _, port = found.removeprefix("ray://").rpartition(":")
    reason = "no cluster that was started here (RAY_ADDRESS is not set either)"
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            return
        except OSError as error:
            reason = f"no answer from {found} ({error.strerror or error})"
    elif found:
        reason = f"{found!r}, which is not host:port"
    raise ResourceError(
        f"--address {address}: must be a running Ray cluster, got {reason}. "
        "Start one, or leave --address out to use this machine."
    )
