"""Test scores of several studies: how far apart they are, and whether that is noise. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pandas as pd

from search.records import Metric
from search.report.format import in_words, interval_text, is_number, short
from search.report.load import section
from search.report.studies import Compared, answers, class_set
from search.statistics import (
    difference_of_proportions,
    holm,
    mcnemar_exact,
    paired_bootstrap_difference,
    proportion,
    two_proportions_p,
)
from search.verdicts import is_clear, p_text

MOST_SHARED = 0.5
"""Of the smaller test set: with fewer images in common, all of both tell more than those."""


@dataclass(frozen=True)
class Pair:
    """Two studies' test accuracies against each other.

    Attributes:
        first, second: Places of the studies; `first` is not worse.
        kind: "same images", "common images", "other images", "other classes" or "not tested".
        num_images: That both were judged on; of other images, the smaller number.
        difference: Accuracy of the first minus the second with its 95 % interval, None where the
            two cannot be compared.
        p_value: McNemar's on the same images, else of two proportions, allowing for all pairs
            of this comparison (Holm).
    """

    first: int
    second: int
    kind: str
    num_images: int = 0
    difference: Metric | None = None
    p_value: float = 1.0

    @property
    def is_clear(self) -> bool:
        """Whether the difference is more than noise."""
        return self.difference is not None and is_clear(self.difference, self.p_value)


def test_accuracy(study: Compared) -> Metric | None:
    """Return a study's test accuracy with its interval, None if it was not tested."""
    if not study.is_tested:
        return None
    found = answers(study)
    return proportion(float(found["right"].sum()), len(found))


def compare_pairs(studies: Sequence[Compared]) -> list[Pair]:
    """Compare every two studies; p-values allow for the number of comparisons made."""
    told = {k: answers(study) for k, study in enumerate(studies) if study.is_tested}
    classes = [class_set(study) for study in studies]
    pairs = []
    for a, b in combinations(range(len(studies)), 2):
        if a not in told or b not in told:
            pairs.append(Pair(a, b, "not tested"))
        elif classes[a] != classes[b]:
            pairs.append(Pair(a, b, "other classes"))
        else:
            pairs.append(_compare(a, b, told[a], told[b]))
    places = [k for k, pair in enumerate(pairs) if pair.difference is not None]
    for k, p_value in zip(places, holm([pairs[k].p_value for k in places]), strict=True):
        pairs[k] = replace(pairs[k], p_value=p_value)
    return pairs


def _compare(a: int, b: int, one: pd.DataFrame, other: pd.DataFrame) -> Pair:
    both = one.merge(other, on=["key", "label"], suffixes=("_a", "_b"))
    if len(both) >= MOST_SHARED * min(len(one), len(other)):
        right_a, right_b = (both[f"right_{end}"].to_numpy(dtype=bool) for end in "ab")
        if right_a.sum() < right_b.sum():
            a, b, right_a, right_b = b, a, right_b, right_a
        whole = len(both) == len(one) == len(other)
        return Pair(
            a, b, "same images" if whole else "common images", len(both),
            paired_bootstrap_difference(right_a, right_b), mcnemar_exact(right_a, right_b),
        )  # fmt: skip
    if one["right"].mean() < other["right"].mean():
        a, b, one, other = b, a, other, one
    counts = (int(one["right"].sum()), len(one), int(other["right"].sum()), len(other))
    smaller = min(len(one), len(other))
    found = difference_of_proportions(*counts)
    return Pair(a, b, "other images", smaller, found, two_proportions_p(*counts))


def pair_text(pair: Pair, studies: Sequence[Compared]) -> str:
    """Say in one sentence how two studies stand to each other."""
    first, second = (short(studies[k].name, 60) for k in (pair.first, pair.second))
    if pair.kind == "not tested":
        untested = [short(studies[k].name, 60) for k in (pair.first, pair.second)
                    if not studies[k].is_tested]  # fmt: skip
        return f"{first} and {second} cannot be compared yet: no test of {in_words(untested)}."
    if pair.difference is None:
        return (
            f"{first} and {second} cannot be compared: they tell other classes apart "
            f"({class_difference(studies[pair.first], studies[pair.second])})."
        )
    points, found = 100 * pair.difference.value, pair.difference
    interval = f"95 % interval {100 * found.low:.1f} to {100 * found.high:.1f}"
    test = "McNemar" if pair.kind != "other images" else "two proportions"
    start = (
        f"{first} and {second} are equally accurate"
        if points < 0.05
        else f"{first} is {points:.1f} points more accurate than {second}"
    )
    verdict = "more than noise" if pair.is_clear else "not more than noise"
    return f"{start} {_images_text(pair)} ({interval}; {test} {p_text(pair.p_value)}): {verdict}."


def _images_text(pair: Pair) -> str:
    number = f"{pair.num_images:,}"
    return {
        "same images": f"on the same {number} test images",
        "common images": f"on the {number} test images that both have",
        "other images": "on other test images, which makes the comparison weaker",
    }[pair.kind]


def class_difference(one: Compared, other: Compared) -> str:
    """Say which classes only one of two studies knows."""
    parts = []
    for mine, theirs in ((one, other), (other, one)):
        only = sorted(class_set(mine) - class_set(theirs))
        if only:
            more = f" and {len(only) - 3} more" if len(only) > 3 else ""
            listed = ", ".join(short(name, 30) for name in only[:3])
            parts.append(f"only {short(mine.name, 40)} has {listed}{more}")
    return "; ".join(parts) or "one has none on record"


def answer_text(studies: Sequence[Compared], pairs: Sequence[Pair]) -> str:
    """Answer in one sentence which study's model is best, and how sure that is."""
    tested = [(k, m) for k, s in enumerate(studies) if (m := test_accuracy(s)) is not None]
    if not tested:
        return "None of these studies was tested yet, so their models cannot be compared."
    usable = [pair for pair in pairs if pair.difference is not None]
    if not usable:
        if len(tested) == 1:
            name = short(studies[tested[0][0]].name, 60)
            score = interval_text("accuracy", vars(tested[0][1]))
            return f"Only {name} was tested ({score}): there is nothing to compare it with yet."
        return pair_text(next(p for p in pairs if p.kind == "other classes"), studies)
    if len(studies) == 2:
        return pair_text(usable[0], studies)
    names = {k: short(study.name, 40) for k, study in enumerate(studies)}
    values = {k: metric.value for k, metric in tested}
    best = max({k for p in usable for k in (p.first, p.second)}, key=lambda k: values[k])
    against = [pair for pair in usable if best in (pair.first, pair.second)]
    clear = [names[p.second] for p in against if p.first == best and p.is_clear]
    unclear = [_other(p, best, names) for p in against if not (p.first == best and p.is_clear)]
    score = interval_text("accuracy", vars(dict(tested)[best]))
    parts = [f"more than noise above {in_words(clear)}"] if clear else []
    parts += [f"not more than noise apart from {in_words(unclear)}"] if unclear else []
    return f"{names[best]} has the best test accuracy, {score}: {'; '.join(parts)}."


def _other(pair: Pair, place: int, names: dict[int, str]) -> str:
    return names[pair.second if pair.first == place else pair.first]


def seeds_text(studies: Sequence[Compared]) -> str:
    """Say how far another seed moves a score, where confirmations tell; "" where none does."""
    spread = {}
    for study in studies:
        std = section(study.files.summary, "confirm").get("std")
        if is_number(std) and study.files.metric.endswith("accuracy"):
            spread[study.name] = 100 * float(std)
    if not spread:
        return ""
    found = f"{min(spread.values()):.1f} to {max(spread.values()):.1f}"
    if len(spread) <= 3:
        found = in_words([f"{short(name, 40)} ± {std:.1f}" for name, std in spread.items()])
    return (
        "Each test score is of one training. Another seed moves it too: the confirmations of the "
        f"winners spread by {found} points ({study_metric(studies)}). Intervals and "
        "tests here allow for which images were drawn, not for that."
    )


def study_metric(studies: Sequence[Compared]) -> str:
    """Name the objectives of the studies."""
    return ", ".join(dict.fromkeys(study.files.metric for study in studies))


def disagreements(studies: Sequence[Compared]) -> pd.DataFrame:
    """Return the test images that some studies get right and others wrong, what each said."""
    tables = [answers(study) if study.is_tested else None for study in studies]
    rows: dict[tuple[str, str], dict[int, str]] = {}
    paths: dict[tuple[str, str], str] = {}
    for k, table in enumerate(tables):
        if table is None:
            continue
        for key, label, path, said in zip(
            table["key"], table["label"], table["path"], table["predicted"], strict=True
        ):
            rows.setdefault((key, label), {})[k] = said
            paths.setdefault((key, label), path)
    kept = [
        (paths[place], place[1], *(said.get(k, "") for k in range(len(studies))))
        for place, said in rows.items()
        if len({guess == place[1] for guess in said.values()}) == 2
    ]
    return pd.DataFrame(sorted(kept), columns=["path", "label", *range(len(studies))])
