"""The exponential moving average of a model's weights, judged in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.backbones import Classifier
from trainables.quick_timm import timm


class Average:
    """Averages weights and batch-norm statistics over the steps of a training.

    The decay grows to its value, as 1 - (1 + step)^(-2/3): the average of a short training does not
    lag behind with the random weights it began with.

    Args:
        model: The model that trains; a copy of it is kept.
        decay: Share of the average that each step keeps, in 0..1.

    References:
        Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992. The
        growing decay is timm's.
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        self._average = timm.utils.ModelEmaV3(model, decay=decay, use_warmup=True)
        self._num_steps = 0

    @property
    def model(self) -> Classifier:
        averaged: Classifier = self._average.module
        return averaged

    def update(self, model: Classifier) -> None:
        """Take the weights after one more optimizer step."""
        self._num_steps += 1
        self._average.update(model, step=self._num_steps)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "num_steps": self._num_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._num_steps = state["num_steps"]
