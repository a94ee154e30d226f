"""A data set on disk and a model trained on it in a second, to test what follows training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from search.data.cache import build_cache
from search.data.loader import open_trial_data
from search.records import DatasetIndex, ImageCache, ImageRow, Split
from search.results import ResultsFolder
from trainables.backbones import Classifier, build_classifier
from trainables.contract import Augmentation
from trainables.parameters import default_params
from trainables.saved import describe, save_model

CLASSES = ("-red", 'gr"een, dark', "new\nline", "Škoda blue")
COLOURS = ((220, 50, 40), (40, 120, 40), (200, 190, 40), (60, 80, 230))
SIZE_PX = 32
SIDE = 20  # of the coloured square in a 64 × 48 photo
PARAMS = default_params("classifier") | {"depth": 2, "width": 8, "dropout": 0.0}


@dataclass(frozen=True)
class TinyStudy:
    """Everything that a stage after retraining is given."""

    results: ResultsFolder
    index: DatasetIndex
    cache: ImageCache
    split: Split
    boxes: dict[str, tuple[int, int, int, int]]


def make_study(
    root: Path, *, per_class: int = 24, fit: str = "squash", epochs: int = 4
) -> TinyStudy:
    """Draw photos with one coloured square each, build their cache, and train results.best."""
    torch.set_num_threads(1)
    photos = root / "photos, of 'cars'"
    rng = np.random.default_rng(0)
    rows, boxes = [], {}
    for label, colour in sorted(zip(CLASSES, COLOURS, strict=True)):
        for k in range(per_class):
            path = f"{label}/{k:02d} é.png"
            x, y = (int(v) for v in (rng.integers(0, 64 - SIDE), rng.integers(0, 48 - SIDE)))
            pixels = rng.integers(90, 160, (48, 64, 1), dtype=np.uint8).repeat(3, axis=2)
            pixels[y : y + SIDE, x : x + SIDE] = colour
            (photos / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(photos / path)
            boxes[path] = (x, y, x + SIDE, y + SIDE)
            size = (photos / path).stat().st_size
            rows.append(ImageRow(path, 0, label, None, 64, 48, "RGB", size, f"{path}", "", k))
    index = DatasetIndex((photos,), tuple(sorted(CLASSES)), tuple(rows))
    cache = build_cache(index, root / "cache", size_px=SIZE_PX, fit=fit, num_workers=1)
    ids = np.arange(len(rows))
    kind = ids % per_class % 4
    split = Split(ids[kind < 2], ids[kind == 2], ids[kind == 3], seed=0)
    results = ResultsFolder(root / "results" / "tiny")
    train_model(results.best, cache, split, epochs=epochs)
    return TinyStudy(results, index, cache, split, boxes)


def train_model(
    folder: Path, cache: ImageCache, split: Split, *, epochs: int, seed: int = 0
) -> Classifier:
    """Train a small CNN for some epochs, save it and return it; 0 epochs leave it random."""
    torch.manual_seed(seed)
    model = build_classifier(PARAMS, len(cache.classes), SIZE_PX)
    data = open_trial_data(cache, split.train, split.val)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for epoch in range(epochs):
        for images, labels in data.train_batches(
            batch_size=8, epoch=epoch, seed=seed, augmentation=Augmentation()
        ):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    info = describe(
        model,
        params=PARAMS,
        classes=cache.classes,
        size_px=SIZE_PX,
        side_px=cache.side_px,
        fit=cache.fit,
    )
    save_model(model.eval(), folder, info)
    return model
