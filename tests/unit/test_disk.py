"""What a study may take of the disk, what it took, and what is removed on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.disk import DiskWatch, disk_faults, folder_bytes
from search.results import ResultsFolder, open_results

SIZE = 3_000_000


def write(path: Path, num_bytes: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)
    return path


def test_the_peak_outlives_what_made_it(tmp_path: Path) -> None:
    results = open_results(tmp_path)
    watch = DiskWatch(results, None)
    big = write(tmp_path / "study" / "ray" / "a" / "checkpoint.pt")
    assert SIZE <= watch.used_bytes() < SIZE + 10**6
    big.unlink()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert watch.used_bytes() < 10**6
    DiskWatch(results, None).used_bytes()  # a later process
    assert SIZE <= results.read_marker("disk")["peak_bytes"] < SIZE + 10**6


def test_a_folder_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert folder_bytes(tmp_path / "gone") == 0


def test_the_limit_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.disk.SECONDS_BETWEEN_LOOKS", 0.0)
    watch = DiskWatch(open_results(tmp_path), 0.002)
    assert watch.reason_to_stop() == ""
    write(tmp_path / "x")
    assert watch.reason_to_stop().startswith("disk limit of 0.002 GB reached")
    assert DiskWatch(ResultsFolder(tmp_path), None).reason_to_stop() == ""


def test_what_has_no_room_is_said_with_numbers() -> None:
    parts = {"checkpoints": 600_000_000, "report": 60_000_000}
    assert disk_faults(parts, 10**9, 0, None) == ""
    assert disk_faults(parts, 10**9, 10**8, 0.8) == ""
    full = disk_faults(parts, 10**8, 0, None)
    assert "need 660 MB of disk (checkpoints 600 MB, report 60 MB), got 100 MB to spare" in full
    assert "resources.disk_gb allows, got 0.7" in disk_faults(parts, 10**9, 10**8, 0.7)


FULL_DISK = """
set -e
mount -t tmpfs -o size=20m tmpfs "$1/disk"
mkdir "$1/disk/results"
exec "$2" -m search.run --space "$1/tiny.yaml" --results "$1/disk/results/tiny" $3
"""


@pytest.mark.parametrize("flag", ["", "--dry-run"])
def test_a_full_disk_is_refused_before_anything_starts(tmp_path: Path, flag: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    (tmp_path / "disk").mkdir()
    text = "name: tiny\ndataset: {root: photos}\nspace: {lr: {float: [1e-4, 1e-2], log: true}}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    script = ["unshare", "-m", "sh", "-c", FULL_DISK, "sh", str(tmp_path), sys.executable, flag]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "must have 500 MB of free disk, got 21 MB" in done.stderr
    assert "Traceback" not in done.stderr
