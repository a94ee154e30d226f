"""Plots of pairs of parameters, of time, of the model's confidence and of its mistakes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from search.report import (
    contour_plots,
    curve_plots,
    mistakes,
    param_plots,
    time_plots,
    winner_plots,
)
from search.report.load import NothingToShowError, StudyFiles, read_study
from search.report.param_plots import ParamAxis
from search.statistics import median_interval
from tests.fake_photos import write_photos
from tests.fake_study import write_fake_study


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    root = tmp_path_factory.mktemp("study") / "s"
    folder = write_fake_study(root, num_classes=5, num_trials=60)
    write_photos(folder, root.parent / "photos")
    return read_study(folder)


def test_the_two_most_important_parameters_are_paired(files: StudyFiles) -> None:
    data = contour_plots.contour_data(files)
    assert {data.x.name, data.y.name} == {"backbone", "lr"}
    assert data.y.levels  # numbers lie along x
    assert data.value[data.best] == files.trials["best_value"].max()


def test_a_map_goes_through_what_it_smooths() -> None:
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, 1, 21), np.linspace(1, 3, 21)))
    axes = (ParamAxis(name, at, (), False) for name, at in (("x", x), ("y", y)))
    data = contour_plots.Pair("val_accuracy", True, *axes, value=x + 2 * y)
    found = contour_plots.smooth(data)
    middle = found.shape[0] // 2
    cells = (np.arange(60) + 0.5) / 60
    assert found[middle, middle] == pytest.approx(cells[middle] + 2 * (1 + 2 * cells[middle]))
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.diff(found, axis=1) > 0).all()


def test_levels_of_a_map_do_not_blend_and_empty_places_stay_empty() -> None:
    levels = ParamAxis("backbone", np.repeat([0.0, 1.0], 10), ("a", "b"), False)
    lr = ParamAxis("lr", np.r_[np.linspace(0, 0.4, 10), np.linspace(0.1, 1, 10)], (), False)
    data = contour_plots.Pair("m", True, lr, levels, np.repeat([0.2, 0.9], 10))
    found = contour_plots.smooth(data)
    assert np.nanmax(np.abs(found[0] - 0.2)) < 1e-9
    assert np.nanmax(np.abs(found[1] - 0.9)) < 1e-9
    assert np.isnan(found[0, -1])
    assert not np.isnan(found[1, -1])


def test_a_number_with_few_values_is_drawn_in_even_steps_in_their_order(files: StudyFiles) -> None:
    keep = np.ones(len(files.trials), dtype=bool)
    axis = param_plots.param_axis(files, "batch_size", keep)
    assert axis.levels == ("16", "32", "64")
    assert set(axis.position) == {0.0, 1.0, 2.0}
    assert param_plots.param_axis(files, "lr", keep).levels == ()


def test_a_pair_that_was_not_searched_says_so(files: StudyFiles) -> None:
    with pytest.raises(NothingToShowError, match=r"schedule was not varied\.$"):
        contour_plots.pair_data(files, "lr", "schedule")


def test_workers_that_follow_each_other_share_a_lane(files: StudyFiles) -> None:
    trials = files.trials.iloc[:4].assign(
        worker=["10", "11", "12", "10"], node="n", started_s=[0.0, 0.0, 9.0, 5.0],
        seconds=[4.0, 8.0, 2.0, 5.0],
    )  # fmt: skip
    data = time_plots.timeline_data(replace(files, trials=trials))
    lane = dict(zip(data.numbers, data.lane, strict=True))
    assert data.lanes == ["worker 10", "place 2"]
    assert [lane[int(n)] for n in trials["number"]] == [0, 1, 1, 0]
    assert data.whole == 22.0


def test_costs_add_up(files: StudyFiles) -> None:
    frame = time_plots.cost_data(files).set_index("trainings")
    assert frame["share"].sum() == pytest.approx(1.0)
    pruned = files.trials[files.trials["state"] == "pruned"]
    assert frame.loc["search: pruned", "num_trainings"] == len(pruned)
    assert frame.loc["search: pruned", "seconds"] == pytest.approx(pruned["seconds"].sum())
    assert frame.loc["confirm", "num_trainings"] == len(files.confirm)


def test_winner_curves_are_of_the_trial_that_won(files: StudyFiles) -> None:
    data = winner_plots.winner_curves_data(files)
    assert f"trial {data.number}" == files.summary["confirm"]["winner"]
    assert (
        data.epochs["val_accuracy"].max()
        == data.epochs.set_index("epoch").loc[data.best_epoch, "val_accuracy"]
    )


def test_roc_and_average_precision_against_their_definitions() -> None:
    rng = np.random.default_rng(0)
    is_class = rng.random(300) < 0.3
    chance = np.round(rng.random(300) * 0.6 + 0.4 * is_class, 2)  # with ties
    curve = curve_plots.curves_of_class("a", is_class, chance)
    assert curve is not None
    gap = chance[is_class][:, None] - chance[~is_class][None, :]
    assert curve.auc == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean())
    steps = [(chance >= t) for t in np.unique(chance)[::-1]]
    recall = np.array([0.0, *((is_class & s).sum() / is_class.sum() for s in steps)])
    precision = np.array([(is_class & s).sum() / s.sum() for s in steps])
    assert curve.average_precision == pytest.approx((np.diff(recall) * precision).sum())
    assert curve_plots.curves_of_class("a", np.ones(5, bool), np.ones(5)) is None


def test_class_curves_come_weakest_first(files: StudyFiles) -> None:
    curves = curve_plots.class_curves(files)
    assert {c.name for c in curves} == set(files.classes)
    assert (np.diff([c.average_precision for c in curves]) >= 0).all()


def test_answering_all_is_the_accuracy_and_the_surest_come_first(files: StudyFiles) -> None:
    data = curve_plots.confidence_data(files)
    right = (files.predictions["label"] == files.predictions["predicted"]).mean()
    assert data.accuracy[-1] == pytest.approx(right)
    assert data.answered[-1] == 1.0
    assert (np.diff(data.threshold) < 0).all()
    k = int((data.threshold >= 0.8).sum()) - 1
    sure = files.predictions[files.predictions["confidence"] >= 0.8]
    assert data.accuracy[k] == pytest.approx((sure["label"] == sure["predicted"]).mean())
    assert data.answered[k] == pytest.approx(len(sure) / len(files.predictions))


def test_the_costliest_images_are_those_with_the_least_chance(files: StudyFiles) -> None:
    frame = mistakes.losses(files)
    assert len(frame) == len(files.predictions)
    table = files.predictions
    chance = [row[f"p.{row['label']}"] for row in table.to_dict("records")]
    assert frame["chance_of_label"].iloc[0] == min(chance)
    assert frame["loss"].iloc[0] == pytest.approx(-np.log(min(chance)))
    pictures = mistakes.loss_pictures(files)
    assert len(pictures) == 12
    assert pictures[0].label == frame["label"].iloc[0]


def test_pairs_count_both_directions(files: StudyFiles) -> None:
    data = mistakes.pairs_data(files)
    wrong = files.predictions[files.predictions["label"] != files.predictions["predicted"]]
    assert data.num_wrong == len(wrong)
    a, b = data.pairs[0]
    assert ((wrong["label"] == a) & (wrong["predicted"] == b)).sum() == data.first[0]
    assert ((wrong["label"] == b) & (wrong["predicted"] == a)).sum() == data.second[0]
    assert (data.first >= data.second).all()
    assert (np.diff(data.first + data.second) <= 0).all()


def test_a_median_lies_in_its_interval_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (6, 17, 200):
        draws = [median_interval(rng.exponential(size=count)) for _ in range(2000)]
        held = np.mean([low <= np.log(2) <= high for low, high in draws])
        assert 0.945 <= held <= 0.985
    assert all(np.isnan(median_interval(np.arange(5.0))))
    assert median_interval(np.arange(6.0)) == (0.0, 5.0)


def test_losses_without_probabilities_say_so(files: StudyFiles) -> None:
    bare = replace(files, predictions=pd.DataFrame(columns=["path", "label", "predicted"]))
    with pytest.raises(NothingToShowError, match="not tested"):
        mistakes.losses(bare)
