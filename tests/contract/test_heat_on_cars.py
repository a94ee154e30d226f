"""On drawn cars, whose place is known, a trained model's heat falls on the car."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from search.cam import cam_heat
from search.data.rendered_cars import CLASSES, draw_image
from search.explain import region_share
from search.faithful import faithfulness, summarize_faithfulness
from search.statistics import bootstrap_interval
from tests.memory_data import MemoryData
from tests.training import Log, fit

SIDE = 64
NUM_STYLES, PER_STYLE, NUM_VAL = 3, 120, 16


def drawn_cars() -> tuple[MemoryData, np.ndarray]:
    """Return data of squashed drawings, and the cars' boxes in pixels of the square, (N, 4)."""
    images, boxes = [], []
    for style in CLASSES[:NUM_STYLES]:
        for number in range(PER_STYLE):
            picture, box = draw_image(style, number)
            height, width = picture.shape[:2]
            images.append(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
            boxes.append(np.array(box) * SIDE / np.array([width, height, width, height]))
    labels = np.repeat(np.arange(NUM_STYLES), PER_STYLE)
    is_val = np.tile(np.arange(PER_STYLE) < NUM_VAL, NUM_STYLES)
    data = MemoryData(
        np.stack(images),
        labels,
        tuple(CLASSES[:NUM_STYLES]),
        np.flatnonzero(~is_val),
        np.flatnonzero(is_val),
    )
    return data, np.stack(boxes)


def test_the_heat_falls_on_the_car() -> None:
    torch.set_num_threads(1)
    data, boxes = drawn_cars()
    log = Log()
    model = fit(data, log, epochs=16, depth=4, width=16, lr=3e-3, dropout=0.0, batch_size=16)
    assert log.reports[-1].val_accuracy > 0.8, "nothing learnt, nothing to see"
    gained, scores = [], []
    for k in data.val:
        heat, _ = cam_heat(model, data.images[k])
        box = tuple(boxes[k])
        gained.append(region_share(heat, box) - region_share(np.ones_like(heat), box))
        maps = {"heat": heat, "elsewhere": heat.max() - heat}
        scores.append(faithfulness(model, data.images[k], maps, int(data.labels[k])))
    more = bootstrap_interval(np.array(gained)[:, None], lambda sums: sums[..., 0] / len(gained))
    assert more.low > 0, f"heat on the car beyond its area: {more}"
    heat, elsewhere = summarize_faithfulness(scores)
    assert heat["low"] > 0 > elsewhere["high"], "the prediction hangs on what is warm"
