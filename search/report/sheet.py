"""Contact sheets: rows of small pictures with a title each, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from search.data.decode import Pixels
from search.report.format import short
from search.report.style import GREY, WIDTH

_DPI = 200  # the sheet's pixels are the file's
_CELL, _GAP, _MARGIN = 166, 10, 24  # ten squares fill a row
_TITLE, _CAPTION = 46, 34
_LETTER_PX = 11  # of a caption, about


@dataclass(frozen=True)
class Strip:
    """One row: its title, and pictures (H, W, 3) uint8 with a caption each, "" for none."""

    title: str
    pictures: Sequence[tuple[Pixels, str]]


def draw_sheet(title: str, strips: Sequence[Strip]) -> Figure:
    """Draw strips below each other; pictures get one height, and a full row wraps."""
    width = round(WIDTH * _DPI)
    pasted: list[tuple[int, int, Pixels]] = []
    texts: list[tuple[int, int, str, bool]] = [(_MARGIN, _TITLE, title, True)]
    y = _TITLE + 30
    for strip in strips:
        texts.append((_MARGIN, y + _TITLE - 16, short(strip.title, 110), False))
        y += _TITLE
        x, deep = _MARGIN, _CELL + (_CAPTION if any(text for _, text in strip.pictures) else 0)
        for pixels, caption in strip.pictures:
            small = _scaled(pixels)
            if x > _MARGIN and x + small.shape[1] > width - _MARGIN:
                x, y = _MARGIN, y + deep + _GAP
            pasted.append((x, y, small))
            limit = max(4, int(small.shape[1] / _LETTER_PX) - 3)
            texts.append((x, y + _CELL + 25, short(caption, limit), False))
            x += small.shape[1] + _GAP
        y += deep + _GAP
    return _figure((width, y + _MARGIN), pasted, texts)


def side_by_side(left: Pixels | None, right: Pixels | None) -> Pixels:
    """Join two squares to one picture with a thin line between; a lost one is grey."""
    known = left if left is not None else right
    side = known.shape[0] if known is not None else _CELL
    blank = np.full((side, side, 3), 225, np.uint8)
    line = np.full((side, max(2, side // 50), 3), 255, np.uint8)
    first, second = (blank if one is None else one for one in (left, right))
    return np.concatenate([first, line, second], axis=1)


def _scaled(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    size = (min(round(width * _CELL / height), 3 * _CELL), _CELL)
    method = cv2.INTER_AREA if height > _CELL else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def _figure(
    size: tuple[int, int],
    pasted: Sequence[tuple[int, int, Pixels]],
    texts: Sequence[tuple[int, int, str, bool]],
) -> Figure:
    width, height = size
    figure = Figure((width / _DPI, height / _DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    for x, y, pixels in pasted:  # one by one: as one large picture they took 600 MB to draw
        extent = (x, x + pixels.shape[1], y + pixels.shape[0], y)
        axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for x, y, text, is_title in texts:
        if text:
            style = {"fontsize": 11, "fontweight": "bold"} if is_title else {"fontsize": 7.5}
            axes.text(x, y, text, color="black" if is_title else GREY, **style)
    return figure
