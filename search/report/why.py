"""Why the best model is the one, and what it gets wrong, in a sentence or two each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from search.report.format import (
    count_text,
    in_words,
    is_number,
    metric_text,
    metric_title,
    short,
    spread_text,
)
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.mistakes import pairs_data
from search.report.test_plots import confusion_data
from search.report.winner_plots import shared_runs, winner_number

_MOST_LISTED = 4
_MOST_PAIRS = 2


def why_text(files: StudyFiles) -> str:
    """Say what the winner was chosen for and how the best of other backbones did, "" if unknown."""
    parts = [_chosen(files), *(_compared(files, name) for name in ("trainable", "backbone"))]
    return " ".join(part for part in parts if part)


def _chosen(files: StudyFiles) -> str:
    confirm, metric = section(files.summary, "confirm"), files.metric
    winner = "" if files.at_work else str(confirm.get("winner") or "")
    if not winner:
        return ""
    if mean := spread_text(metric, confirm.get("mean"), confirm.get("std")):
        seeds = count_text(int(confirm.get("num_seeds") or 1), "fresh seed")
        text = f"{metric_title(metric).capitalize()} {mean} with {seeds}"
        known = shared_runs(files).groupby("candidate")["value"].mean()
        others = known.drop(winner, errors="ignore").sort_values(ascending=not files.maximize)
        if len(others):
            lead = (float(confirm["mean"]) - others.iloc[0]) * (1 if files.maximize else -1)
            how = "ahead of" if lead > 0 else "against"
            rival = str(others.index[0]).replace("default", "the default")
            text += f", {how} {rival}'s {metric_text(metric, others.iloc[0])}"
            return f"{text}{_doubt(abs(lead), confirm)}."
        return f"{text}; no other candidate was trained again."
    reached = metric_text(metric, files.search_values().get(winner_number(files) or 0))
    if not reached:
        return ""
    of = count_text(len(files.trials), "trial")
    return (
        f"{metric_title(metric).capitalize()} {reached} in the search, the best of {of}; not "
        "confirmed with fresh seeds."
    )


def _doubt(lead: float, confirm: dict[str, Any]) -> str:
    """Say where a lead between two means over the same number of seeds may be luck."""
    std, seeds = confirm.get("std"), confirm.get("num_seeds")
    if not is_number(seeds) or seeds < 2:
        return "; one seed cannot tell how much of that is luck"
    if is_number(std) and lead < 2 * std * math.sqrt(2 / seeds):
        return ", within the spread between seeds"
    return ""


def _compared(files: StudyFiles, name: str) -> str:
    """Give the best value of each level of a parameter, the best first."""
    if name not in files.params:
        return ""
    ranked = files.ranked()
    column = f"params.{name}"
    known = ranked[ranked["best_value"].notna() & (ranked[column] != "")]
    best = known.drop_duplicates(column)
    if len(best) < 2:
        return f"No other {name} was tried." if len(best) and name == "backbone" else ""
    cells = zip(best[column], best["best_value"], best["state"], strict=True)
    listed = [
        f"{short(level, 40)} {metric_text(files.metric, value)}"
        + ("" if state == "complete" else f" ({state})")
        for level, value, state in cells
    ]
    more = [f"{len(listed) - _MOST_LISTED} more"] if len(listed) > _MOST_LISTED else []
    return f"Best of each {name} in the search: {in_words(listed[:_MOST_LISTED] + more)}."


def mistakes_text(files: StudyFiles) -> str:
    """Count the wrong test images and name the classes they are of, "" before the test."""
    try:
        counts = confusion_data(files)
    except NothingToShowError:
        return ""
    try:
        data = pairs_data(files)
    except NothingToShowError:
        return "None: every test image was classified correctly."
    right, of = np.diag(counts.counts), counts.counts.sum(axis=1)
    text = f"{count_text(data.num_wrong, 'wrong answer')} on {int(of.sum()):,} test images."
    times = data.first + data.second
    listed = [
        f"{short(one, 40)} and {short(other, 40)} ({number} times)"
        for (one, other), number in list(zip(data.pairs, times, strict=True))[:_MOST_PAIRS]
        if number > 1
    ]
    listed = listed if len(counts.classes) > 2 else []
    text += f" Mixed up most: {'; '.join(listed)}." if listed else ""
    recall = np.where(of > 0, right / np.maximum(of, 1), 1.0)
    worst = int(np.argmin(recall))
    name = short(counts.classes[worst], 40)
    return f"{text} Least often recognised: {name} ({right[worst]} of {of[worst]})."
