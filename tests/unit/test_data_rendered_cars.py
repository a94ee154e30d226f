"""The drawn sample: deterministic, complete, with the car where its box says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.data.check import check_images
from search.data.index import build_index
from search.data.rendered_cars import CLASSES, HEIGHT_PX, REGIONS, WIDTH_PX, draw_cars, draw_image
from search.records import read_csv


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "cars.sample"
    draw_cars(folder, per_class=5)
    return folder


def test_sample_is_clean_data(sample: Path) -> None:
    index = build_index([sample])
    assert index.classes == CLASSES
    checked = check_images(index, max_dropped=0.01, num_workers=1)
    assert len(checked.index.rows) == 5 * len(CLASSES)
    assert checked.problems == ()


def test_every_image_has_its_region(sample: Path) -> None:
    regions = read_csv(sample / REGIONS)
    assert {line["path"] for line in regions} == {row.path for row in build_index([sample]).rows}
    for line in regions:
        x0, y0, x1, y1 = (int(line[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= WIDTH_PX
        assert 0 <= y0 < y1 <= HEIGHT_PX
        assert (x1 - x0) * (y1 - y0) > 0.03 * WIDTH_PX * HEIGHT_PX


@pytest.mark.parametrize("style", CLASSES)
def test_same_seed_same_image(style: str) -> None:
    image, box = draw_image(style, 3)
    again, again_box = draw_image(style, 3)
    assert np.array_equal(image, again)
    assert box == again_box
    assert image.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert not np.array_equal(image, draw_image(style, 4)[0])
    assert not np.array_equal(image, draw_image(style, 3, seed=1)[0])


def test_complete_sample_is_left_alone_and_another_is_redrawn(tmp_path: Path) -> None:
    folder = tmp_path / "cars.sample"
    draw_cars(folder, per_class=1)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    draw_cars(folder, per_class=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")} == times
    draw_cars(folder, per_class=2)
    assert len(list(folder.rglob("*.jpg"))) == 2 * len(CLASSES)
    assert {path.name for path in tmp_path.iterdir()} == {"cars.sample", "cars.sample.lock"}
