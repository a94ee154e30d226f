"""Every rule for one image, on real files that break it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from search.data import look
from search.data.look import THUMB_PX, Look, look_at
from search.records import ImageRow
from tests.images import draw_image

SIZE = (120, 96)
Make = Callable[[Path], object]


def look_here(path: Path) -> Look:
    return look_at([ImageRow(path.name, 3, "cat")], [path])[0]


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(draw_image(seed % 5, size, np.random.default_rng(seed)))


def cut(kind: str, keep: float, **options: object) -> Make:
    """Write an image without the end of its file."""

    def make(path: Path) -> None:
        picture(50, (400, 300)).save(path, kind, **options)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])

    return make


def saved(mode: str, kind: str | None = None) -> Make:
    return lambda path: picture(60).convert(mode).save(path, kind)


def bomb(path: Path) -> None:
    """Write a PNG whose header claims 60,000 × 60,000 pixels."""
    picture(51).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def animate(path: Path) -> None:
    picture(52).save(path, save_all=True, append_images=[picture(53), picture(54)])


def rotate(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(55).save(path, exif=exif)


def deep(path: Path) -> None:
    values = np.asarray(picture(56).convert("L"), np.uint16) * 257
    Image.fromarray(values).save(path)


def deep_colour(path: Path) -> None:
    path.write_bytes(cv2.imencode(path.suffix, np.asarray(picture(57), np.uint16) * 257)[1])


def glass_palette(path: Path) -> None:
    picture(58).quantize(16).save(path, transparency=3)


def lab(path: Path) -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    ImageCms.applyTransform(picture(59), to_lab).save(path)


def heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))


def mpo(path: Path) -> None:
    picture(61).save(path, "MPO", save_all=True, append_images=[picture(62)])


UNREADABLE: list[tuple[str, Make, str]] = [
    ("no bytes.jpg", lambda path: path.write_bytes(b""), "no bytes"),
    ("words.png", lambda path: path.write_text("hello"), "not an image"),
    ("not found.jpg", lambda path: path.write_text("\n<!doctype html><h1>404"), "web page"),
    ("phone.jpg", heic, "HEIC"),
    ("pointer.jpg", lambda path: path.write_text("version https://git-lfs.github.com"), "git lfs"),
    ("dangling.jpg", lambda path: path.symlink_to("nowhere"), "No such file"),
    ("a folder.jpg", lambda path: path.mkdir(), "directory"),
    ("cut.jpg", cut("JPEG", 0.7), "truncated"),
    ("cut progressive.jpg", cut("JPEG", 0.7, progressive=True), "truncated"),
    ("no end mark.jpg", cut("JPEG", 0.9999), "truncated"),
    ("cut.png", cut("PNG", 0.5), "truncated"),
    ("cut.webp", cut("WEBP", 0.5), ""),
    ("cut.gif", cut("GIF", 0.5), "truncated"),
    ("cut.bmp", cut("BMP", 0.9), "truncated"),
    ("cut.tif", cut("TIFF", 0.9), ""),
]


@pytest.mark.parametrize(("name", "make", "detail"), UNREADABLE, ids=[u[0] for u in UNREADABLE])
def test_unreadable(tmp_path: Path, name: str, make: Make, detail: str) -> None:
    make(tmp_path / name)
    seen = look_here(tmp_path / name)
    assert [(p.kind, p.action, p.path, p.root) for p in seen.problems] == [
        ("unreadable", "dropped", name, 3)
    ]
    assert detail in seen.problems[0].detail
    assert "0x" not in seen.problems[0].detail  # no addresses: they differ from run to run
    assert seen.thumb is None


NOTED: list[tuple[str, Make, set[str], str]] = [
    ("bomb.png", bomb, {"too_large"}, "dropped"),
    ("small.png", lambda path: picture(57, (15, 200)).save(path), {"too_small"}, "dropped"),
    ("long.png", lambda path: picture(58, (300, 40)).save(path), {"extreme_aspect"}, "kept"),
    ("white.png", lambda path: Image.new("RGB", SIZE, "white").save(path), {"blank"}, "kept"),
    ("really a png.jpg", saved("RGB", "PNG"), {"wrong_extension"}, "kept"),
    ("really a webp.png", saved("RGB", "WEBP"), {"wrong_extension"}, "kept"),
    ("really avif.jpg", saved("RGB", "AVIF"), {"wrong_extension"}, "kept"),
    ("really jpeg2000.jpg", saved("RGB", "JPEG2000"), {"wrong_extension"}, "kept"),
    ("moving.gif", animate, {"animated", "palette"}, "converted"),
    ("moving.webp", animate, {"animated"}, "converted"),
    ("print.jpg", saved("CMYK"), {"cmyk"}, "converted"),
    ("print.tif", saved("CMYK"), {"cmyk"}, "converted"),
    ("deep.png", deep, {"16_bit"}, "converted"),
    ("deep colour.png", deep_colour, {"16_bit"}, "converted"),
    ("deep colour.tiff", deep_colour, {"16_bit"}, "converted"),
    ("measured.tif", saved("F"), {"16_bit"}, "converted"),
    ("glass.png", saved("RGBA"), {"alpha"}, "converted"),
    ("grey glass.png", saved("LA"), {"alpha"}, "converted"),
    ("glass palette.png", glass_palette, {"alpha"}, "converted"),
    ("few.png", lambda path: picture(62).quantize(16).save(path), {"palette"}, "converted"),
    ("fax.tif", saved("1"), {"other_mode"}, "converted"),
    ("video.tif", saved("YCbCr"), {"other_mode"}, "converted"),
    ("lab.tif", lab, {"other_mode"}, "converted"),
    ("turned.jpg", rotate, {"exif_rotation"}, "converted"),
]


@pytest.mark.parametrize(("name", "make", "kinds", "action"), NOTED, ids=[n[0] for n in NOTED])
def test_rules(tmp_path: Path, name: str, make: Make, kinds: set[str], action: str) -> None:
    make(tmp_path / name)
    seen = look_here(tmp_path / name)
    assert {p.kind for p in seen.problems} == kinds
    assert {p.action for p in seen.problems} == {action}
    assert (seen.thumb is None) == (action == "dropped")


FINE: list[tuple[str, Make]] = [
    ("plain.JPG", saved("RGB", "JPEG")),
    ("grey.jpeg", saved("L", "JPEG")),
    ("two in one.jpg", mpo),
    ("bitmap.dib", saved("RGB", "BMP")),
    ("tail.jpg", lambda path: (picture(63).save(path), path.open("ab").write(b"\0junk" * 500))),
]


@pytest.mark.parametrize(("name", "make"), FINE, ids=[f[0] for f in FINE])
def test_nothing_to_say(tmp_path: Path, name: str, make: Make) -> None:
    make(tmp_path / name)
    seen = look_here(tmp_path / name)
    assert seen.problems == ()
    assert seen.thumb is not None
    assert seen.thumb.shape == (THUMB_PX, THUMB_PX)
    assert seen.row.num_bytes == (tmp_path / name).stat().st_size
    assert len(seen.row.sha256) == 64


def test_limits_on_pixels_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(1).save(tmp_path / "large.png")
    monkeypatch.setattr(look, "MAX_PIXELS", 119 * 96)
    assert look_here(tmp_path / "large.png").problems[0].detail == "120 x 96 px"
    monkeypatch.setattr(look, "MAX_BYTES", 1000)
    assert look_here(tmp_path / "large.png").problems[0].kind == "too_large"


def test_names_that_no_table_can_hold(tmp_path: Path) -> None:
    for name in ("bad\udcff.png", "two\rlines.png"):
        picture(2).save(tmp_path / name)
        seen = look_here(tmp_path / name)
        assert [p.kind for p in seen.problems] == ["bad_name"]
        seen.problems[0].path.encode()
    for name in ('a "quoted", name.png', "-rf.png", "two\nlines.png", "ü 鯨.png"):
        picture(2).save(tmp_path / name)
        assert look_here(tmp_path / name).problems == ()


def test_turned_photo_is_looked_at_upright(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        picture(55).save(path, exif=exif, quality=95)
        seen = look_here(path)
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("L")
        assert (seen.row.width_px, seen.row.height_px) == upright.size
        expected = np.asarray(upright.resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX), float)
        assert seen.thumb is not None
        assert np.abs(seen.thumb - expected).mean() < 2
