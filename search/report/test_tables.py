"""Tables of the one look at the test images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from search.confusions import ranked_confusions
from search.report.curve_plots import class_curves
from search.report.format import interval_text, is_number, number_text
from search.report.load import NothingToShowError, StudyFiles, section
from search.report.table import Table
from search.report.test_plots import confusion_data
from search.statistics import auc_interval


def test_metrics(files: StudyFiles) -> Table:
    """Every test metric with its 95 % interval."""
    found = section(files.metrics, "metrics") or {
        k: v for k, v in section(files.summary, "test").items() if k != "num_images"
    }
    rows = []
    for name, metric in found.items():
        whole = metric if isinstance(metric, dict) else {"value": metric}
        if is_number(whole.get("value")):
            row = {"metric": name, "test": interval_text(name, whole)}
            rows.append(row | {key: whole.get(key) for key in ("value", "low", "high")})
    if not rows:
        raise NothingToShowError("The model was not tested yet, so there are no test scores.")
    frame = pd.DataFrame(rows)
    return Table(
        "test_metrics",
        "Test scores, 95 % intervals",
        frame,
        {"metric": "metric"},
        ("value", "low", "high"),
    )


def per_class(files: StudyFiles) -> Table:
    """Precision, recall and F1 of every class and the areas under its curves, the weakest first."""
    rows = [row for row in files.metrics.get("per_class") or () if isinstance(row, dict)]
    if not rows:
        raise NothingToShowError("The model was not tested yet, so there are no class scores.")
    found = pd.DataFrame(rows).sort_values("f1", kind="stable")
    frame = found[["class", "support"]].copy()
    hidden: list[str] = []
    for name in ("precision", "recall", "f1"):
        frame[name] = found[name]
        ends = [f"{name}_low", f"{name}_high"]
        if not {*ends} <= {*found.columns}:
            continue  # of an earlier version
        pairs = found[ends].itertuples(index=False, name=None)
        frame[f"{name}_interval"] = [f"{100 * a:.0f} to {100 * b:.0f}" for a, b in pairs]
        frame[ends], hidden = found[ends], [*hidden, *ends]
    kinds = dict.fromkeys(("precision", "recall", "f1", *hidden), "recall")
    kinds |= {"auc": "auc", "average_precision": "recall"}
    frame = frame.join(_areas(files, frame["class"]))
    hidden += [name for name in ("auc_low", "auc_high") if name in frame]
    titles = {name: "interval" for name in frame.columns if name.endswith("_interval")}
    title = "Scores per class, 95 % intervals"
    return Table("per_class", title, frame, kinds, tuple(hidden), titles)


def _areas(files: StudyFiles, classes: pd.Series[str]) -> pd.DataFrame:
    """Return the areas under the curves that are drawn of each class, blank where there is none."""
    try:
        curves = {curve.name: curve for curve in class_curves(files)}
    except NothingToShowError:
        return pd.DataFrame(index=classes.index)
    known = classes[classes.isin([*curves])]
    labels = files.predictions["label"]
    auc = np.array([curves[name].auc for name in known])
    positive = np.array([(labels == name).sum() for name in known], dtype=np.int64)
    low, high = auc_interval(auc, positive, len(labels) - positive)
    areas = {
        "auc": auc,
        "auc_interval": [f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True)],
        "auc_low": low,
        "auc_high": high,
        "average_precision": [curves[name].average_precision for name in known],
    }
    return pd.DataFrame(areas, known.index).reindex(classes.index)


def comparisons(files: StudyFiles) -> Table:
    """The final model against the default recipe and the runner-up, on the same test images."""
    named = {"comparison": "default recipe", "runner_up": "runner-up"}
    rows = []
    for key, name in named.items():
        told = section(files.metrics, key)
        if not is_number(told.get("difference")):
            continue
        low, high = (float(told.get(end) or 0.0) for end in ("low", "high"))
        rows.append(
            {
                "against": f"{name} ({told['name']})" if told.get("name") else name,
                "points": f"{100 * float(told['difference']):+.1f}",
                "interval": f"{100 * low:+.1f} to {100 * high:+.1f}",
                "mcnemar_p": told.get("p_value"),
                "verdict": str(told.get("text", "")).rpartition("): ")[2].rstrip("."),
                "difference": told["difference"],
                "low": low,
                "high": high,
            }
        )
    if not rows:
        raise NothingToShowError("No other model was tested beside the winner.")
    title = "The winner against others, on the same test images"
    return Table(
        "comparisons", title, pd.DataFrame(rows), {"points": "text"}, ("difference", "low", "high")
    )


def calibration(files: StudyFiles) -> Table:
    """What dividing the logits by a temperature did to the confidences."""
    told = section(files.metrics, "calibration")
    if not told.get("source"):
        raise NothingToShowError("No temperature was found for the model's confidences.")
    rows = [
        {"figure": name}
        | {when: interval_text(name, section(told, when).get(name)) for when in ("before", "after")}
        for name in ("ece", "log_loss")
    ]
    title = f"Confidences before and after a temperature of {number_text(told['temperature'])}"
    return Table("calibration", title, pd.DataFrame(rows), {"figure": "metric"})


def confusions(files: StudyFiles) -> Table:
    """Pairs of classes that were mixed up, the most frequent first."""
    data = confusion_data(files)
    rows = [
        {
            "true": data.classes[i],
            "predicted": data.classes[j],
            "num_images": int(data.counts[i, j]),
            "share_of_true": float(data.shares[i, j]),
        }
        for i, j in ranked_confusions(data.counts)
    ]
    if not rows:
        raise NothingToShowError("Every test image was classified correctly.")
    frame = pd.DataFrame(rows)
    return Table("confusions", "What was mistaken for what", frame, {"share_of_true": "recall"})
