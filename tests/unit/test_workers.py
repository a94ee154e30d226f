"""Ray's own impatience at its start, and ours."""

from __future__ import annotations

import pytest

from search.tune.workers import NUM_STARTS, start_servers

SLOW = "The current node timed out during startup. This could happen because"


def starts(*outcomes: Exception | None) -> int:
    """Start servers that end like this, one try after another; return the number of tries."""
    waiting = list(outcomes)

    def start() -> None:
        if error := waiting.pop(0):
            raise error

    start_servers(start)
    return len(outcomes) - len(waiting)


def test_servers_that_were_too_slow_are_started_again() -> None:
    assert starts(None) == 1
    assert starts(Exception(SLOW), Exception(SLOW), None, None) == 3


@pytest.mark.parametrize("error", [Exception(SLOW), ConnectionError("no cluster at this address")])
def test_servers_that_do_not_start_are_given_up(error: Exception) -> None:
    outcomes = [error] * (NUM_STARTS if "timed out" in str(error) else 1)
    with pytest.raises(type(error), match=str(error)[:12]):
        starts(*outcomes, *([] if len(outcomes) > 1 else [None]))
