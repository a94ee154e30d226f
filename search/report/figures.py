"""Which plots the page shows, and drawing them so that one failure costs one plot."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from search.report import (
    compare_plots,
    contour_plots,
    curve_plots,
    heat,
    image_plots,
    mistakes,
    param_plots,
    pareto,
    study_plots,
    test_plots,
    time_plots,
    winner_plots,
)
from search.report.load import NothingToShowError, StudyFiles
from search.report.style import plot_style, save_figure

Files = TypeVar("Files")
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Plot(Generic[Files]):
    """One plot: file name, section of the page, caption, and how to draw it."""

    name: str
    section: str
    caption: str
    draw: Callable[[Files], Figure]
    photos: bool = False


@dataclass(frozen=True)
class Drawn:
    """A plot on the page: its picture as a data URI, or why there is none."""

    name: str
    caption: str
    uri: str = ""
    width_px: int = 0
    height_px: int = 0
    missing: str = ""
    failed: bool = False


def _groups(parameter: str) -> Callable[[StudyFiles], Figure]:
    return lambda files: compare_plots.draw_groups(compare_plots.groups_data(files, parameter))


def _cam(group: str) -> Callable[[StudyFiles], Figure]:
    return lambda files: image_plots.draw_explained(image_plots.explained_data(files, group))


def _gallery(*groups: str) -> Callable[[StudyFiles], Figure]:
    return lambda files: image_plots.draw_gallery(image_plots.explained_data(files, *groups))


PLOTS: tuple[Plot[StudyFiles], ...] = (
    Plot("history", "search",
         "Every trial's best epoch, and the incumbent: the best complete trial so far. Below, the "
         "epochs each trial was given before it was stopped or done.",
         lambda f: study_plots.draw_history(study_plots.history_data(f))),
    Plot("learning_curves", "search",
         "At each rung the weaker trials stop, so that epochs go to the promising ones.",
         lambda f: study_plots.draw_curves(study_plots.curves_data(f))),
    Plot("pareto", "search",
         "Complete trials that keep the constraints. Along the line better costs more; what lies "
         "below it is beaten by a trial on it. Latency is of one image with one thread.",
         lambda f: pareto.draw_trade_offs(pareto.trade_off_data(f))),
    Plot("importance", "search",
         "f-ANOVA tells what moves the objective over the whole space; PED-ANOVA what separates "
         "the best trials from the rest. They answer different questions and may disagree.",
         lambda f: compare_plots.draw_importance(compare_plots.importance_data(f))),
    Plot("by_backbone", "search",
         "Pruned trials count with what they had reached when they were stopped.",
         _groups("backbone")),
    Plot("by_optimizer", "search",
         "Pruned trials count with what they had reached when they were stopped.",
         _groups("optimizer")),
    Plot("parallel", "search",
         "The most important parameters, where that is known; dark lines are the best trials.",
         lambda f: param_plots.draw_parallel(param_plots.parallel_data(f))),
    Plot("slices", "search",
         "Where along each parameter the good trials lie, the most important first where that is "
         "known.",
         lambda f: param_plots.draw_slices(param_plots.slice_data(f))),
    Plot("contour", "search",
         "The two most important parameters together: each place shows the mean of the trials near "
         "it, pruned ones with what they had reached; white where there were none.",
         lambda f: contour_plots.draw_pair(contour_plots.contour_data(f))),
    Plot("lr_batch_size", "search",
         "Larger batches usually want a larger learning rate. A mean of the trials near each "
         "place, as above.",
         lambda f: contour_plots.draw_pair(contour_plots.pair_data(f, "lr", "batch_size"))),
    Plot("timeline", "search",
         "One bar per trial, on the worker that ran it. What is not spent in epochs goes into "
         "starting, saving and waiting.",
         lambda f: time_plots.draw_timeline(time_plots.timeline_data(f))),
    Plot("time", "search",
         "Workers train side by side, so their time adds up to more than the clock's.",
         time_plots.draw_time),
    Plot("confirm", "winner",
         "The best trials were lucky as well as good. Trained again with fresh seeds, the best "
         "mean wins; the dashed lines show how far the search was off.",
         lambda f: winner_plots.draw_confirm(winner_plots.confirm_data(f))),
    Plot("winner_curves", "winner",
         "Val far worse than train is overfitting; both still falling wants more epochs. Train is "
         "measured on augmented images, so it may well be the worse one.",
         lambda f: winner_plots.draw_winner_curves(winner_plots.winner_curves_data(f))),
    Plot("retrain", "winner", "The winner's last training, on train and val together.",
         lambda f: winner_plots.draw_retrain(winner_plots.retrain_data(f))),
    Plot("class_scores", "test",
         "Few test images make wide intervals: do not rank classes by differences inside them.",
         lambda f: test_plots.draw_class_scores(test_plots.class_scores_data(f))),
    Plot("confusion_shares", "test", "Rows are true classes and add up to 100 %.",
         lambda f: test_plots.draw_confusion_shares(test_plots.confusion_data(f))),
    Plot("confusion_counts", "test", "The same in images.",
         lambda f: test_plots.draw_confusion_counts(test_plots.confusion_data(f))),
    Plot("reliability", "test",
         "On the diagonal a prediction made with 80 % confidence is right 80 % of the time; "
         "below it the model is too sure of itself. The bars count the images.",
         lambda f: test_plots.draw_reliability(test_plots.reliability_data(f))),
    Plot("confidence", "test",
         "Right: what becomes of the accuracy when only the surest predictions are used and the "
         "others are left to a person.",
         lambda f: curve_plots.draw_confidence(curve_plots.confidence_data(f))),
    Plot("class_curves", "test",
         "Each class against all others; in colour the weakest. AP is the area under precision "
         "and recall, which unlike ROC shows when a class is rare.",
         lambda f: curve_plots.draw_class_curves(curve_plots.class_curves(f))),
    Plot("confused_pairs", "test", "What to collect photos of, or to ask a second model about.",
         lambda f: mistakes.draw_pairs(mistakes.pairs_data(f))),
    Plot("top_losses", "test",
         "The images that cost most: a wrong label, a poor photo, or really hard?",
         lambda f: mistakes.draw_losses(mistakes.loss_pictures(f)), photos=True),
    Plot("examples_right", "test", "Test images that were classified correctly.",
         _gallery("right"), photos=True),
    Plot("examples_wrong", "test", "Test images that were not.",
         _gallery("wrong", "confident_wrong"), photos=True),
    Plot("class_attention", "explanations",
         "Warm is where the evidence lay. The rim is the outer eighths, 44 % of a picture: a class "
         "with more of its heat there may be told by its background, a frame or a watermark.",
         lambda f: heat.draw_attention(heat.attention_data(f))),
    Plot("cam_right", "explanations",
         "Right predictions: the image, where the evidence for its class lay, and what told it "
         "from the class it was nearest to (Finer-CAM).",
         _cam("right"), photos=True),
    Plot("cam_wrong", "explanations", "Wrong predictions.", _cam("wrong"), photos=True),
    Plot("cam_confident_wrong", "explanations",
         "Wrong, and sure of it: the mistakes to look at first. A wrong label, or the wrong part "
         "of the picture?",
         _cam("confident_wrong"), photos=True),
    Plot("cam_confused_pair", "explanations",
         "The pairs of classes mixed up most often, in the order of the table of confusions; an "
         "image of each direction side by side, where there is one.",
         _cam("confused_pair"), photos=True),
)  # fmt: skip


def draw_plots(files: Files, folder: Path, plots: Sequence[Plot[Files]]) -> dict[str, list[Drawn]]:
    """Draw plots into NAME.png and return them by section of the page."""
    with plot_style():
        return by_section(plots, {plot.name: draw_plot(plot, files, folder) for plot in plots})


def by_section(plots: Sequence[Plot[Files]], drawn: Mapping[str, Drawn]) -> dict[str, list[Drawn]]:
    """Sort what was drawn into sections, in the order of the plots."""
    sections: dict[str, list[Drawn]] = {}
    for plot in plots:
        sections.setdefault(plot.section, []).append(drawn[plot.name])
    return sections


def draw_plot(plot: Plot[Files], files: Files, folder: Path) -> Drawn:
    """Draw a plot in the style that is set; one that cannot be drawn says why."""
    path = folder / f"{plot.name}.png"
    try:
        figure = plot.draw(files)
        save_figure(figure, path, photos=plot.photos)
        uri = _photo_uri(path) if plot.photos else data_uri("png", path.read_bytes())
    except NothingToShowError as reason:
        return Drawn(plot.name, plot.caption, missing=str(reason))
    except Exception as error:  # whatever one plot stumbles over must not cost the report
        first = (str(error).splitlines() or [""])[0]
        text = f"The plot {plot.name} could not be drawn: {type(error).__name__}: {first}"
        return Drawn(plot.name, plot.caption, missing=text, failed=True)
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    return Drawn(plot.name, plot.caption, uri, width, height)


def _photo_uri(path: Path) -> str:
    with Image.open(path) as image:
        return jpeg_uri(np.asarray(image.convert("RGB")))


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture (H, W, 3) uint8 as a data URI, a fifth of the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="jpeg", quality=_JPEG_QUALITY)
    return data_uri("jpeg", buffer.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """Return an image file's bytes as a URI that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
