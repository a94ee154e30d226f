"""Does a prediction hang on the places that a heat map shows? Measured, for each kind of map.

The hottest places are taken out of an image, and the coldest, each filled in from what lies around
them. If the map is right, the confidence falls with the hottest and stays with the coldest.

References:
    Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ROAD),
    ICML 2022. The filling in is the grad-cam library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search.cam import Heat
from search.statistics import paired_bootstrap_difference

SHARES = (0.1, 0.3, 0.5)
"""Of the pixels, taken out one after the other."""
MIDDLE = "the middle of the image"
"""A map that looks at no model: what the others must beat."""


def middle_heat(size_px: int) -> Heat:
    """Return a map (S, S) that falls from the middle of an image to its corners."""
    from_middle = np.linspace(-1, 1, size_px, dtype=np.float32) ** 2
    return np.asarray(1 - (from_middle[:, None] + from_middle) / 2, dtype=np.float32)


def faithfulness(
    model: nn.Module,
    image: NDArray[np.uint8],
    heats: Mapping[str, Heat],
    class_index: int,
) -> dict[str, float]:
    """Return how much more the confidence hangs on the hot places of a map than on its cold ones.

    Args:
        image: (S, S, 3) RGB.
        heats: Kind of map -> (S, S).
        class_index: The class whose probability is watched.

    Returns:
        Kind of map -> mean over SHARES of the confidence left without the coldest places, less that
        without the hottest, halved: -0.5 to 0.5, around 0 for a map that knows nothing.
    """
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    changed = []
    for heat in heats.values():
        order = _coldest_first(heat)
        for share in SHARES:
            count = round(share * order.size)
            changed += [_without(pixels, order[:count]), _without(pixels, order[-count:])]
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = model(torch.stack(changed).to(device)).float()
    left = logits.softmax(dim=1)[:, class_index].cpu().numpy().reshape(len(heats), len(SHARES), 2)
    scores = (left[..., 0] - left[..., 1]).mean(axis=1) / 2
    return {kind: float(score) for kind, score in zip(heats, scores, strict=True)}


def summarize_faithfulness(scores: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the mean score of each kind of map over images, with a bootstrap 95 % interval.

    Kinds that few images have are judged on those. `beyond_*` compare with the middle of the very
    same images, where there is one: objects are often there, and a map should know more than that.
    """
    kinds = list(dict.fromkeys(kind for one in scores for kind in one))
    rows = []
    for kind in kinds:
        values = np.array([one[kind] for one in scores if kind in one])
        mean = paired_bootstrap_difference(values, np.zeros_like(values))
        rows.append(
            {
                "map": kind,
                "num_images": len(values),
                "score": mean.value,
                "low": mean.low,
                "high": mean.high,
                "share_above_zero": float((values > 0).mean()),
            }
            | _beyond_middle(kind, scores)
        )
    return rows


def _beyond_middle(kind: str, scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    pairs = np.array([(one[kind], one[MIDDLE]) for one in scores if {kind, MIDDLE} <= one.keys()])
    if kind == MIDDLE or not len(pairs):
        return {}
    beyond = paired_bootstrap_difference(pairs[:, 0], pairs[:, 1])
    return {"beyond": beyond.value, "beyond_low": beyond.low, "beyond_high": beyond.high}


def _coldest_first(heat: Heat) -> NDArray[np.int64]:
    """Order the pixels of a map; equal ones, such as all that are cold, as chance has it."""
    chance = np.random.default_rng(0).permutation(heat.size)
    return chance[np.argsort(heat.reshape(-1)[chance], kind="stable")]


def _without(pixels: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """Return an image (3, S, S) whose pixels at some places are filled in from the others."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    kept = np.ones(pixels[0].numel(), dtype=np.float32)
    kept[places] = 0.0
    # The noise that hides what was filled in is in the library's units: of an image in 0..1.
    torch.manual_seed(0)
    filled: torch.Tensor = NoisyLinearImputer(noise=0.01 * 255)(
        pixels, torch.from_numpy(kept).reshape(pixels.shape[1:])
    )
    return filled.clamp(0, 255)
