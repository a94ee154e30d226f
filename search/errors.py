"""Errors a user can act on. Each says where, the rule, what came, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class SearchError(Exception):
    """Base of every error this project raises on purpose; the command line prints it and exits.

    Attributes:
        exit_code: 2 when the user can mend it (input, paths, flags), 1 when the work itself failed.
    """

    exit_code = 2


class SpaceError(SearchError, ValueError):
    """A space file (or an override of it) that does not describe a study.

    Args:
        where: The file, as the user named it.
        problems: One sentence each, starting with the dotted path: `space.lr.low: must be > 0 …`.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(
            f"{where} has {count}:\n" + "\n".join(f"  {line}" for line in self.problems)
        )


class DatasetError(SearchError, ValueError):
    """Images, folders or splits that cannot make a study."""


class ResultsError(SearchError, ValueError):
    """A results folder that cannot be written, or that belongs to another study."""


class ResourceError(SearchError, ValueError):
    """CPUs, GPUs, memory or disk asked for that are not there."""


class TrialError(SearchError, RuntimeError):
    """Training failed in a way the study cannot go on from, such as every trial failing."""

    exit_code = 1
