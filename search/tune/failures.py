"""What the machine did to a training, told apart from what its configuration did."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_DEATHS = {
    # What Ray's message has somewhere -> what it means.
    "running low on memory": "Ray ended its worker: the machine was nearly out of memory",
    "its worker process has died": "its worker was killed (out of memory?) or crashed",
}
_LOST_NODE = ("its node has died", "temporarily unavailable")
"""A node that is gone; one that does not answer, which Ray gives up a minute later."""


_REFUSED = re.compile(r"node ([0-9a-f]{20,}) cannot take what a training reads: (.*)")


def refusal(node_id: str, error: OSError) -> str:
    """Word what `read_failure` finds again: a node that has no place for images or weights."""
    return f"node {node_id} cannot take what a training reads: {error}".replace("\n", " ")


@dataclass(frozen=True)
class Failure:
    """Why an attempt at a training ended early.

    Attributes:
        reason: In a sentence.
        worker_died: Killed, or crashed, which a configuration may cause by taking too much memory;
            everything else that reaches Ray (files, disks, network) is no configuration's fault.
        node_lost: Its whole machine is gone, or out of reach.
        refused_by: Ray's id of the node where it could not even begin, "" for none.
    """

    reason: str
    worker_died: bool
    node_lost: bool = False
    refused_by: str = ""


def read_failure(error_file: str | None) -> Failure:
    """Read from Tune's error.txt what ended a trial's last attempt.

    Its exception is of no use: it cannot be loaded without pickle, and its last line, which is all
    that `Result.error` shows, is underlining on Python 3.11.
    """
    text = Path(error_file).read_text(encoding="utf-8") if error_file else ""
    text = text.rpartition("Failure # ")[2]
    if any(message in text for message in _LOST_NODE):
        return Failure("the node of its worker was lost", worker_died=False, node_lost=True)
    if refused := _REFUSED.search(text):
        return Failure(refused[2], worker_died=False, refused_by=refused[1])
    for message, reason in _DEATHS.items():
        if message in text:
            return Failure(reason, worker_died=True)
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~\t")]
    return Failure(lines[-1] if lines else "no message", worker_died=False)
