"""One thread, no network, no hub cache of this machine: every test sees the same world."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parent.parent / "shared"

# Read when torch, matplotlib, huggingface_hub and ray are imported, also in child processes.
os.environ.update(
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
    HF_HOME=str(TESTS.parent / ".pytest_cache" / "hub"),  # empty: weights found here are no test's
    HF_HUB_OFFLINE="1",
    RAY_USAGE_STATS_ENABLED="0",
)

# The same examples in every run: a change that breaks nothing is never refused by a lucky find.
# Look for new ones with `pytest tests/unit --hypothesis-profile=default`.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)  # before -m selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = pytest.mark.skip(reason=f"{SHARED / 'data'}: no real photos there")
    for item in items:
        if item.path.is_relative_to(TESTS / "e2e"):
            item.add_marker(pytest.mark.e2e)
        if item.path.is_relative_to(TESTS / "cluster"):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))  # the first one of a file starts a cluster
        if item.path.is_relative_to(TESTS / "real"):
            item.add_marker(pytest.mark.real)
            if not (SHARED / "data").is_dir():
                item.add_marker(absent)
