"""The kinds of problems in images: their names, and what each rule means in plain words."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Rule:
    """A kind of problem: how one and several images with it are called, and what was done."""

    one: str
    many: str
    text: str

    @property
    def title(self) -> str:
        return self.many[0].upper() + self.many[1:]


RULES = {
    "bad_name": Rule(
        "unusable name", "unusable names",
        "The file's name is not valid UTF-8 or holds a line break, so no table can name it. "
        "Left out: rename the file.",
    ),
    "unreadable": Rule(
        "unreadable file", "unreadable files",
        "The file is empty, cut short or damaged: it cannot be decoded to its last row. Left out: "
        "copy or download it again.",
    ),
    "too_large": Rule(
        "oversized image", "oversized images",
        "So many pixels or bytes that opening it could exhaust the memory (a decompression bomb). "
        "Left out: save it smaller.",
    ),
    "too_small": Rule(
        "tiny image", "tiny images",
        "The short side is under 16 px: an icon or a fragment, with nothing to learn from. "
        "Left out.",
    ),
    "extreme_aspect": Rule(
        "very long image", "very long images",
        "One side is more than four times the other. Kept, but a square cut from it shows only a "
        "part: look at it, or train with dataset.fit=pad.",
    ),
    "blank": Rule(
        "blank image", "blank images",
        "One colour all over: often a failed download or a placeholder. Kept: delete it if it "
        "shows nothing.",
    ),
    "wrong_extension": Rule(
        "wrong file ending", "wrong file endings",
        "The content is of another format than the name says. Kept: files are read by content.",
    ),
    "animated": Rule(
        "animation", "animations", "Only the first frame is used: check that it shows the class.",
    ),
    "cmyk": Rule("CMYK image", "CMYK images", "Made for print; converted to RGB."),
    "16_bit": Rule(
        "16-bit image", "16-bit images", "More than 8 bits a channel; scaled to 8-bit RGB."
    ),
    "palette": Rule("palette image", "palette images", "Few indexed colours; converted to RGB."),
    "other_mode": Rule(
        "image in a rare colour mode", "images in rare colour modes", "Converted to RGB."
    ),
    "alpha": Rule(
        "transparent image", "transparent images", "Has transparency; laid on white."
    ),
    "exif_rotation": Rule(
        "turned photo", "turned photos",
        "The camera noted in EXIF that the picture is mirrored or lies on its side; put upright.",
    ),
    "exact_duplicate": Rule(
        "exact copy", "exact copies",
        "The very same bytes again in its class. One copy is kept, the others are left out; a test "
        "split that is given stays whole.",
    ),
    "conflicting_label": Rule(
        "conflicting label", "conflicting labels",
        "The same picture stands in two classes, so one of the labels is wrong. Exact copies are "
        "all left out; look-alikes may be two pictures, and are kept. Delete the wrong one.",
    ),
    "leak": Rule(
        "leak", "leaks",
        "The picture, or one that looks the same, is in two of the given splits: a model would be "
        "tested on what it has seen. Left out of train or val; the test split stays whole.",
    ),
    "near_duplicate": Rule(
        "look-alike", "look-alikes",
        "Looks like another image: resized, saved again, brightened, mirrored, or the next shot of "
        "a series. Kept, and never parted by the splits that are made here.",
    ),
}  # fmt: skip


def rule(kind: str) -> Rule:
    """Return the rule of a kind of problem, its plain name for one that is new."""
    plain = kind.replace("_", " ")
    return RULES.get(kind, Rule(plain, plain, ""))


def kind_counts(problems: pd.DataFrame) -> dict[str, int]:
    """Count problems by kind, the most frequent first."""
    return {str(kind): int(n) for kind, n in problems["kind"].value_counts().items()}


def kinds_text(problems: pd.DataFrame, limit: int = 6) -> str:
    """List problems by kind: "8 exact copies, 1 leak"."""
    counts = list(kind_counts(problems).items())
    shown = [f"{n:,} {rule(kind).one if n == 1 else rule(kind).many}" for kind, n in counts[:limit]]
    rest = sum(n for _, n in counts[limit:])
    return ", ".join([*shown, *([f"{rest:,} other"] if rest else [])])
