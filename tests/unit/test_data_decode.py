"""Images of every mode come out upright, whatever their EXIF says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from search.data.decode import ORIENTATION_TAG, read_square
from tests.images import draw_image

MODES = ("RGB", "RGBA", "LA", "P", "I;16", "L")


def picture(mode: str) -> Image.Image:
    image = Image.fromarray(draw_image(0, (96, 64), np.random.default_rng(0)))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    return image.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", MODES)
def test_exif_rotation_is_applied_in_every_mode(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    picture(mode).save(tmp_path / "turned.png", exif=exif)
    picture(mode).save(tmp_path / "plain.png")
    plain = Image.fromarray(read_square(tmp_path / "plain.png", 64, "squash"))
    plain.getexif()[ORIENTATION_TAG] = orientation
    expected = np.asarray(ImageOps.exif_transpose(plain))
    got = read_square(tmp_path / "turned.png", 64, "squash")
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 2
