"""How figures are written: one way everywhere, blank where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

_TITLES = {
    "ece": "expected calibration error",
    "log_loss": "log loss",
    "macro_f1": "macro F1",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "top5_accuracy": "top-5 accuracy",
    "lr": "learning rate",
    "latency_ms": "latency",
    "num_parameters": "number of parameters",
    "model_mb": "size",
}
_UNITS = {"latency_ms": " (ms)", "model_mb": " (MB)"}
_SHARES = ("accuracy", "f1", "precision", "recall", "ece", "recall_low", "recall_high")


def is_share(metric: str) -> bool:
    """Tell whether a metric lies in 0..1 and is shown in percent."""
    return metric.endswith(_SHARES)


def metric_title(metric: str) -> str:
    """Name a metric in words: `val_macro_f1` is "val macro F1"."""
    for prefix in ("val_", "train_", "test_"):
        if metric.startswith(prefix):
            return f"{prefix[:-1]} {metric_title(metric.removeprefix(prefix))}"
    return _TITLES.get(metric, metric.replace("_", " "))


def axis_title(metric: str) -> str:
    """Name a metric for an axis, with its unit: "val accuracy (%)"."""
    unit = " (%)" if is_share(metric) else _UNITS.get(metric, "")
    return metric_title(metric) + unit


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a finite number (a bool is not)."""
    if isinstance(value, bool) or value is None:
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def metric_text(metric: str, value: Any) -> str:
    """Write one metric's value: percent for shares, three decimals otherwise, "" for none."""
    if not is_number(value):
        return ""
    return f"{100 * float(value):.1f} %" if is_share(metric) else f"{float(value):.3f}"


def interval_text(metric: str, found: Any) -> str:
    """Write {value, low, high} as "84.1 % [80.2, 87.6]"; a bare number goes without interval."""
    if not isinstance(found, dict):
        return metric_text(metric, found)
    text = metric_text(metric, found.get("value"))
    low, high = found.get("low"), found.get("high")
    if not text or not is_number(low) or not is_number(high):
        return text
    scale, digits = (100, 1) if is_share(metric) else (1, 3)
    return f"{text} [{scale * float(low):.{digits}f}, {scale * float(high):.{digits}f}]"


def spread_text(metric: str, mean: Any, std: Any) -> str:
    """Write "84.1 ± 0.6 %", without the spread if there is none."""
    if not is_number(std):
        return metric_text(metric, mean)
    if not is_number(mean):
        return ""
    if is_share(metric):
        return f"{100 * float(mean):.1f} ± {100 * float(std):.1f} %"
    return f"{float(mean):.3f} ± {float(std):.3f}"


def number_text(value: Any) -> str:
    """Write a number with three significant digits; anything else as text, "" for none."""
    if value is None or value == "":
        return ""
    if isinstance(value, str) and not is_number(value):
        return value
    if not is_number(value):
        return "" if isinstance(value, float) else str(value)
    number = float(value)
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    text = f"{number:.3g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def count_of_parameters(value: Any) -> str:
    """Write a number of parameters: "11.2 M", "8.36 k", "" for none."""
    if not is_number(value):
        return ""
    count = float(value)
    unit, scale = ("M", 1e6) if count >= 1e5 else ("k", 1e3)
    return f"{count / scale:.3g} {unit}"


def seconds_text(value: Any) -> str:
    """Write a duration: "8 s", "3 min 20 s", "2 h 5 min"."""
    if not is_number(value):
        return ""
    seconds = float(value)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def short(text: Any, limit: int = 24) -> str:
    """Put a name on one line of at most `limit` characters, cutting its middle."""
    line = " ".join(str(text).split())
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


def in_words(names: Sequence[str]) -> str:
    """Write "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def count_text(number: int, what: str) -> str:
    """Write "1 trial", "2 trials", "3 classes"."""
    plural = what + ("es" if what.endswith("s") else "s")
    return f"{number:,} {what if number == 1 else plural}"
