"""What the data stage found that a test score must be read with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.records import DatasetIndex, Problem, Split

_CLASHES = "conflicting_label"


def test_cautions(
    problems: Sequence[Problem], index: DatasetIndex, split: Split
) -> tuple[str, ...]:
    """Say what may make the test score, or its interval, better than it should be. Pure.

    Args:
        problems: Of the check, those that were repaired too.
        index: Its rows carry the groups of look-alikes.
    """
    rows = index.rows
    test, shown = set(split.test.tolist()), [*split.train.tolist(), *split.val.tolist()]
    found = []
    trained = {rows[k].group for k in shown if rows[k].group >= 0}
    seen = sum(rows[k].group in trained for k in test)
    if seen:
        found.append(
            f"{_images(seen)} of the test split {'looks' if seen == 1 else 'look'} like images the "
            "model was trained on: the score is likely too high"
        )
    alike = _num_repeats(rows[k].group for k in test if rows[k].group >= 0)
    if alike:
        found.append(
            f"{_images(alike)} of the test split {'looks' if alike == 1 else 'look'} like another "
            "one there: the intervals are narrower than they should be"
        )
    if leaked := sum(problem.kind == "leak" for problem in problems):
        was, them = ("was", "it") if leaked == 1 else ("were", "them")
        found.append(
            f"{_images(leaked)} stood in two of the given splits and {was} left out of train or "
            f"val: scores that others report with {them} are higher than they should be, and a "
            "look-alike that no rule finds would make this one so"
        )
    places = {(rows[k].path, rows[k].root) for k in test}
    clashes = len({p.path for p in problems if p.kind == _CLASHES and (p.path, p.root) in places})
    if clashes:
        found.append(
            f"{_images(clashes)} of the test split look like an image of another class: one of the "
            "labels may be wrong, and a right answer counted as a mistake"
        )
    return tuple(found)


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


def _num_repeats(groups: Iterable[int]) -> int:
    """Count the members of groups beyond the first of each."""
    listed = list(groups)
    return len(listed) - len(set(listed))
