"""The data stages on real photos: what their READMEs say is there, and planted leaks are found."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from search.data.cache import build_cache, load_arrays
from search.data.check import check_images
from search.data.index import build_index
from search.data.splits import PARTS, make_split

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")

SETS = {
    "animals": (1199, 10, set()),
    "cars": (2608, 33, {"train", "val", "test"}),
    "cats_dogs": (1460, 2, {"train", "test"}),
    "sea_animals": (1722, 15, {"train", "val"}),
}


@pytest.mark.parametrize("name", list(SETS))
def test_real_set(name: str) -> None:
    number, num_classes, given = SETS[name]
    index = build_index([REAL / name])
    assert len(index.rows) == number
    assert len(index.classes) == num_classes
    checked = check_images(index, max_dropped=0.01, num_workers=2)
    dropped = Counter(p.kind for p in checked.problems if p.action == "dropped")
    assert sum(dropped.values()) == number - len(checked.index.rows)
    assert set(dropped) <= {"leak"}
    assert sum(dropped.values()) <= 2
    split = make_split(checked.index, val_fraction=0.15, test_fraction=0.15, seed=0)
    assert set(split.given) == given
    assert sum(len(getattr(split, part)) for part in PARTS) == len(checked.index.rows)


def recompress(image: Image.Image, path: Path) -> None:
    image.save(path, quality=35)


DISGUISES: dict[str, Callable[[Image.Image, Path], None]] = {
    "exact": recompress,  # replaced by a plain copy below
    "recompressed": recompress,
    "resized": lambda image, path: image.resize((image.width // 2, image.height // 2)).save(path),
    "brightened": lambda image, path: ImageEnhance.Brightness(image).enhance(1.25).save(path),
    "mirrored": lambda image, path: ImageOps.mirror(image).save(path),
}


def test_planted_leaks_are_found(tmp_path: Path) -> None:
    shutil.copytree(REAL / "cats_dogs", tmp_path / "pets")
    tests = sorted((tmp_path / "pets" / "test" / "cats").iterdir())
    chosen = random.Random(0).sample(tests, 50)
    for k, source in enumerate(chosen):
        kind = list(DISGUISES)[k % 5]
        twin = tmp_path / "pets" / "train" / "cats" / f"{kind}_{k}.jpg"
        if kind == "exact":
            shutil.copy(source, twin)
        else:
            with Image.open(source) as image:
                DISGUISES[kind](image, twin)
    checked = check_images(build_index([tmp_path / "pets"]), max_dropped=0.1, num_workers=2)
    leaks = Counter(Path(p.path).stem.split("_")[0] for p in checked.problems if p.kind == "leak")
    assert leaks["exact"] == 10
    assert all(leaks[kind] >= 9 for kind in DISGUISES)
    assert sum(leaks.values()) <= 50  # no photo of the set itself is taken for another
    assert sum(row.split == "test" for row in checked.index.rows) == 420


def test_store_of_real_photos(tmp_path: Path) -> None:
    index = build_index([REAL / "cats_dogs"])
    cache = build_cache(index, tmp_path / "store", size_px=64, fit="crop", num_workers=2)
    images, labels = load_arrays(cache)
    assert images.shape == (1460, 72, 72, 3)
    assert labels.tolist() == index.labels.tolist()
    contrast = np.asarray(images[::50]).std(axis=(1, 2, 3))
    assert contrast.min() > 10  # none is blank
