"""The report's plots: their data against known numbers, each drawn once at its extremes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.records import write_json
from search.report import (
    compare_plots,
    data_plots,
    figures,
    heat,
    image_plots,
    param_plots,
    study_plots,
    test_plots,
    time_plots,
    winner_plots,
)
from search.report.data_files import data_of_study
from search.report.load import NothingToShowError, StudyFiles, read_study
from search.report.style import STATE_COLOURS, new_figure, plot_style, save_figure
from search.results import ResultsFolder
from tests.fake_photos import write_photos
from tests.fake_study import write_fake_study


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return read_study(write_fake_study(tmp_path_factory.mktemp("study") / "s", num_classes=12))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    root = tmp_path_factory.mktemp("empty")
    (root / "study.yaml").write_text("name: empty\n")
    return read_study(ResultsFolder(root))


def test_the_incumbent_is_the_best_complete_trial_so_far(files: StudyFiles) -> None:
    data = study_plots.history_data(files)
    best = -np.inf
    for state, value, incumbent in zip(data.states, data.value, data.incumbent, strict=True):
        if state == "complete":
            best = max(best, value)
        assert incumbent == best
    assert data.epochs.sum() == files.trials["epochs_run"].sum()


def test_without_a_complete_trial_the_incumbent_is_the_best_of_all(files: StudyFiles) -> None:
    pruned = StudyFiles(**{**vars(files), "trials": files.trials.assign(state="pruned")})
    data = study_plots.history_data(pruned)
    assert data.incumbent[-1] == np.nanmax(data.value)


def test_curves_end_where_trials_ended(files: StudyFiles) -> None:
    data = study_plots.curves_data(files)
    run = dict(zip(files.trials["number"], files.trials["epochs_run"], strict=True))
    assert [len(curve) for curve in data.curves] == [run[number] for number in data.numbers]
    assert data.rungs == (1, 3)
    assert data.best == files.ranked()["number"].iloc[0]


def test_trials_of_one_worker_do_not_overlap_on_the_timeline(files: StudyFiles) -> None:
    data = time_plots.timeline_data(files)
    for lane in range(len(data.lanes)):
        mine = np.array(data.lane) == lane
        ends = (data.start_s + data.seconds)[mine]
        assert (data.start_s[mine][1:] >= ends[:-1]).all()


def test_confirmed_candidates_come_best_first(files: StudyFiles) -> None:
    data = winner_plots.confirm_data(files)
    means = [values.mean() for values in data.values]
    assert means == sorted(means, reverse=True)
    assert "default recipe" in data.candidates
    reached = dict(zip(files.trials["number"], files.trials["best_value"], strict=True))
    assert data.searched[data.candidates.index("default recipe")] == reached[0]


def test_unused_parameters_have_no_position(files: StudyFiles) -> None:
    data = param_plots.slice_data(files)
    axes = {axis.name: axis for axis in data.axes}
    used = files.trials.loc[files.trials["best_value"].notna(), "params.momentum"] != ""
    assert (np.isfinite(axes["momentum"].position) == used.to_numpy()).all()
    assert axes["lr"].log  # the space file says so
    assert not axes["dropout"].log
    assert "schedule" not in axes  # the same in every trial
    assert axes["backbone"].levels == tuple(sorted(set(files.trials["params.backbone"])))


def test_parallel_axes_keep_unused_below_the_lowest_value(files: StudyFiles) -> None:
    axis = next(a for a in param_plots.slice_data(files).axes if a.name == "momentum")
    heights = param_plots.unit_positions(axis)
    unused = np.isnan(axis.position)
    assert (heights[unused] == 0).all()
    assert heights[~unused].min() > 0.1
    assert heights[~unused].max() == 1


def test_importance_lines_up_both_evaluators(files: StudyFiles) -> None:
    data = compare_plots.importance_data(files)
    assert data.names[:2] == ["backbone", "lr"]
    assert data.shares["ped_anova"][:2].tolist() == [0.3, 0.55]


def test_confusion_matches_a_count_by_hand(files: StudyFiles) -> None:
    data = test_plots.confusion_data(files)
    table = files.predictions
    one, other = data.classes[2], data.classes[3]
    by_hand = ((table["label"] == one) & (table["predicted"] == other)).sum()
    assert data.counts[2, 3] == by_hand
    assert data.counts.sum() == len(table)
    assert data.shares.sum(axis=1) == pytest.approx(np.ones(len(data.classes)))


def test_classes_come_weakest_first(files: StudyFiles) -> None:
    data = test_plots.class_scores_data(files)
    assert (np.diff(data.f1) >= 0).all()
    assert ((data.low <= data.recall) & (data.recall <= data.high)).all()


def test_reliability_bins_hold_every_image(files: StudyFiles) -> None:
    data = test_plots.reliability_data(files)
    table = files.predictions
    assert data.counts.sum() == len(table)
    right = (table["label"] == table["predicted"]).mean()
    assert np.nansum(data.accuracy * data.counts) / len(table) == pytest.approx(right)
    before = data.before
    assert before is not None
    assert before.counts.sum() == len(table)
    assert before.ece == files.metrics["calibration"]["before"]["ece"]["value"]
    # Ten bins or fifteen: the errors agree roughly, and divide by 1.3 tells them apart.
    gaps = (np.nansum(abs(d.accuracy - d.confidence) * d.counts) for d in (before, data))
    assert list(gaps) == pytest.approx(
        [len(table) * before.ece, len(table) * float(data.ece or 0)], rel=0.25
    )


def test_class_counts_match_the_split(files: StudyFiles) -> None:
    data = data_plots.class_counts_data(data_of_study(files))
    assert data.to_numpy().sum() == len(files.splits)
    assert list(data.columns) == ["train", "val", "test"]
    assert data.sum(axis=1).is_monotonic_decreasing


def test_a_confused_pair_is_a_row_and_says_how_often(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=5)
    entries = json.loads((folder.test / "cam" / "cam.json").read_text("utf-8"))
    shown = [e for e in entries if e["group"] != "confused_pair"][:3]
    kinds = (("a", "b", [5, 2]), ("b", "a", [2, 5]), ("c", "d", [3, 0]), ("e", "a", [1, 1]))
    pairs = [
        shown[0] | {"group": "confused_pair", "label": a, "predicted": b, "mixed_up": counts}
        for a, b, counts in kinds
    ]
    write_json(folder.test / "cam" / "cam.json", [*shown, *pairs])
    items = image_plots.explained_data(read_study(folder), "confused_pair")
    assert [item.label for item in items] == ["a", "b", "c", "e"]
    assert image_plots.caption(items[0]).startswith("5 like it, 2 the other way\ntrue: a\nsaid: b")
    figure = image_plots.draw_explained(items)
    titles = [axes.get_title().split("\n")[1] for axes in figure.axes if "like" in axes.get_title()]
    assert titles == ["true: a", "true: b", "true: c", "true: e"]
    rows = [
        axes.get_subplotspec().rowspan.start for axes in figure.axes if "like" in axes.get_title()
    ]
    assert rows == [0, 0, 1, 2]
    assert "of a confused pair" in figure.get_suptitle()
    other = image_plots.explained_data(read_study(folder), "right", "wrong")
    assert not any("like" in image_plots.caption(item) for item in other)


def test_pictures_that_are_gone_are_left_out(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=5, without=["test/cam/0001.png"])
    found = image_plots.explained_data(read_study(folder), "right")
    assert [item.image.name for item in found] == [f"000{k}.png" for k in range(2, 7)]


@pytest.mark.parametrize("plot", figures.PLOTS, ids=lambda plot: plot.name)
def test_nothing_to_show_is_said_in_a_sentence(empty: StudyFiles, plot: figures.Plot) -> None:
    with pytest.raises(NothingToShowError, match=r"^[A-Z].*\.$"):
        plot.draw(empty)


@pytest.mark.parametrize(("num_classes", "num_trials"), [(2, 12), (45, 90)])
def test_every_plot_draws_at_both_ends(
    tmp_path: Path, num_classes: int, num_trials: int, recwarn: pytest.WarningsRecorder
) -> None:
    folder = write_fake_study(
        tmp_path / "s", num_classes=num_classes, num_trials=num_trials, seed=1
    )
    write_photos(folder, tmp_path / "photos")
    drawn = figures.draw_plots(read_study(folder), tmp_path / "plots", figures.PLOTS)
    every = [plot for plots in drawn.values() for plot in plots]
    assert [plot.missing for plot in every if plot.missing] == []
    assert len(every) == len(figures.PLOTS)
    assert [str(w.message) for w in recwarn if "layout" in str(w.message)] == []
    for plot in every:
        with Image.open(tmp_path / "plots" / f"{plot.name}.png") as image:
            assert image.width <= 4000
            assert image.width >= 1.2 * plot.width_px


def test_a_broken_picture_costs_one_plot(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=5)
    (folder.test / "cam" / "0002.png").write_bytes(b"not a picture")
    photos = [plot for plot in figures.PLOTS if plot.photos]
    drawn = figures.draw_plots(read_study(folder), tmp_path / "plots", photos)
    failed = {plot.name for plots in drawn.values() for plot in plots if plot.failed}
    assert failed == {"examples_right", "cam_right"}


def test_one_trial_and_a_metric_that_is_a_loss(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=1)
    files = read_study(folder)
    summary = files.summary
    summary["study"]["objective"] = {"metric": "val_loss", "direction": "minimize"}
    write_json(folder.summary, summary)
    search = [plot for plot in figures.PLOTS if plot.section == "search"]
    drawn = figures.draw_plots(read_study(folder), tmp_path / "plots", search)
    failed = [plot.missing for plots in drawn.values() for plot in plots if plot.failed]
    assert failed == []


def test_saved_plots_keep_the_colour_of_a_single_dot(tmp_path: Path) -> None:
    with plot_style():
        figure = new_figure(4)
        axes = figure.subplots()
        x = np.linspace(0, 1, 400)
        axes.scatter(x, x**2, 9, c=x, cmap="viridis")
        axes.scatter([0.1], [0.9], 20, STATE_COLOURS["interrupted"], lw=0)
        save_figure(figure, tmp_path / "dot.png")
    with Image.open(tmp_path / "dot.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    wanted = [int(STATE_COLOURS["interrupted"][k : k + 2], 16) for k in (1, 3, 5)]
    assert (np.abs(pixels - wanted).max(axis=2) <= 12).sum() > 20


def test_average_heat_is_shown_for_every_class_that_has_one(files: StudyFiles) -> None:
    classes = heat.attention_data(files)
    assert [one.name for one in classes] == sorted({*files.predictions["label"]})
    damaged = (
        {"class": "a"},
        {"class": "b", "grid": [[1.0, None]]},
        {"class": "c", "grid": [["x", 1.0]]},
        {"class": "d", "grid": [[1.0], 2.0]},
        *files.attention[:1],
    )
    some = StudyFiles(**{**vars(files), "attention": damaged})
    assert [one.name for one in heat.attention_data(some)] == [files.attention[0]["class"]]
    with pytest.raises(NothingToShowError):
        heat.attention_data(StudyFiles(**{**vars(files), "attention": ()}))


@pytest.mark.parametrize(
    ("low", "high", "beyond", "verdict"),
    [
        (0.1, 0.3, None, "holds"),
        (0.1, 0.3, (0.05, 0.1), "tells more than the middle"),
        (0.1, 0.3, (-0.05, 0.1), "no more than the middle"),
        (0.1, 0.3, (-0.2, -0.1), "the middle of the image tells more"),
        (-0.1, 0.1, (0.05, 0.1), "no more than chance"),
        (-0.3, -0.1, None, "misleading"),
    ],
)
def test_a_map_is_believed_where_its_interval_says_so(
    files: StudyFiles, low: float, high: float, beyond: tuple[float, float] | None, verdict: str
) -> None:
    row = {"map": "Grad-CAM", "num_images": 9, "score": (low + high) / 2, "low": low, "high": high}
    row |= dict(zip(("beyond_low", "beyond_high"), beyond, strict=True)) if beyond else {}
    rows = (row | {"share_above_zero": 0.5}, {"map": "half a row"})
    frame = heat.faithfulness(StudyFiles(**{**vars(files), "faithfulness": rows})).frame
    assert len(frame) == 1
    assert verdict in frame["verdict"][0]
