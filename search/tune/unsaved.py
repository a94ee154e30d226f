"""Keep Ray's snapshots from pickling what we hand to Tune."""

from __future__ import annotations

from typing import Any, Self

from ray.tune.experiment import Trial


class Unsaved:
    """Pickles to an empty object, so a Tune snapshot can be written and holds nothing of ours.

    The ledger is what a later process goes on from; nothing restores a snapshot. Without this,
    Tune would pickle the terminal, the clock and Optuna's storage with the search.
    """

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: Tune asks searchers and schedulers to save themselves."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""


def leave_unsaved(trial: Trial) -> None:
    """Keep a trial out of snapshots: the last one alone would take seconds for a thousand."""
    trial.get_json_state = _no_state  # type: ignore[method-assign]


def _no_state() -> tuple[str, str]:
    return "{}", "{}"
