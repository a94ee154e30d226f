"""What a study ran with: command, versions, git commit, hardware, images."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from search.records import write_json
from search.results import ResultsFolder

PACKAGES = (
    "seed-search", "ray", "optuna", "torch", "torchvision", "timm", "grad-cam",
    "scikit-learn", "numpy", "pandas", "matplotlib", "opencv-python-headless", "pillow",
)  # fmt: skip


def describe_environment(seed: int, num_gpus: int) -> dict[str, Any]:
    """Return versions, hardware, git commit, command and seed of this process."""
    return {
        "command": command_line(),
        "folder": str(Path.cwd()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {"python": platform.python_version()} | _versions(),
        "git": _git_commit(),
        "hardware": {
            "platform": platform.platform(),
            "processor": _processor(),
            "num_cpus": os.cpu_count(),
            "num_gpus": num_gpus,
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
    }


def note_data(results: ResultsFolder, fingerprint: str) -> None:
    """Add the images' fingerprint to environment.json, once it is known."""
    value = json.loads(results.environment.read_text(encoding="utf-8"))
    write_json(results.environment, value | {"data_fingerprint": fingerprint})


def command_line(without: str = "") -> str:
    """Return the command as one would type it again.

    Args:
        without: A flag to leave out.
    """
    module = Path(sys.argv[0])
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    start = ["python", "-m", spec.name] if spec is not None else ["python", str(module)]
    return shlex.join([*start, *(word for word in sys.argv[1:] if word != without)])


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _git_commit() -> str:
    """Return the commit of this project's checkout, with "+" when files differ, "" outside one."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10
        )
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
