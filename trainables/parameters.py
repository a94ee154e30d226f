"""The public names that can be searched, with their ranges and defaults. No torch here.

The space file is checked against this table before anything starts, the editors' JSON Schema is
made from it, and the trainables read their defaults there: one table, three uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN_BACKBONES = ("small_cnn", "separable_cnn")


@dataclass(frozen=True)
class AnyBut:
    """A condition met by every value except these."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter:
    """One searchable name.

    Attributes:
        kind: "float", "int", "choice", or "backbone" (own CNNs or any timm model name).
        default: Value of the default recipe, and of every trial whose space leaves the name out.
        low, high: Inclusive range of a number.
        options: Allowed values of a choice.
        applies_when: Other parameter -> values (or AnyBut) without which this one does nothing.
        unit: Of the number, "" for a plain one.
        doc: One sentence, with the source of the default or method.
    """

    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    options: tuple[Any, ...] = ()
    applies_when: Mapping[str, tuple[Any, ...] | AnyBut] = field(default_factory=dict)
    unit: str = ""
    doc: str = ""


_OWN = {"backbone": OWN_BACKBONES}
_TIMM = {"backbone": AnyBut(OWN_BACKBONES)}

CLASSIFIER: dict[str, Parameter] = {
    "backbone": Parameter(
        "backbone", "small_cnn", doc="small_cnn, separable_cnn, or any timm model name."
    ),
    "pretrained": Parameter(
        "choice",
        "auto",
        options=("auto", True, False),
        applies_when=_TIMM,
        doc="ImageNet weights: auto takes them where they can be had, true insists.",
    ),
    "freeze": Parameter(
        "choice",
        "none",
        options=("none", "early_stages", "backbone"),
        applies_when=_TIMM,
        doc="Layers kept as they came, batch-norm statistics included: none, all but the last "
        "stage and head, or all but the head.",
    ),
    "depth": Parameter(
        "int",
        4,
        1,
        8,
        applies_when=_OWN,
        unit="blocks",
        doc="Blocks of the own CNNs, each halving the image while it stays at least 4 px.",
    ),
    "width": Parameter(
        "int",
        32,
        8,
        128,
        applies_when=_OWN,
        unit="channels",
        doc="Channels of the first block; each block doubles them, up to 8 × width.",
    ),
    "kernel_size": Parameter(
        "choice",
        3,
        options=(3, 5, 7),
        applies_when=_OWN,
        unit="px",
        doc="Side of the own CNNs' convolutions.",
    ),
    "hidden_units": Parameter(
        "int", 0, 0, 4096, unit="units", doc="Hidden layer of the head; 0 is a linear head."
    ),
    "dropout": Parameter(
        "float", 0.1, 0.0, 0.9, doc="Dropout before the last linear layer (Srivastava et al. 2014)."
    ),
    "optimizer": Parameter(
        "choice",
        "adamw",
        options=("sgd", "adam", "adamw", "rmsprop", "nadam"),
        doc="Optimizer; adamw decouples weight decay (Loshchilov & Hutter 2019).",
    ),
    "lr": Parameter(
        "float",
        1e-3,
        1e-6,
        10.0,
        doc="Peak learning rate, after warm-up; sgd wants about 50 times as much as adamw.",
    ),
    "momentum": Parameter(
        "float",
        0.9,
        0.0,
        0.999,
        applies_when={"optimizer": ("sgd", "rmsprop")},
        doc="Momentum (Nesterov with sgd).",
    ),
    "weight_decay": Parameter(
        "float",
        0.05,
        0.0,
        1.0,
        doc="Weight decay, never on biases and norm layers; decoupled in adamw, elsewhere an L2 "
        "term of the gradient, for which 1e-4 to 1e-3 is usual.",
    ),
    "schedule": Parameter(
        "choice",
        "cosine",
        options=("cosine", "one_cycle", "step", "constant"),
        doc="Learning rate after warm-up (Loshchilov & Hutter 2017; one_cycle: Smith 2018).",
    ),
    "warmup_fraction": Parameter(
        "float", 0.1, 0.0, 0.9, doc="Share of the schedule spent rising to lr (Goyal et al. 2017)."
    ),
    "batch_size": Parameter("int", 32, 2, 4096, unit="images", doc="Images per optimizer step."),
    "label_smoothing": Parameter(
        "float", 0.1, 0.0, 0.9, doc="Label smoothing of the cross entropy (Szegedy et al. 2016)."
    ),
    "gradient_clip": Parameter(
        "float", 1.0, 0.0, 1000.0, doc="Largest gradient norm; 0 switches clipping off."
    ),
    "class_weights": Parameter(
        "choice",
        "none",
        options=("none", "balanced"),
        doc="Weight each class by its inverse frequency in the loss.",
    ),
    "augment_strength": Parameter(
        "float",
        0.5,
        0.0,
        1.0,
        doc="Augmentation from none (0) to strong (1); search/data/augment.py tells what it does.",
    ),
}

TRAINABLES: dict[str, dict[str, Parameter]] = {"classifier": CLASSIFIER}


def default_params(trainable: str) -> dict[str, Any]:
    """Return the default recipe of a trainable: every public name with its default value."""
    return {name: parameter.default for name, parameter in TRAINABLES[trainable].items()}
