"""What the study found, in a few lines: the answer first, then what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search.report.format import (
    count_text,
    interval_text,
    is_number,
    is_share,
    metric_text,
    metric_title,
    number_text,
    short,
    spread_text,
)
from search.report.load import NothingToShowError, StudyFiles, numbers, section
from search.report.pareto import trade_off_text
from search.report.study_plots import history_data
from search.report.test_plots import confusion_data, reliability_data
from search.report.why import mistakes_text, why_text
from search.report.winner_plots import shared_runs
from search.verdicts import default_won_text

_KEY_PARAMS = 5
_MAX_STEPS = 3
_FEW_TRIALS = 20  # importances of fewer change with every trial more
_PLAIN_ORDER = ("optimizer", "lr", "batch_size", "augment_strength", "freeze", "weight_decay")
_ANCHORS = {
    "Best model": "winner",
    "Why this one": "search",
    "Test accuracy": "test",
    "What it gets wrong": "plot-confused_pairs",
    "Is tuning worth it here?": "test",
    "Trade-offs": "plot-pareto",
    "What mattered": "plot-importance",
}
_EVALUATOR_NAMES = {"fanova": "f-ANOVA", "ped_anova": "PED-ANOVA"}


@dataclass(frozen=True)
class Line:
    """One line of the answer: a short label, the sentence, and whether it still has no answer.

    `anchor` is the place on the page that tells more, "" for none.
    """

    label: str
    text: str
    missing: bool = False
    anchor: str = ""


def answer_lines(files: StudyFiles) -> list[Line]:
    """Say which model is best and why, how good it is, whether searching paid, what mattered."""
    why, mistakes = why_text(files), mistakes_text(files)
    lines = [
        _best_line(files),
        _test_line(files),
        *([Line("Why this one", why)] if why else []),
        *([Line("What it gets wrong", mistakes)] if mistakes else []),
        _default_line(files),
        *_trade_off_line(files),
        _importance_line(files),
        Line("Next", " ".join(next_steps(files)), missing=files.at_work),
    ]
    return [replace(line, anchor=_ANCHORS.get(line.label, "")) for line in lines]


def winner_params(files: StudyFiles) -> dict[str, Any]:
    """Return the searched parameters of the model the study chose, {} while there is none."""
    confirmed = section(section(files.summary, "confirm"), "params")
    return confirmed or files.best_params or section(section(files.summary, "best"), "params")


def _best_line(files: StudyFiles) -> Line:
    params = winner_params(files)
    if not params:
        row = files.ranked().head(1) if len(files.trials) else files.trials
        row = row[row["best_value"].notna()]
        if row.empty:
            return Line("Best model", "None yet: no trial finished an epoch.", True)
        cells = {name: row[f"params.{name}"].iloc[0] for name in files.params}
        params = {name: cell for name, cell in cells.items() if cell != ""}
        name = f"so far trial {row['number'].iloc[0]}, {_model_text(files, params)}"
        return Line(
            "Best model", f"{name}: {metric_text(files.metric, row['best_value'].iloc[0])}."
        )
    winner = section(files.summary, "confirm").get("winner")
    which = f" ({winner})" if winner else ""
    return Line("Best model", f"{_model_text(files, params)}{which}.")


def _model_text(files: StudyFiles, params: dict[str, Any]) -> str:
    name = params.get("backbone") or files.study.get("trainable") or "the model"
    order = ["trainable", *files.important(), *_PLAIN_ORDER]
    keys = [key for key in dict.fromkeys(order) if key in params and key != "backbone"]
    listed = ", ".join(f"{key} {number_text(params[key])}" for key in keys[:_KEY_PARAMS])
    return f"{short(name, 60)} with {listed}" if listed else short(name, 60)


def _test_line(files: StudyFiles) -> Line:
    scores = section(files.metrics, "metrics") or section(files.summary, "test")
    shown = interval_text("accuracy", scores.get("accuracy"))
    if not shown:
        return Line("Test accuracy", "Not measured yet: the test images are still unseen.", True)
    given = section(files.summary, "test").get("num_images") or len(files.predictions)
    of = f" on {count_text(int(given), 'image')}" if given else ""
    kinds = f" of {count_text(len(files.classes), 'class')}" if files.classes else ""
    return Line("Test accuracy", f"{shown}{of}{kinds} looked at once (95 % interval).")


def _default_line(files: StudyFiles) -> Line:
    label = "Is tuning worth it here?"
    comparison, confirm = section(files.summary, "comparison"), section(files.summary, "confirm")
    if text := str(comparison.get("text") or ""):
        answer = str(comparison.get("worth_it") or "").capitalize()
        return Line(label, f"{answer}: {text[0].lower()}{text[1:]}" if answer else text)
    if confirm.get("winner") == "default recipe":
        text = default_won_text(section(files.summary, "trials"))
        return Line(label, f"{text[0].upper()}{text[1:]}.")
    mean, default = confirm.get("mean"), confirm.get("default_mean")
    if not is_number(mean) or not is_number(default):
        return Line(label, "Not compared: the default recipe was not trained again.", True)
    stds, seeds = (confirm.get("std"), confirm.get("default_std")), confirm.get("num_seeds")
    gain = (float(mean) - float(default)) * (1 if files.maximize else -1)
    points = f"{abs(100 * gain):.1f} points" if is_share(files.metric) else number_text(abs(gain))
    verdict = f"{'better' if gain > 0 else 'worse'} by {points}"
    known = [float(std) for std in stds if is_number(std)]
    if len(known) == 2 and is_number(seeds) and seeds > 1:
        error = math.sqrt(sum(std**2 for std in known) / seeds)
        if abs(gain) < 2 * error:
            verdict = f"a difference of {points}, within the spread between seeds"
    scores = (
        spread_text(files.metric, value, std)
        for value, std in zip((mean, default), stds, strict=True)
    )
    shown = " against the default recipe's ".join(scores)
    over = f" over {count_text(int(seeds), 'fresh seed')}" if is_number(seeds) else ""
    return Line(label, f"{metric_title(files.metric).capitalize()} {shown}{over}: {verdict}.")


def _trade_off_line(files: StudyFiles) -> list[Line]:
    """Tell what is to be had for less, in a study that asked for it."""
    asked = files.goals.are_several or files.goals.constraints
    text = trade_off_text(files) if asked else ""
    return [Line("Trade-offs", text)] if text else []


def remarks(files: StudyFiles, section_id: str) -> tuple[list[str], list[str]]:
    """Return what the figures of a section must be read with, and what there is to say of them."""
    if section_id == "winner":
        text = section(section(files.summary, "confirm"), "optimism").get("text")
        shared, runs = shared_runs(files), files.confirm.dropna(subset=["value"])
        told = [_sentence(text)] if text else []
        if 0 < len(shared) < len(runs):
            seeds = count_text(shared["seed"].nunique(), "seed")
            told.append(
                f"Compared over the {seeds} that every candidate was trained with; below "
                "are all trainings, also those of a round that was cut short."
            )
        return [], told
    if section_id != "test":
        return [], []
    texts = [section(files.metrics, key).get("text") for key in ("runner_up", "calibration")]
    cautions = files.metrics.get("cautions")
    found = [_sentence(text).rstrip(".") for text in cautions] if isinstance(cautions, list) else []
    return found, [_sentence(text) for text in texts if text]


def _sentence(text: Any) -> str:
    line = str(text).strip()
    return line[:1].upper() + line[1:].rstrip(".") + "."


def _importance_line(files: StudyFiles) -> Line:
    tops = {}
    for evaluator, name in _EVALUATOR_NAMES.items():
        rows = files.importance[files.importance["evaluator"] == evaluator]
        rows = rows.sort_values("importance", ascending=False).head(3)
        rows = rows[rows["importance"] >= 0.05]
        if len(rows):
            pairs = zip(rows["parameter"], rows["importance"], strict=True)
            tops[name] = [(str(parameter), 100 * float(share)) for parameter, share in pairs]
    if not tops:
        return Line("What mattered", "Not known: too few trials finished to tell.", True)
    parts = [
        f"{', '.join(f'{parameter} ({share:.0f} %)' for parameter, share in top)} by {name}"
        for name, top in tops.items()
    ]
    same = len({top[0][0] for top in tops.values()}) == 1
    join = "; " if same else "; but among the best trials "
    valued = int(files.trials["best_value"].notna().sum())
    rough = "" if valued >= _FEW_TRIALS else f" Rough: from {count_text(valued, 'trial')} only."
    return Line("What mattered", join.join(parts) + "." + rough)


def next_steps(files: StudyFiles) -> list[str]:
    """Advise on what would help most, at most three things, the most pressing first."""
    checks = (_sample, _unfinished, _failures, _budget, _edges, _weak_classes, _calibration)
    steps = [step for check in checks for step in check(files)]
    if not steps:
        steps = ["More or cleaner photos would now help more than more trials."]
    return steps[:_MAX_STEPS]


def _sample(files: StudyFiles) -> list[str]:
    if not files.is_sample:
        return []
    return ["Search on your own photos: a folder per class, and --data FOLDER."]


def _unfinished(files: StudyFiles) -> list[str]:
    if files.predictions.empty and not section(files.metrics, "metrics"):
        return ["Run the same command again: it goes on where it stopped."]
    if str(files.summary.get("reason") or "").startswith("time limit"):
        return ["The time limit cut the search short: allow more with --time-limit."]
    return []


def _failures(files: StudyFiles) -> list[str]:
    failed = int((files.trials["state"] == "failed").sum())
    if failed < max(2, 0.15 * len(files.trials)):
        return []
    return [f"See why {count_text(failed, 'trial')} failed (Search, below)."]


def _budget(files: StudyFiles) -> list[str]:
    """Tell whether the curves or the incumbent were still rising when the budget ended."""
    try:
        data = history_data(files)
    except NothingToShowError:
        return []
    steps = []
    row = files.ranked().iloc[0]
    if row["state"] == "complete" and row["best_epoch"] == files.max_epochs > 1:
        steps.append(
            f"The best trial was best at its last epoch: try --epochs {2 * files.max_epochs}."
        )
    late = len(data.incumbent) * 4 // 5
    if len(data.incumbent) >= 10 and data.incumbent[late - 1] != data.incumbent[-1]:
        more = f"--trials {2 * len(data.numbers)}"
        if str(files.summary.get("reason") or "").startswith("epochs"):
            more = f"--set budget.total_epochs={2 * int(files.budget['total_epochs'])}"
        steps.append(f"The incumbent still rose at the end: try {more}.")
    return steps


def _edges(files: StudyFiles) -> list[str]:
    """Find numbers whose best value lies at the end of the range that was tried."""
    params, steps = winner_params(files), []
    for name in files.important()[:4]:
        values = numbers(files.trials[f"params.{name}"])
        if values is None or not is_number(params.get(name)) or values.nunique() < 8:
            continue
        rank = float((values.dropna() < float(params[name])).mean())
        if rank <= 0.03 or rank >= 0.97:
            side = "lower" if rank < 0.5 else "higher"
            steps.append(
                f"The best {name} lies at the edge of what was tried: allow {side} values."
            )
    return steps


def _weak_classes(files: StudyFiles) -> list[str]:
    """Name the pair of classes that is mixed up most, both ways together."""
    try:
        data = confusion_data(files)
    except NothingToShowError:
        return []
    both = data.counts + data.counts.T
    pairs = [(both[i, j], i, j) for i in range(len(both)) for j in range(i)]
    most, i, j = max(pairs, default=(0, 0, 0))
    if len(pairs) < 2 or most < 3 or most < 0.1 * (data.counts[i].sum() + data.counts[j].sum()):
        return []
    names = f"{short(data.classes[j], 40)} and {short(data.classes[i], 40)}"
    return [f"Look at {names}, mixed up {most} times, and add photos that tell them apart."]


def _calibration(files: StudyFiles) -> list[str]:
    try:
        error = reliability_data(files).ece
    except NothingToShowError:
        return []
    if error is None or error < 0.1:
        return []
    return [f"Its confidence is off by {metric_text('ece', error)} on average: do not rely on it."]
