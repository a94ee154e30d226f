"""Linear probes on real photos: as good as logistic regression on the same frozen features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression

from tests.conftest import SHARED
from tests.memory_data import MemoryData
from trainables.contract import TrialInputs
from trainables.features import open_features
from trainables.linear_probe import train
from trainables.parameters import default_params
from trainables.saved import predict_probabilities
from trainables.weights import find_weights

SIZE_PX = 96
PER_CLASS = 60


@pytest.fixture(scope="module")
def photos() -> MemoryData:
    """Some of each of ten mammals, every third in val."""
    images, labels = [], []
    folders = sorted(path for path in (SHARED / "data" / "animals").iterdir() if path.is_dir())
    for label, folder in enumerate(folders):
        for file in sorted(folder.glob("*.jpg"))[:PER_CLASS]:
            with Image.open(file) as photo:
                images.append(np.asarray(ImageOps.fit(photo.convert("RGB"), (SIZE_PX, SIZE_PX))))
            labels.append(label)
    ids = np.arange(len(labels))
    val = ids[ids % 3 == 0]
    names = tuple(folder.name for folder in folders)
    return MemoryData(np.stack(images), np.array(labels), names, np.setdiff1d(ids, val), val)


@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="no pretrained weights there")
def test_the_default_probe_matches_logistic_regression(photos: MemoryData, tmp_path: Path) -> None:
    params = default_params("linear_probe")
    weights = find_weights(params["backbone"], SHARED / "weights")
    assert weights is not None
    inputs = TrialInputs(params, photos, max_epochs=8, weights=weights, feature_store=tmp_path)
    accuracies: list[float] = []
    model = train(inputs, lambda report, save: accuracies.append(report.val_accuracy or 0.0))

    features = open_features(inputs)
    clean, (val, labels) = features.views[0].astype(np.float32), features.val
    expected = max(
        LogisticRegression(C=c, max_iter=500).fit(clean, features.labels).score(val, labels)
        for c in (0.01, 0.1, 1.0)
    )
    assert expected > 0.7
    assert accuracies[-1] > expected - 0.025
    y_true, probabilities = predict_probabilities(model, photos.val_batches(batch_size=64))
    assert (probabilities.argmax(1) == y_true).mean() == pytest.approx(accuracies[-1], abs=0.006)
