"""Whether one model is better than another by more than noise, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.records import Ids, Metric
from search.statistics import Floats, mcnemar_exact, paired_bootstrap_difference

SURE = 0.05  # p below which a difference is called more than noise
_NO_CHANGE = 0.05  # points
FEW_TRIALS = 10  # against which a default recipe that won has shown little


def compare_models(
    y_true: Ids, model: Floats, rival: Floats, rival_name: str = ""
) -> dict[str, Any]:
    """Tell whether the final model beats another one by more than chance.

    Args:
        y_true: (N,) true classes.
        model, rival: (N, C) probabilities for the same images.
        rival_name: Of the runner-up; "" for the default recipe.

    Returns:
        difference, low, high (of accuracy, 95 % paired bootstrap), p_value (exact McNemar), and
        one plain sentence as `text`; against the default recipe, whether it was `worth_it` too.
    """
    right_a = model.argmax(axis=1) == y_true
    right_b = rival.argmax(axis=1) == y_true
    difference = paired_bootstrap_difference(right_a, right_b)
    p_value = mcnemar_exact(right_a, right_b)
    value = {**vars(difference), "p_value": p_value}
    value["difference"] = value.pop("value")
    if rival_name:
        text = runner_up_text(difference, p_value, len(y_true), rival_name)
        return {"name": rival_name, **value, "text": text}
    text = comparison_text(difference, p_value, len(y_true))
    return {**value, "text": text, "worth_it": worth_it(difference, p_value)}


def is_clear(difference: Metric, p_value: float) -> bool:
    """Tell whether test and interval agree that there is a difference."""
    return p_value < SURE and (difference.low > 0 or difference.high < 0)


def worth_it(difference: Metric, p_value: float) -> str:
    """Answer "is tuning worth it here?": yes, not shown, or no."""
    if is_clear(difference, p_value):
        return "yes" if difference.value > 0 else "no"
    return "not shown" if difference.value > 0 else "no"


def default_won_text(trials: Mapping[str, int]) -> str:
    """Answer "is tuning worth it here?" where the default recipe was confirmed as the best.

    Args:
        trials: State -> how many trials of the search, the default recipe among them.
    """
    num_beaten = max(0, trials.get("complete", 0) + trials.get("pruned", 0) - 1)
    others = "1 other trial" if num_beaten == 1 else f"{num_beaten} other trials"
    if num_beaten < FEW_TRIALS:
        text = f"not shown: the default recipe won, but against {others} only"
        return f"{text}: a longer search may find better"
    return f"no: the default recipe won against {others}"


def comparison_text(difference: Metric, p_value: float, num_images: int) -> str:
    """Say in one sentence what tuning changed and whether that is more than noise."""
    points = 100 * difference.value
    if abs(points) < _NO_CHANGE:
        start = "Tuning made no difference to the accuracy of the default recipe"
    elif points > 0:
        start = f"Tuning gained {points:.1f} points of accuracy over the default recipe"
    else:
        start = f"Tuning lost {-points:.1f} points of accuracy against the default recipe"
    return f"{start} {evidence_text(difference, p_value, num_images)}"


def runner_up_text(difference: Metric, p_value: float, num_images: int, name: str) -> str:
    """Say in one sentence how the winner stands against the next best of the confirmation."""
    points = 100 * difference.value
    if abs(points) < _NO_CHANGE:
        start = f"The winner is as accurate as the runner-up, {name}"
    else:
        word = "above" if points > 0 else "below"
        start = f"The winner is {abs(points):.1f} points of accuracy {word} the runner-up, {name}"
    return f"{start} {evidence_text(difference, p_value, num_images)}"


def evidence_text(difference: Metric, p_value: float, num_images: int) -> str:
    """Return interval, test and verdict of a paired difference, to end a sentence with."""
    interval = f"{100 * difference.low:.1f} to {100 * difference.high:.1f}"
    clear = is_clear(difference, p_value)
    verdict = "more than noise" if clear else f"not more than noise with {num_images} test images"
    return f"(95 % interval {interval}; McNemar {p_text(p_value)}): {verdict}."


def p_text(p_value: float) -> str:
    """Write a p-value."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
