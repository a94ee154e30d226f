"""A cluster of three nodes for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, make_hosts
from tests.cluster.namespaces import forbidden, missing


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip where hosts cannot be made."""
    if reason := missing() or forbidden():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def cluster(permitted: None) -> Iterator[Cluster]:
    """Three nodes that `ray up` brought up, and the laptop it was called on."""
    with make_hosts(num_workers=2) as hosts:
        cluster = Cluster(hosts)
        cluster.up()
        cluster.wait_for_nodes(3)
        yield cluster
