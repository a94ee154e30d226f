"""The pictures of a data set, read once for the page and for the contact sheets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from search.data.decode import Pixels
from search.report.data_files import DataFiles
from search.report.data_pictures import (
    Kind,
    Pair,
    Samples,
    Shot,
    changed_data,
    kinds_data,
    pairs_data,
    read_changed,
    read_shots,
    samples_data,
)
from search.report.data_rules import rule
from search.report.data_words import suggest_size_px
from search.report.format import count_text, short
from search.report.load import NothingToShowError
from search.report.sheet import Strip, draw_sheet, side_by_side

_SAMPLE_PX = 160  # at most: a picture is about 100 px wide on the page
_WHOLE_PX = 192
_SHEET_CLASSES, _SHEET_SAMPLES, _SHEET_PAIRS = 12, 10, 10
_GONE = "The image files are no longer where they were, so no picture can be shown."


@dataclass(frozen=True)
class Gallery:
    """What the report shows of a data set.

    Attributes:
        size_px: Side of the training images: the one chosen, else the one suggested.
        changed: Images as augmentation draws them, by strength.
        squares: Samples as the model sees them, by file; a file that cannot be read is absent.
        wholes: Images of pairs and problems, whole on a square.
    """

    data: DataFiles
    size_px: int
    samples: Samples
    changed: dict[float, list[tuple[Shot, Pixels]]]
    pairs: dict[str, tuple[list[Pair], int]]
    kinds: list[Kind]
    squares: dict[Path, Pixels]
    wholes: dict[Path, Pixels]


def read_gallery(data: DataFiles) -> Gallery:
    """Choose and read the pictures; what cannot be shown stays empty."""
    size_px = data.facts.size_px or suggest_size_px(data.short_sides())
    samples, chosen, pairs, kinds = Samples({}, 0), [], {}, []
    if len(data.images):
        samples = samples_data(data)
    if (data.images["part"] != "val").any():
        chosen = changed_data(data)
    if (data.problems["other"] != "").any():
        pairs = pairs_data(data)
    if len(data.problems):
        kinds = kinds_data(data)
    shown = [shot for shots in samples.shots.values() for shot in shots]
    whole = [
        shot for some, _ in pairs.values() for pair in some for shot in (pair.mine, pair.other)
    ]
    whole += [shot for kind in kinds for shot in kind.shots]
    return Gallery(
        data, size_px, samples, read_changed(chosen, size_px, data.facts.fit), pairs, kinds,
        read_shots(shown, min(size_px, _SAMPLE_PX), data.facts.fit),
        read_shots(whole, _WHOLE_PX, "pad"),
    )  # fmt: skip


def draw_samples(gallery: Gallery) -> Figure:
    """Draw a few images of up to 12 classes, as the model sees them."""
    counts = gallery.data.images["label"].value_counts()
    strips = [
        Strip(f"{label} ({int(counts[label]):,})", pictures[:_SHEET_SAMPLES])
        for label, shots in list(gallery.samples.shots.items())
        if (pictures := [(gallery.squares[s.file], "") for s in shots if s.file in gallery.squares])
    ]
    if not strips:
        raise NothingToShowError(_GONE if len(gallery.data.images) else "There is no image.")
    places = np.linspace(0, len(strips) - 1, min(len(strips), _SHEET_CLASSES)).astype(int)
    shown = [strips[place] for place in places]
    title = f"Images as the model sees them, {gallery.size_px} × {gallery.size_px} px"
    if len(shown) < len(counts):
        title += f": {len(shown)} of {count_text(len(counts), 'class')}"
    return draw_sheet(title, shown)


def draw_changed(gallery: Gallery) -> Figure:
    """Draw the same images at each strength of augmentation."""
    if not gallery.changed:
        raise NothingToShowError(_GONE if len(gallery.data.images) else "There is no image.")
    strips = [
        Strip(strength_text(strength), [(pixels, shot.label) for shot, pixels in drawn])
        for strength, drawn in gallery.changed.items()
    ]
    return draw_sheet("What augmentation does to the same images", strips)


def strength_text(strength: float) -> str:
    """Name a strength of augmentation."""
    plain = f"augment_strength {strength:g}"
    return f"{plain}: exactly what the model is tested on, every time" if not strength else plain


def draw_pairs(gallery: Gallery) -> Figure:
    """Draw images that were found twice side by side."""
    if not gallery.pairs:
        known = gallery.data.is_checked
        raise NothingToShowError("No image was found twice." if known else "Copies are not known.")
    strips = []
    for kind, (pairs, number) in gallery.pairs.items():
        shown = [p for p in pairs if {p.mine.file, p.other.file} & gallery.wholes.keys()]
        pictures = [
            (side_by_side(*(gallery.wholes.get(s.file) for s in (p.mine, p.other))), _labels(p))
            for p in shown[:_SHEET_PAIRS]
        ]
        if pictures:
            some = f", {len(pictures)} shown" if len(pictures) < number else ""
            strips.append(
                Strip(f"{rule(kind).many} ({count_text(number, 'pair')}{some})", pictures)
            )
    if not strips:
        raise NothingToShowError(_GONE)
    return draw_sheet("Found twice: each pair side by side", strips)


def _labels(pair: Pair) -> str:
    mine, other = pair.mine, pair.other
    if mine.label != other.label:
        return f"{mine.label} | {other.label}"
    word = ", in" if pair.action == "dropped" else ":"
    return f"{short(mine.label, 14)}{word} {other.part}" if other.part else mine.label
