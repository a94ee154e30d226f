"""Show where the final model looked in test images it got right and wrong, with files on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from search.attention import class_attention
from search.cam import Heat, cam_heat, contrast_heat
from search.confusions import count_confusions, ranked_confusions
from search.data.loader import open_trial_data
from search.faithful import MIDDLE, faithfulness, middle_heat, summarize_faithfulness
from search.records import DatasetIndex, Evaluation, Ids, ImageCache, ImageRow, read_csv, write_json
from search.results import ResultsFolder
from trainables.saved import load_model

Box = tuple[float, ...]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

_SIDES = ("x0", "y0", "x1", "y1")

_NOTES = {
    "Grad-CAM": "",
    "HiResCAM": "Grad-CAM came out blank; HiResCAM shown.",
    "Eigen-CAM": "Grad-CAM and HiResCAM came out blank; Eigen-CAM shown: the strongest pattern, "
    "whatever the class.",
    "none": "No method gave a map: the model's last map is blank or too coarse.",
}


def explain_predictions(
    results: ResultsFolder,
    evaluation: Evaluation,
    cache: ImageCache,
    index: DatasetIndex,
    *,
    num_images: int,
    device: str = "cpu",
) -> None:
    """Write test/cam: what the model looked at, in chosen images and on average.

    cam.json has an entry for each chosen image, with its clean input, the heat of the predicted
    class, and the contrast: what spoke for that class rather than for the one it was confused with,
    or would be. Where a data set root holds regions.csv (the drawn sample does), each entry also
    tells which share of the heat lies in the known region. faithfulness.json tells how far each
    kind of map can be believed, attention.json where the heat of each class lies on average.

    Args:
        num_images: Images to show in all, as `pick_examples` splits them.
    """
    folder = results.test / "cam"
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.png"), *folder.glob("*.json")]:
        old.unlink()
    picked = pick_examples(evaluation, num_images)
    model, info = load_model(results.best)
    model = model.to(device)

    def images_at(places: Sequence[int]) -> list[NDArray[np.uint8]]:
        return _clean_images(cache, evaluation.ids[list(places)], info.size_px)

    regions = _read_regions(index)
    made: dict[int, dict[str, Any]] = {}
    scores = []
    places = list(dict.fromkeys(place for _, place in picked))
    for place, image in zip(places, images_at(places), strict=True):
        entry, heat, believed = _explain_one(model, image, evaluation, index, place, folder)
        row = index.rows[int(evaluation.ids[place])]
        if (row.root, row.path) in regions:
            box = fit_box(regions[row.root, row.path], row, size_px=len(heat), fit=cache.fit)
            entry["region_share"] = region_share(heat, box)
            entry["region_area"] = region_share(np.ones_like(heat), box)
        made[place] = entry
        scores.append(believed)
    entries = [{"group": group} | made[place] for group, place in picked]
    write_json(folder / "cam.json", entries)
    write_json(folder / "faithfulness.json", summarize_faithfulness(scores))
    write_json(folder / "attention.json", class_attention(model, evaluation, images_at))


def _explain_one(
    model: nn.Module,
    image: NDArray[np.uint8],
    evaluation: Evaluation,
    index: DatasetIndex,
    place: int,
    folder: Path,
) -> tuple[dict[str, Any], Heat, dict[str, float]]:
    """Write one image and its maps; return its entry, its heat and how far each map is right."""
    heat, method = cam_heat(model, image)
    entry = _entry(evaluation, index, place, method)
    probabilities = evaluation.probabilities[place]
    guess, true = int(probabilities.argmax()), int(evaluation.y_true[place])
    other = true if true != guess else int(np.argsort(probabilities)[-2])
    maps = {} if method == "none" else {method: heat}
    Image.fromarray(image).save(folder / entry["image"])
    Image.fromarray(overlay_heat(image, heat)).save(folder / entry["heat"])
    contrast = contrast_heat(model, image, guess, other)
    if contrast is not None:
        maps["Finer-CAM"] = contrast
        entry["contrast"] = entry["image"].replace(".png", "_contrast.png")
        entry["rather_than"] = evaluation.classes[other]
        Image.fromarray(overlay_heat(image, contrast)).save(folder / entry["contrast"])
    maps[MIDDLE] = middle_heat(len(heat))
    return entry, heat, faithfulness(model, image, maps, guess)


def pick_examples(evaluation: Evaluation, num_images: int) -> list[tuple[str, int]]:
    """Choose which test images to show; the same evaluation gives the same choice.

    A third is "right", spread over classes, surest first. Half of the mistakes are "confused_pair",
    of the pairs of classes mixed up most often, one of each direction; a quarter each are
    "confident_wrong", the surest, and "wrong", others, spread over true classes. With few mistakes
    the right ones fill up.

    Returns:
        (group, position in the evaluation) pairs, group by group, of at most num_images images: a
        sure mistake that is also of a confused pair is in both groups.
    """
    predicted = evaluation.probabilities.argmax(axis=1)
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    right = [int(k) for k in surest if predicted[k] == evaluation.y_true[k]]
    wrong = [int(k) for k in surest if predicted[k] != evaluation.y_true[k]]
    num_wrong = min(len(wrong), max(2 * (num_images // 3), num_images - len(right)))
    paired = _of_confused_pairs(wrong, evaluation)[: num_wrong // 4 * 2]
    confident = wrong[: (num_wrong - len(paired) + 1) // 2]
    others = [place for place in wrong if place not in {*paired, *confident}]
    num_others = num_wrong - len({*paired, *confident})
    groups = {
        "right": _spread(right, evaluation.y_true)[: num_images - num_wrong],
        "wrong": _spread(others, evaluation.y_true)[:num_others],
        "confident_wrong": confident,
        "confused_pair": paired,
    }
    return [(group, place) for group, places in groups.items() for place in places]


def _of_confused_pairs(wrong: Sequence[int], evaluation: Evaluation) -> list[int]:
    """Return up to two of `wrong` for each pair of classes, the pair mixed up most often first.

    The first two of the pair are an image of each direction, where both were made.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for place in wrong:
        kind = int(evaluation.y_true[place]), int(evaluation.probabilities[place].argmax())
        kinds.setdefault(kind, []).append(place)
    found, seen = [], set[tuple[int, int]]()
    for i, j in ranked_confusions(_confusions(evaluation)):
        if (i, j) not in seen:
            seen |= {(i, j), (j, i)}
            first, *more = kinds[i, j]
            found += [first, *(kinds.get((j, i)) or more)[:1]]
    return found


def _confusions(evaluation: Evaluation) -> Ids:
    predicted = evaluation.probabilities.argmax(axis=1)
    return count_confusions(evaluation.y_true, predicted, len(evaluation.classes))


def _spread(places: Sequence[int], labels: Ids) -> list[int]:
    """Reorder so that each class's first comes before any class's second, and so on."""
    seen: dict[int, int] = {}
    turns = []
    for place in places:
        turns.append(seen.setdefault(int(labels[place]), 0))
        seen[int(labels[place])] += 1
    return [place for _, place in sorted(zip(turns, places, strict=True), key=lambda pair: pair[0])]


def overlay_heat(image: NDArray[np.uint8], heat: Heat) -> NDArray[np.uint8]:
    """Lay heat over a grey version of the image, so every colour seen is heat.

    Args:
        image: (S, S, 3) RGB.
        heat: (S, S) in 0..1; the image stays plain grey where it is 0.

    Returns:
        (S, S, 3) RGB.
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    warm = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    warm = cv2.cvtColor(warm, cv2.COLOR_BGR2RGB)
    opacity = 0.6 * heat[..., None] ** 0.75
    mixed = (1 - opacity) * grey + opacity * warm
    return mixed.astype(np.uint8)


def region_share(heat: Heat, box: Box) -> float:
    """Return the share of the heat that lies inside a box, 0..1; 0 when there is no heat.

    Args:
        heat: (S, S), not negative.
        box: In pixels of the heat; parts of pixels count in part.
    """
    x0, y0, x1, y1 = box
    across = _covered(len(heat[0]), x0, x1)
    down = _covered(len(heat), y0, y1)
    total = float(heat.sum())
    return float(down @ heat @ across) / total if total > 0 else 0.0


def _covered(num: int, low: float, high: float) -> NDArray[np.float64]:
    """Return how much of each of `num` unit pixels lies between low and high."""
    edges = np.arange(num)
    covered = np.minimum(edges + 1, high) - np.maximum(edges, low)
    return np.asarray(covered.clip(0.0, 1.0), dtype=np.float64)


def fit_box(box: Box, row: ImageRow, *, size_px: int, fit: str) -> Box:
    """Carry a box from the photo to the square the model sees.

    Args:
        box: In pixels of the photo.
        row: Its width and height.
        size_px: Side S of the square.
        fit: "squash" scales both axes alone; "crop" scales the shorter side to S and "pad" the
            longer one, both centred.
    """
    x0, y0, x1, y1 = box
    wide, high = size_px / row.width_px, size_px / row.height_px
    if fit != "squash":
        wide = high = max(wide, high) if fit == "crop" else min(wide, high)
    left = (size_px - row.width_px * wide) / 2
    top = (size_px - row.height_px * high) / 2
    return (x0 * wide + left, y0 * high + top, x1 * wide + left, y1 * high + top)


def _read_regions(index: DatasetIndex) -> dict[tuple[int, str], Box]:
    """Return the known salient boxes, by (root, path); a file of other columns has none."""
    return {
        (number, row["path"]): tuple(float(row[side]) for side in _SIDES)
        for number, root in enumerate(index.roots)
        for row in read_csv(root / "regions.csv")
        if row.keys() >= {"path", *_SIDES}
    }


def _entry(evaluation: Evaluation, index: DatasetIndex, place: int, method: str) -> dict[str, Any]:
    image_id = int(evaluation.ids[place])
    probabilities = evaluation.probabilities[place]
    guess, true = int(probabilities.argmax()), int(evaluation.y_true[place])
    entry = {
        "image": f"{image_id}.png",
        "heat": f"{image_id}_cam.png",
        "method": method,
        "path": index.rows[image_id].path,
        "label": evaluation.classes[true],
        "predicted": evaluation.classes[guess],
        "confidence": float(probabilities[guess]),
        "note": _NOTES[method],
    }
    counts = _confusions(evaluation)
    mixed_up = [int(counts[true, guess]), int(counts[guess, true])]
    return entry if guess == true else entry | {"mixed_up": mixed_up}


def _clean_images(cache: ImageCache, ids: Ids, size_px: int) -> list[NDArray[np.uint8]]:
    """Return the images as the model sees them, (S, S, 3) each."""
    none = np.array([], dtype=np.int64)
    data = open_trial_data(cache, none, none, size_px=size_px)
    batches = data.clean_batches(ids, batch_size=64)
    return [
        np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        for images, _ in batches
        for image in images
    ]
