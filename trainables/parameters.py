"""The public names that can be searched, with their ranges and defaults. No torch here.

The space file is checked against this table before anything starts, the editors' JSON Schema is
made from it, and the trainables read their defaults there: one table, three uses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainables.parameter_types import AnyBut as AnyBut
from trainables.parameter_types import Parameter as Parameter

OWN_BACKBONES = ("small_cnn", "separable_cnn")
OPTIMIZERS = (
    *("sgd", "adam", "adamw", "rmsprop", "nadam"),
    # of timm.optim, those that need no second backward pass and no library of their own
    *("adabelief", "adafactor", "adan", "adopt", "lamb", "laprop", "lars", "lion", "mars"),
    *("nadamw", "radam", "sgdw"),
)
OPTIMIZERS_WITH_MOMENTUM = ("sgd", "rmsprop", "lars", "sgdw")

_OWN = {"backbone": OWN_BACKBONES}
_TIMM = {"backbone": AnyBut(OWN_BACKBONES)}

CLASSIFIER: dict[str, Parameter] = {
    "backbone": Parameter(
        "backbone",
        "small_cnn",
        options=OWN_BACKBONES,
        doc="small_cnn, separable_cnn, or any timm model name.",
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
        options=("none", "early_stages", "backbone", "gradual"),
        applies_when=_TIMM,
        doc="Pretrained layers kept as they came, with batch-norm statistics: none, all but the "
        "last stages and head, all but the head, or all but the head until unfreeze_epoch.",
    ),
    "trained_stages": Parameter(
        "int",
        1,
        1,
        3,
        applies_when={"freeze": ("early_stages",)},
        unit="quarters of the layers",
        doc="How many of the backbone's last stages train where the early ones do not: of four in "
        "ResNet, ConvNeXt or Swin, else quarters of its blocks (Yosinski et al. 2014).",
    ),
    "unfreeze_epoch": Parameter(
        "int",
        3,
        2,
        1000,
        applies_when={"freeze": ("gradual",)},
        unit="epoch",
        doc="First epoch in which gradual freezing trains the whole network, the head having "
        "settled (Howard & Ruder 2018).",
    ),
    "norm_statistics": Parameter(
        "choice",
        "train",
        options=("train", "frozen"),
        applies_when={**_TIMM, "freeze": AnyBut(("backbone",))},
        doc="Batch-norm statistics of the layers that train: train follows the batches, frozen "
        "keeps those of the pretrained weights while scales and shifts still train, which suits "
        "small batches and few images (He et al. 2016). Models without batch norm have none.",
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
    "drop_path": Parameter(
        "float",
        0.0,
        0.0,
        0.9,
        applies_when=_TIMM,
        doc="Largest rate at which residual paths are skipped, growing with depth; 0 is what the "
        "model comes with. Refused where it has none (Huang et al. 2016).",
    ),
    "optimizer": Parameter(
        "choice",
        "adamw",
        options=OPTIMIZERS,
        doc="Optimizer, of torch or timm.optim; adamw decouples weight decay (Loshchilov & Hutter "
        "2019).",
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
        applies_when={"optimizer": OPTIMIZERS_WITH_MOMENTUM},
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
    "layer_decay": Parameter(
        "float",
        1.0,
        0.5,
        1.0,
        applies_when=_TIMM,
        doc="Learning rate of each layer as a share of that of the layer after it; 1 is the same "
        "for all, 0.65 to 0.9 suits pretrained transformers (Bao et al. 2022).",
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
    "batch_size": Parameter(
        "int",
        32,
        2,
        4096,
        unit="images",
        doc="Images per optimizer step, forwarded in pieces where memory does not hold them.",
    ),
    "loss": Parameter(
        "choice",
        "cross_entropy",
        options=("cross_entropy", "focal"),
        doc="Training loss; focal makes little of images that are already easy (Lin et al. 2017).",
    ),
    "focal_gamma": Parameter(
        "float",
        2.0,
        0.0,
        5.0,
        applies_when={"loss": ("focal",)},
        doc="How little focal makes of easy images; 0 is the cross entropy (Lin et al. 2017).",
    ),
    "label_smoothing": Parameter(
        "float", 0.1, 0.0, 0.9, doc="Label smoothing of the loss (Szegedy et al. 2016)."
    ),
    "gradient_clip": Parameter(
        "float", 1.0, 0.0, 1000.0, doc="Largest gradient norm; 0 switches clipping off."
    ),
    "class_weights": Parameter(
        "choice",
        "none",
        options=("none", "balanced", "effective_number"),
        applies_when={"sampler": ("none",)},
        doc="Weight each class in the loss: by its inverse frequency, or by that of its effective "
        "number of images, which is milder (Cui et al. 2019).",
    ),
    "sampler": Parameter(
        "choice",
        "none",
        options=("none", "balanced"),
        doc="balanced shows every class equally often in an epoch, which stays as long: all images "
        "of rare classes several times, some of common ones (Shen et al. 2016).",
    ),
    "ema": Parameter(
        "float",
        0.0,
        0.0,
        0.9999,
        doc="Share that each step keeps of the moving average of the weights, which is judged and "
        "kept in their place; 0 is off, 0.99 to 0.9999 is usual, the more the longer the training "
        "(Polyak & Juditsky 1992).",
    ),
    "augment_strength": Parameter(
        "float",
        0.5,
        0.0,
        1.0,
        doc="Augmentation from none (0) to strong (1); search/data/augment.py tells what it does.",
    ),
    "vertical_flip": Parameter(
        "choice",
        False,
        options=(False, True),
        doc="Mirror half of the images top to bottom, at any augment_strength: for photos without "
        "an up and down.",
    ),
    "hue": Parameter(
        "float",
        0.0,
        0.0,
        0.5,
        unit="turns",
        doc="Largest random turn of the hues, as a share of the colour circle, at any "
        "augment_strength (a rotation in the chroma plane of YIQ).",
    ),
    "mixup": Parameter(
        "float",
        0.0,
        0.0,
        1.0,
        doc="Blend each image with another by a share from Beta(mixup, mixup), the labels alike; "
        "0 is off, 0.2 is usual (Zhang et al. 2018).",
    ),
    "cutmix": Parameter(
        "float",
        0.0,
        0.0,
        1.0,
        doc="Paste a square of another image by a share from Beta(cutmix, cutmix), the labels by "
        "area; 0 is off, 1 is usual (Yun et al. 2019). With mixup too, each batch takes one.",
    ),
    "size_px": Parameter(
        "int",
        128,
        16,
        512,
        unit="px",
        doc="Side of the square images; left out, it is dataset.size_px. The store is made for the "
        "largest, smaller ones are shrunk from it.",
    ),
}

# Many trials share features only where they ask for the same ones: hence strengths from a list.
LINEAR_PROBE: dict[str, Parameter] = {
    "backbone": Parameter("backbone", "mobilenetv2_100", doc="Any timm model name."),
    "pretrained": replace(CLASSIFIER["pretrained"], options=("auto", True)),
    "size_px": CLASSIFIER["size_px"],
    "augment_strength": Parameter(
        "choice",
        0.0,
        options=(0.0, 0.25, 0.5, 0.75, 1.0),
        doc="Augmentation of the views, as in classifier; 0 trains on the clean images alone.",
    ),
    "num_views": Parameter(
        "int",
        2,
        1,
        8,
        applies_when={"augment_strength": AnyBut((0.0,))},
        unit="views",
        doc="Augmented views of each training image, beside the clean one. Each costs the first "
        "trial that needs it a pass over the images.",
    ),
    "passes": Parameter(
        "int",
        2,
        1,
        100,
        unit="passes",
        doc="Passes over the features per epoch; some 20 in all gave the best heads on four sets "
        "of 1,200 to 2,600 photos.",
    ),
    "lr": replace(CLASSIFIER["lr"], default=3e-3),
    "batch_size": replace(CLASSIFIER["batch_size"], default=256),
}
LINEAR_PROBE |= {
    name: CLASSIFIER[name]
    for name in (
        "hidden_units", "dropout", "optimizer", "momentum", "weight_decay", "schedule",
        "warmup_fraction", "loss", "focal_gamma", "label_smoothing", "gradient_clip",
        "class_weights", "sampler",
    )
}  # fmt: skip

TRAINABLES: dict[str, dict[str, Parameter]] = {
    "classifier": CLASSIFIER,
    "linear_probe": LINEAR_PROBE,
}


def default_params(trainable: str) -> dict[str, Any]:
    """Return the default recipe of a trainable: every public name with its default value."""
    return {name: parameter.default for name, parameter in TRAINABLES[trainable].items()}
