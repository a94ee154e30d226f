"""What was found in a data set, in words: the answer, and what to worry about."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from search.report.answer import Line
from search.report.data_files import PARTS, DataFiles
from search.report.data_rules import kind_counts, kinds_text
from search.report.format import count_text, short

SIZES_PX = (32, 64, 96, 128, 160, 192, 224)
ENOUGH = 0.5  # share of the images that must be as large as the size suggested
_EVEN, _UNEVEN = 1.5, 3.0  # largest class over smallest
_MANY_ALIKE = 0.05
_FEW_IMAGES = 20  # a class with fewer to train on
_USUAL_PX = 128
ALL_WELL = "Every image opens, and none is there twice."
_UNCHECKED = "Not known: the images were not checked, or problems.csv is lost."


def suggest_size_px(sides_px: Iterable[float]) -> int:
    """Choose a side for the training images from how large the photos are.

    The largest of 32, 64, 96, 128, 160, 192 and 224 px that at least half of the images reach; the
    smallest when none is. Enlarging the others adds no detail but takes none away, where a smaller
    size would take it from all. More than 224 px seldom pays for its cost, which grows with the
    area.

    Args:
        sides_px: The side of every image that decides: the short one, for `pad` the long one.
    """
    sides = np.fromiter(sides_px, dtype=float)
    reached = [size for size in SIZES_PX if sides.size and np.mean(sides >= size) >= ENOUGH]
    return max(reached, default=SIZES_PX[0])


def answer_lines(data: DataFiles) -> list[Line]:
    """Say how many images there are, what is wrong with them, which size fits, and what next."""
    return [
        _images_line(data),
        _condition_line(data),
        _leaks_line(data),
        _size_line(data),
        _next_line(data),
    ]


def balance_text(data: DataFiles) -> str:
    """Say how evenly the images are spread over the classes."""
    counts = data.images["label"].value_counts().reindex(list(data.classes), fill_value=0)
    counts = counts.sort_values(kind="stable")
    low, high = int(counts.iloc[0]), int(counts.iloc[-1])
    each = f"{low:,} each" if low == high else f"{low:,} to {high:,} each"
    if high <= _EVEN * low:
        return f"{each}, balanced"
    ends = f"{short(counts.index[-1], 30)} has {high:,}, {short(counts.index[0], 30)} {low:,}"
    if not is_unbalanced((low, high)):
        return f"{each}, somewhat uneven ({ends})"
    return f"{each}, unbalanced ({ends}): judge by balanced accuracy and try class_weights"


def is_unbalanced(counts: Iterable[int]) -> bool:
    """Tell from the images of each class whether plain accuracy would mislead."""
    known = list(counts)
    return max(known, default=0) > _UNEVEN * min(known, default=0)


def _images_line(data: DataFiles) -> Line:
    if data.images.empty:
        return Line("Images", "None that can be used.", True)
    total = f"{len(data.images):,} usable {'image' if len(data.images) == 1 else 'images'}"
    text = f"{total} of {count_text(len(data.classes), 'class')}, {balance_text(data)}."
    parts = data.images["part"].value_counts()
    if parts.get("", 0) == 0:
        text += " " + " / ".join(f"{int(parts.get(p, 0)):,} {p}" for p in PARTS)
        mine = [part for part in PARTS if part not in data.given]
        cut = f"{' and '.join(mine)} cut from train by class and seed" if mine else ""
        own = f"{' and '.join(data.given)} as the data gives them" if data.given else ""
        told = "as the data gives them" if not mine else "; ".join(filter(None, (own, cut)))
        text += f" ({told if data.given else 'cut by class and seed'})."
    return Line("Images", text)


def _condition_line(data: DataFiles) -> Line:
    if not data.is_checked:
        return Line("Condition", _UNCHECKED, True)
    told = []
    endings = (
        ("dropped", "left out"),
        ("converted", "repaired"),
        ("kept", "kept but worth a look"),
    )
    for action, words in endings:
        problems = data.problems[data.problems["action"] == action]
        if len(problems):
            files = len(problems[["root", "path"]].drop_duplicates())
            told.append(f"{files:,} {words}: {kinds_text(problems)}.")
    return Line("Condition", " ".join(told) or ALL_WELL)


def _leaks_line(data: DataFiles) -> Line:
    text = leaks_text(data)
    if text:
        return Line("Leaks", text)
    if not data.is_checked:
        return Line("Leaks", _UNCHECKED, True)
    if len(data.given) < 2:
        given = "no splits" if not data.given else f"only {data.given[0]}"
        return Line("Leaks", f"The data gives {given}; look-alikes are kept on one side.")
    return Line("Leaks", f"No picture is in two of the given splits ({', '.join(data.given)}).")


def leaks_text(data: DataFiles) -> str:
    """Say how many images were in two of the given splits, "" for none."""
    number = int((data.problems["kind"] == "leak").sum())
    if not number:
        return ""
    stand = "stands" if number == 1 else "stand"
    return (
        f"{count_text(number, 'image')} of one given split {stand} in another too, as a copy or "
        "look-alike: left out of train or val, so that no model is judged on what it was shown."
    )


def _size_line(data: DataFiles) -> Line:
    sides = data.short_sides()
    if sides.empty:
        return Line("Size", "Not known: no image could be opened.", True)
    size = suggest_size_px(sides)
    reach = float((sides >= size).mean())
    which = "long" if data.facts.fit == "pad" else "short"
    what = f"{share_text(reach)} of the images have a {which} side of at least that"
    text = f"size_px {size}: {what}"
    if reach < ENOUGH:
        text = f"size_px {size}, the smallest worth while: only {what}"
    larger = next((other for other in SIZES_PX if other > size), None)
    if larger:
        text += f"; at {larger} px, {share_text(float((sides < larger).mean()))} would be enlarged"
    text += f". {cost_text(size)}"
    if data.facts.size_px and data.facts.size_px != size:
        text += f" This study uses {data.facts.size_px} px."
    return Line("Size", text)


def cost_text(size_px: int) -> str:
    """Say what a size costs beside the usual one: time grows with the area."""
    ratio = (size_px / _USUAL_PX) ** 2
    if size_px == _USUAL_PX:
        return "A usual size; half of it trains four times as fast."
    if ratio < 1:
        return f"An epoch takes about {share_text(ratio)} of the time at {_USUAL_PX} px."
    return (
        f"An epoch takes about {ratio:.2g} times as long as at {_USUAL_PX} px: without a GPU, "
        f"start with {_USUAL_PX}."
    )


def _next_line(data: DataFiles) -> Line:
    if data.facts.trouble:
        return Line("Next", "Mend what is said above, then run the same command again.")
    warned = data_warnings(data)
    look = "Look at the warnings and pictures, then s" if warned else "S"
    return Line("Next", f"{look}earch with the command below.")


def data_warnings(data: DataFiles) -> list[str]:
    """Tell what a reader of any result on this data must know."""
    problems, warnings = data.problems, []
    counts = kind_counts(problems)
    if counts.get("conflicting_label"):
        number = count_text(counts["conflicting_label"], "image")
        warnings.append(
            f"{number} with the same picture in two classes: one of the labels is wrong."
        )
    alike = counts.get("near_duplicate", 0)
    share = alike / max(1, len(data.images))
    if share >= _MANY_ALIKE:
        warnings.append(
            f"Many look-alikes: {alike:,} images ({share_text(share)}) look like "
            "another one, so there is less to learn from than the number of files says."
        )
    trained = data.images[data.images["part"] == "train"]["label"].value_counts()
    few = [str(name) for name in data.classes if 0 < trained.get(name, 0) < _FEW_IMAGES]
    if few:
        more = f" and {len(few) - 3} more" if len(few) > 3 else ""
        warnings.append(
            f"{count_text(len(few), 'class')} with fewer than {_FEW_IMAGES} images to train on: "
            f"{', '.join(short(name, 30) for name in few[:3])}{more}. Expect little of them."
        )
    return warnings


def share_text(share: float) -> str:
    """Write a share without decimals; 100 % and 0 % only where it is all or none."""
    shown = min(99, max(1, round(100 * share))) if 0 < share < 1 else round(100 * share)
    return f"{shown} %"
