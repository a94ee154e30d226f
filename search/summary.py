"""summary.json: the whole study in one machine-readable file, and its few lines for a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from search.config import StudyConfig
from search.goals import figures_of, footprint_of, footprint_text
from search.optimism import measure_optimism
from search.pareto import front_of
from search.records import (
    CheckedDataset,
    Confirmation,
    Evaluation,
    SearchOutcome,
    Split,
    TrialState,
    write_json,
)
from search.results import ResultsFolder
from search.select import rank_trials
from search.statistics import proportion
from search.verdicts import default_won_text

_STAGES = (
    "check", "split", "cache", "probe", "search", "confirm", "retrain", "evaluate", "explain",
    "export", "report",
)  # fmt: skip


def write_summary(
    results: ResultsFolder,
    config: StudyConfig,
    *,
    dataset: dict[str, Any],
    outcome: SearchOutcome,
    confirmation: Confirmation,
    evaluation: Evaluation,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Write summary.json and return it.

    Args:
        dataset: From `describe_dataset`.
    """
    environment = _read(results.environment)
    judged = _read(results.test / "metrics.json")
    test = {name: vars(metric) for name, metric in evaluation.metrics.items()}
    value = {
        "study": _study(config),
        "dataset": dataset,
        "trials": _counts(outcome),
        "best": _best(outcome, config, dataset["num_val"]),
        "pareto": _pareto(outcome, config),
        "confirm": _confirm(confirmation, config, dataset["num_val"])
        | {"optimism": measure_optimism(outcome.trials, confirmation, config.objective.direction)},
        "test": test | {"num_images": len(evaluation.ids), "num_looks": _num_looks(results)},
        "warm_start": _warm_start(results),
        "cautions": judged.get("cautions", []),
        "comparison": judged.get("comparison"),
        "runner_up": judged.get("runner_up"),
        "calibration": judged.get("calibration"),
        "stage_seconds": _stage_seconds(results),
        "peak_disk_mb": _peak_disk_mb(results),
        "warnings": list(warnings),
        "reason": outcome.reason,
        "command": environment.get("command", ""),
        "started": environment.get("started", ""),
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "hardware": environment.get("hardware", {}),
        "versions": environment.get("versions", {}),
    }
    write_json(results.summary, value)
    return value


def describe_dataset(
    config: StudyConfig, checked: CheckedDataset, split: Split, is_sample: bool
) -> dict[str, Any]:
    """Return what summary.json says of the images."""
    index = checked.index
    return {
        "roots": [str(root) for root in index.roots],
        "classes": list(index.classes),
        "num_images": len(index.rows),
        "num_train": len(split.train),
        "num_val": len(split.val),
        "num_test": len(split.test),
        "given_splits": list(split.given),
        "num_dropped": sum(p.action == "dropped" for p in checked.problems),
        "problems": dict(Counter(p.kind for p in checked.problems)),
        "fingerprint": checked.fingerprint,
        "is_sample": is_sample,
        "source": config.dataset.source,
        "size_px": config.dataset.size_px,
        "fit": config.dataset.fit,
    }


def read_summary(results: ResultsFolder) -> dict[str, Any]:
    """Return summary.json, {} when there is none."""
    return _read(results.summary)


def summary_lines(value: dict[str, Any]) -> list[str]:
    """Return the answer in a few lines."""
    accuracy = value["test"]["accuracy"]
    best, confirm = value["best"], value["confirm"]
    objective = value["study"]["objective"]
    metric = (objective[0] if isinstance(objective, list) else objective)["metric"]
    trials = ", ".join(f"{n} {state}" for state, n in value["trials"].items() if n)
    params = ", ".join(f"{name}={_short(v)}" for name, v in confirm["params"].items())
    lines = [
        f"test accuracy {100 * accuracy['value']:.1f} %, 95 % interval "
        f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %, "
        f"{value['test']['num_images']} images, {len(value['dataset']['classes'])} classes",
        f"winner: {confirm['winner']} ({params})",
    ]
    if confirm.get("footprint"):
        lines.append(f"its model: {footprint_text(confirm['footprint'])}")
    if confirm["mean"] is not None:
        spread = f" ± {confirm['std']:.4f}" if confirm["std"] is not None else ""
        seeds = (
            "1 fresh seed" if confirm["num_seeds"] == 1 else f"{confirm['num_seeds']} fresh seeds"
        )
        lines.append(
            f"{metric} {confirm['mean']:.4f}{spread} over {seeds} "
            f"(best of the search: {best['value']:.4f})"
        )
    if optimism := confirm.get("optimism"):
        lines.append(optimism["text"])
    if answer := tuning_answer(value):
        lines.append(answer)
    lines.append(f"trials: {trials}; search ended: {value['reason']}")
    if warm_start := value.get("warm_start"):
        lines.append(
            f"the search began with {warm_start['num_fitting']} of {warm_start['num_trials']} "
            f"trials of {warm_start['source']}"
        )
    return lines


def tuning_answer(value: dict[str, Any]) -> str:
    """Answer in one sentence whether tuning was worth it here, "" where nothing tells."""
    comparison = value.get("comparison") or {}
    if text := str(comparison.get("text") or ""):
        answer = comparison.get("worth_it")
        return (
            f"was tuning worth it here? {answer}: {text[0].lower()}{text[1:]}" if answer else text
        )
    if (value.get("confirm") or {}).get("winner") == "default recipe":
        return f"was tuning worth it here? {default_won_text(value.get('trials') or {})}"
    return ""


def _study(config: StudyConfig) -> dict[str, Any]:
    resolved = config.resolved()
    kept = ("name", "trainable", "objective", "constraints", "seed", "budget")
    return {name: resolved[name] for name in kept}


def _counts(outcome: SearchOutcome) -> dict[str, int]:
    states = Counter(trial.state.value for trial in outcome.trials)
    return {state.value: states.get(state.value, 0) for state in TrialState}


def _best(outcome: SearchOutcome, config: StudyConfig, num_val: int) -> dict[str, Any]:
    best = rank_trials(outcome.trials, config.objective.direction)[0]
    return _val_interval(config, best.best_value, num_val) | {
        "trial_number": best.number,
        "params": best.params,
        "value": best.best_value,
        "epoch": best.best_epoch,
    }


def _pareto(outcome: SearchOutcome, config: StudyConfig) -> list[dict[str, Any]]:
    """Return the complete trials that no other beats in all that counts, best first."""
    trials = [t for t in outcome.trials if t.state is TrialState.COMPLETE]
    rows = {(e.trial_number, e.epoch): vars(e) for e in outcome.epochs}
    figures = [
        figures_of(rows.get((t.number, t.best_epoch or 0), {}), footprint_of(vars(t)))
        for t in trials
    ]
    goals = config.goals
    return [
        {"trial_number": trials[k].number, **figures[k], "params": trials[k].params}
        for k in front_of(figures, goals.trade_off)
    ]


def _confirm(confirmation: Confirmation, config: StudyConfig, num_val: int) -> dict[str, Any]:
    winner = confirmation.winner
    default = [r.value for r in confirmation.runs if r.trial_number == 0 and r.value is not None]
    return _val_interval(config, confirmation.mean, num_val) | {
        "winner": "default recipe" if winner.number == 0 else f"trial {winner.number}",
        "params": winner.params,
        "footprint": footprint_of(vars(winner)),
        "mean": confirmation.mean,
        "std": confirmation.std,
        "num_seeds": confirmation.num_seeds,
        "default_mean": fmean(default) if default else None,
        "default_std": stdev(default) if len(default) > 1 else None,
        "note": confirmation.note,
    }


def _val_interval(config: StudyConfig, value: float | None, num_val: int) -> dict[str, Any]:
    """Return low and high of an accuracy on this many val images; other metrics have none here.

    A mean over seeds is no surer than one run as far as the images go: all seeds saw the same.
    """
    if value is None or config.objective.metric != "val_accuracy":
        return {"low": None, "high": None}
    metric = proportion(round(value * num_val), num_val)
    return {"low": metric.low, "high": metric.high}


def _stage_seconds(results: ResultsFolder) -> dict[str, float]:
    markers = {stage: results.read_marker(stage) for stage in _STAGES}
    return {stage: marker["seconds"] for stage, marker in markers.items() if marker}


def _peak_disk_mb(results: ResultsFolder) -> float | None:
    peak = results.read_marker("disk").get("peak_bytes")
    return None if peak is None else round(peak / 1e6, 1)


def _num_looks(results: ResultsFolder) -> int:
    """Return how many final models the test images have judged."""
    return int(results.read_marker("evaluate").get("times", 1))


def _warm_start(results: ResultsFolder) -> dict[str, Any] | None:
    """Return which study this one began with, and how many of its trials fit."""
    value = _read(results.warm_start)
    if not value:
        return None
    kept = {name: value[name] for name in ("source", "num_trials", "skipped", "differences")}
    return kept | {"num_fitting": len(value["trials"])}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
