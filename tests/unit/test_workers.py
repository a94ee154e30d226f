"""Ray's own impatience at its start, and ours."""

from __future__ import annotations

from typing import Any

import pytest
from ray._private import services

from search.tune import workers


def test_servers_that_start_slowly_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def not_yet(address: str, node: str) -> dict[str, int]:
        asked.append((address, node))
        if len(asked) < 4:
            raise RuntimeError("no such node")
        return {"node_manager_port": 1}

    monkeypatch.setattr(services, "get_node", not_yet)
    workers.wait_for_servers()
    workers.wait_for_servers()  # of a second session in one process: patience does not add up
    assert services.get_node("127.0.0.1:1", "abc") == {"node_manager_port": 1}
    assert asked == [("127.0.0.1:1", "abc")] * 4


def test_servers_that_never_start_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(address: str, node: str) -> dict[str, int]:
        raise RuntimeError("no such node")

    monkeypatch.setattr(services, "get_node", never)
    monkeypatch.setattr(workers, "SECONDS_FOR_SERVERS", 0.3)
    workers.wait_for_servers()
    with pytest.raises(RuntimeError, match="no such node"):
        services.get_node("127.0.0.1:1", "abc")
