"""Checkpoints on disk: one a trial, and only as long as it may be needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.tune.ledger import Ledger


def remove_leftovers(folder: Path, stage: str, ledger: Ledger) -> None:
    """Remove the checkpoints of earlier processes that no trial goes on from.

    A process that was killed before it removed one leaves it behind.

    Args:
        folder: Where Tune keeps the runs of all stages.
    """
    wanted = {trial.checkpoint for trial in ledger.trials.values()}
    for checkpoint in folder.glob(f"{stage}-*/*/checkpoint_*"):
        if str(checkpoint) not in wanted:
            shutil.rmtree(checkpoint, ignore_errors=True)


def remove_replaced(before: str, now: str) -> None:
    """Remove a trial's checkpoint once it has written another.

    Tune could, but then takes a snapshot of all trials whenever one of them saves.
    """
    if before and before != now:
        shutil.rmtree(before, ignore_errors=True)
