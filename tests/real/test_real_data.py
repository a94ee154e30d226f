"""The data stages on real photos: what is known of them is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from search.data.cache import build_cache
from search.data.check import check_images
from search.data.index import build_index
from search.data.splits import PARTS, make_split
from search.data.store import open_images

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")

# Images, classes, given splits, and leaks: five photos of val that, by eye, are in train too.
SETS = {
    "animals": (1199, 10, set(), 0),
    "cars": (2608, 33, {"train", "val", "test"}, 0),
    "cats_dogs": (1460, 2, {"train", "test"}, 0),
    "sea_animals": (1722, 15, {"train", "val"}, 5),
}
# By their READMEs.
ALIKE = {
    "cars": {("02952", "03437"), ("03248", "06523")},
    "sea_animals": {("00000030", "00000088"), ("00000107", "00000148"), ("00000000", "00000006")},
}


@pytest.mark.parametrize("name", list(SETS))
def test_real_set(name: str) -> None:
    number, num_classes, given, leaks = SETS[name]
    index = build_index([REAL / name])
    assert len(index.rows) == number
    assert len(index.classes) == num_classes
    checked = check_images(index, max_dropped=0.0, num_workers=2)
    dropped = Counter(p.kind for p in checked.problems if p.action == "dropped")
    assert sum(dropped.values()) == number - len(checked.index.rows)
    assert dropped == Counter(leak=leaks)
    alike = {tuple(sorted((Path(p.path).stem, Path(p.other).stem))) for p in checked.problems}
    assert alike >= ALIKE.get(name, set())
    split = make_split(checked.index, val_fraction=0.15, test_fraction=0.15, seed=0)
    assert set(split.given) == given
    assert sum(len(getattr(split, part)) for part in PARTS) == len(checked.index.rows)


def test_store_of_real_photos(tmp_path: Path) -> None:
    index = build_index([REAL / "cats_dogs"])
    cache = build_cache(index, tmp_path / "store", size_px=64, fit="crop", num_workers=2)
    images, labels = open_images(cache)
    assert images.shape == (1460, 72, 72, 3)
    assert labels.tolist() == index.labels.tolist()
    contrast = np.array([images[k].std() for k in range(0, len(images), 50)])
    assert contrast.min() > 10  # none is blank
