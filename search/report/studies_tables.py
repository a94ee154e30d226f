"""Tables that put several studies beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from search.report.answer import winner_params
from search.report.format import (
    interval_text,
    metric_text,
    metric_title,
    number_text,
    seconds_text,
    short,
    spread_text,
)
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.studies import Compared, missing_text, trials_text
from search.report.studies_facts import find_differences, same_everywhere
from search.report.studies_scores import (
    Pair,
    compare_pairs,
    disagreements,
    pair_text,
    test_accuracy,
)
from search.report.table import Table
from search.verdicts import p_text

_OWN = ("figure", "what", "setting", "value", "path", "label", "class")  # columns of the tables
_SCORES = ("balanced_accuracy", "macro_f1", "top5_accuracy", "mcc", "kappa", "log_loss", "ece")
_PARAMS = 30


def columns_of(studies: Sequence[Compared]) -> dict[str, str]:
    """Return a column for each study, with the name it is shown by."""
    return {s.name if s.name not in _OWN else f"{s.name} (study)": s.name for s in studies}


def _beside(
    name: str, title: str, first: Sequence[str], rows: Sequence[Any], studies: Sequence[Compared]
) -> Table:
    """Return a table whose last columns are the studies; every cell is text."""
    titles = columns_of(studies)
    frame = pd.DataFrame(list(rows), columns=[*first, *titles], dtype=object)
    return Table(name, title, frame, dict.fromkeys(frame.columns, "text"), titles=titles)


def side_by_side(studies: Sequence[Compared]) -> Table:
    """Scores, size and time of every study, a column each."""
    told = [_figures(study) for study in studies]
    names = dict.fromkeys(name for figures in told for name in figures)
    rows = [(name, *(figures.get(name, "") for figures in told)) for name in names]
    rows = [row for row in rows if any(row[1:])]
    return _beside("side_by_side", "Side by side", ("figure",), rows, studies)


def _figures(study: Compared) -> dict[str, str]:
    files = study.files
    accuracy, metrics = test_accuracy(study), section(files.metrics, "metrics")
    confirm, best = section(files.summary, "confirm"), section(files.summary, "best")
    found = {"test accuracy": interval_text("accuracy", vars(accuracy)) if accuracy else ""}
    for name in _SCORES:
        title = f"test {metric_title(name)}"
        found[title] = interval_text(name, metrics.get(name)) if study.is_tested else ""
    images = len(files.predictions)
    found["test images"] = f"{images:,}" if images else ""
    found["objective"] = files.metric
    found["confirmed"] = spread_text(files.metric, confirm.get("mean"), confirm.get("std"))
    seeds = confirm.get("num_seeds")
    found["fresh seeds"] = number_text(seeds) if confirm.get("mean") is not None else ""
    ranked = files.ranked()
    reached = best.get("value", ranked["best_value"].iloc[0] if len(ranked) else None)
    found["best in the search"] = metric_text(files.metric, reached)
    found["is tuning worth it"] = str(section(files.summary, "comparison").get("worth_it") or "")
    found["winner"] = str(confirm.get("winner") or "")
    found["trials"] = trials_text(study) if len(files.trials) else ""
    epochs = files.trials["epochs_run"].fillna(0).sum()
    found["epochs of the search"] = f"{int(epochs):,}" if epochs else ""
    found["search ended"] = str(files.summary.get("reason") or "")
    found |= _times(files)
    found["missing"] = "; ".join(study.missing)
    return found


def _times(files: StudyFiles) -> dict[str, str]:
    spent = section(files.summary, "stage_seconds")
    return {
        "time of the search": seconds_text(spent.get("search")),
        "time in all": seconds_text(sum(map(float, spent.values()))) if spent else "",
        "started": str(files.summary.get("started") or files.environment.get("started") or ""),
    }


def short_rows(studies: Sequence[Compared]) -> list[list[str]]:
    """Return what fits a terminal: a head, and one row a study."""
    names = ("test accuracy", "confirmed", "best in the search", "trials", "time in all")
    rows = [["study", *names]]
    for study in studies:
        figures = _figures(study)
        rows.append([short(study.name, 32), *(figures[name] for name in names)])
    return rows


def winners(studies: Sequence[Compared]) -> Table:
    """The parameters of every study's winner, a column each."""
    told = [winner_params(study.files) for study in studies]
    names = list(dict.fromkeys(name for params in told for name in params))[:_PARAMS]
    if not names:
        raise NothingToShowError("None of these studies has a winner yet.")
    rows = [(name, *(number_text(params.get(name)) for params in told)) for name in names]
    rows.sort(key=lambda row: len(set(row[1:])) < 2)  # what differs comes first
    return _beside("winners", "The winners' parameters", ("setting",), rows, studies)


def differences(studies: Sequence[Compared]) -> Table:
    """Every setting that is not the same in all studies."""
    found = find_differences(studies)
    if not found:
        raise NothingToShowError("Nothing on record differs between these studies.")
    rows = [(d.group, d.name, *d.values) for d in found]
    return _beside("differences", "Settings that differ", ("what", "setting"), rows, studies)


def shared(studies: Sequence[Compared]) -> Table:
    """Every setting that is the same in all studies."""
    rows = same_everywhere(studies)
    if not rows:
        raise NothingToShowError("Nothing on record is the same in all of these studies.")
    frame = pd.DataFrame(rows, columns=["what", "setting", "value"], dtype=object)
    return Table("shared", "The same everywhere", frame, dict.fromkeys(frame.columns, "text"))


def pairs(studies: Sequence[Compared]) -> Table:
    """Every two studies against each other, on test."""
    found = sorted(compare_pairs(studies), key=lambda pair: _place(pair, studies))
    rows = [_pair_row(pair, studies) for pair in found]
    kinds = dict.fromkeys(("better", "than", "p"), "text")
    hidden = ("difference", "low", "high", "p_value")
    return Table("pairs", "Every two studies, on test", pd.DataFrame(rows), kinds, hidden)


def _place(pair: Pair, studies: Sequence[Compared]) -> tuple[bool, float, float]:
    """Sort pairs: those of the most accurate study first, what cannot be compared last."""
    if pair.difference is None:
        return True, 0.0, 0.0
    accuracy = test_accuracy(studies[pair.first])
    return False, -accuracy.value if accuracy else 0.0, -pair.difference.value


def _pair_row(pair: Pair, studies: Sequence[Compared]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "better": studies[pair.first].name,
        "than": studies[pair.second].name,
        "judged_on": f"{pair.num_images:,} {pair.kind}" if pair.num_images else pair.kind,
        "points": "",
        "p": "",
        "verdict": "not comparable",
    }
    if pair.difference is None:
        return row
    found = pair.difference
    ends = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return row | {
        "points": f"{100 * found.value:+.1f} {ends}",
        "p": p_text(pair.p_value).removeprefix("p ").removeprefix("= "),
        "verdict": "more than noise" if pair.is_clear else "not more than noise",
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "p_value": pair.p_value,
    }


def disputed_images(studies: Sequence[Compared]) -> Table:
    """Test images that some studies get right and others wrong."""
    found = disagreements(studies)
    if found.empty:
        raise NothingToShowError(
            "No test image is right in one of these studies, wrong in another."
        )
    rows = found.itertuples(index=False, name=None)
    title = "Images that not all get right"
    return _beside("disputed_images", title, ("path", "label"), list(rows), studies)


TABLES: dict[str, Callable[[Sequence[Compared]], Table]] = {
    "side_by_side": side_by_side,
    "differences": differences,
    "pairs": pairs,
    "winners": winners,
    "disputed_images": disputed_images,
    "shared": shared,
}


def texts(studies: Sequence[Compared]) -> Mapping[str, list[str]]:
    """Return the sentences of the page: on every pair, and on what is missing."""
    found = compare_pairs(studies)
    return {
        "pairs": [pair_text(pair, studies) for pair in found],
        "missing": [text for study in studies if (text := missing_text(study))],
    }
