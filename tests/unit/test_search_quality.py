"""Recorded learning curves, and searches replayed over them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer

from benchmarks import record_curves, search_quality
from benchmarks.curves import FOLDER, LEVELS, MAX_EPOCHS, Curve, CurveTable, corners, grid, key_of
from benchmarks.regret import best_of, compare
from benchmarks.regret_plot import anytime_data
from benchmarks.replay import NUM_WORKERS, SPACE_FILE, Found, Method, Replay, Simulation, simulate
from search.config import load_study
from search.records import TrialState
from search.space import Choice, Float
from tests.curve_table import make_table
from tests.images import make_folder

POINT = {"backbone": "small_cnn", "width": 8, "optimizer": "sgd", "lr": 1e-2, "momentum": 0.55}
POINT |= {"batch_size": 16, "augment_strength": 0.1}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> CurveTable:
    return make_table(tmp_path_factory.mktemp("curves") / "made_up.csv")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_a_recorded_table_is_complete(path: Path) -> None:
    table = CurveTable(path)
    assert table.missing() == []
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) - 1 == len(table.curves) == len(list(grid()))
    for curve in table.curves.values():
        assert len(curve.val_accuracy) == len(curve.seconds) == MAX_EPOCHS
        assert all(0 <= value <= 1 for value in (*curve.val_accuracy, curve.test_accuracy))
        assert all(seconds > 0 for seconds in curve.seconds)
    assert best_of(table) > np.median([curve.val_accuracy[-1] for curve in table.curves.values()])


def test_the_space_reaches_from_the_first_level_to_the_last() -> None:
    config = load_study(SPACE_FILE)
    assert config.budget.max_epochs == MAX_EPOCHS
    parameters = {p.name: p for p in config.search_space.parameters}
    for name, levels in LEVELS.items():
        parameter = parameters[name]
        if isinstance(parameter, Float):
            assert (parameter.low, parameter.high) == (levels[0], levels[-1])
        else:
            assert isinstance(parameter, Choice)
            assert parameter.options == levels


def test_a_table_reads_back_as_it_was_written(table: CurveTable) -> None:
    again = CurveTable(table.path)
    assert again.curves.keys() == table.curves.keys()
    for key, curve in again.curves.items():
        assert curve.val_accuracy == pytest.approx(table.curves[key].val_accuracy, abs=1e-4)


def test_between_configurations_of_the_grid_their_curves_are_mixed(table: CurveTable) -> None:
    assert corners(POINT) == [(key_of(POINT), 1.0)]
    assert table.curve(POINT).val_accuracy == pytest.approx(
        table.curves[key_of(POINT)].val_accuracy
    )
    middle = POINT | {"lr": math.sqrt(1e-2 * 3.16e-2), "augment_strength": 0.2}
    weights = {(key[3], key[6]): weight for key, weight in corners(middle)}
    expected = {(1e-2, 0.1): 3, (1e-2, 0.5): 1, (3.16e-2, 0.1): 3, (3.16e-2, 0.5): 1}
    assert {k: 8 * w for k, w in weights.items()} == pytest.approx(expected)
    ends = [table.curves[key].val_accuracy[0] for key, _ in corners(middle)]
    assert min(ends) < table.curve(middle).val_accuracy[0] < max(ends)
    adamw = {name: v for name, v in middle.items() if name != "momentum"} | {"optimizer": "adamw"}
    assert len(table.curve(adamw | {"momentum": 0.9}).params) == len(LEVELS) - 1


def test_what_a_study_would_hand_over_at_a_moment() -> None:
    replay = Replay((Found(2.0, 0.5, 0.4), Found(6.0, 0.7, 0.6)), 10.0, 18, ())
    assert [replay.at(t).value for t in (1.0, 2.0, 5.9, 6.0, 99.0)] == [0.5, 0.5, 0.5, 0.7, 0.7]
    assert replay.mean_value(8.0) == pytest.approx((6 * 0.5 + 2 * 0.7) / 8)
    assert replay.mean_value(4.0) == pytest.approx(0.5)


def test_a_search_that_stops_nothing_trains_every_epoch(table: CurveTable, tmp_path: Path) -> None:
    method = Method("random, none", ("search.sampler=random", "budget.scheduler=none"))
    replay = simulate(method, table, 6, 0, tmp_path)
    assert replay.states == (TrialState.COMPLETE,) * 6
    assert replay.num_epochs == 6 * MAX_EPOCHS
    assert replay.seconds >= 6 * MAX_EPOCHS / NUM_WORKERS, "an epoch takes one second at least"
    assert replay.seconds <= 2 * 6 * MAX_EPOCHS / NUM_WORKERS + 2 * MAX_EPOCHS
    values = [found.value for found in replay.found]
    assert values == sorted(values)


def test_a_replay_depends_on_its_seed_alone(table: CurveTable, tmp_path: Path) -> None:
    method = search_quality.METHODS[search_quality.DEFAULT]
    folders = iter(tmp_path / name for name in "abc")
    first, again, other = (simulate(method, table, 12, seed, next(folders)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert TrialState.PRUNED in first.states
    assert first.num_epochs < 12 * MAX_EPOCHS


def test_a_method_that_stops_more_trials_has_time_for_more(
    table: CurveTable, tmp_path: Path
) -> None:
    method = search_quality.METHODS["random, asha"]
    short = simulate(method, table, 6, 0, tmp_path / "short")
    long = simulate(method, table, 6, 0, tmp_path / "long", until=2 * short.seconds)
    assert len(short.states) == 6
    assert len(long.states) > 6
    assert long.found[0] == short.found[0]
    assert long.num_epochs <= 6 * MAX_EPOCHS, "of the six alone"


def test_studies_of_neighbouring_seeds_share_the_default_recipe_alone(
    table: CurveTable, tmp_path: Path
) -> None:
    method = Method("random, none", ("search.sampler=random", "budget.scheduler=none"))
    tried = []
    for seed in (0, 1):
        study = Simulation(method, table, 8, seed, tmp_path / str(seed))
        tried.append([study.suggest().config["searched"] for _ in range(8)])
    assert tried[0][0] == tried[1][0]
    assert not [params for params in tried[0][1:] if params in tried[1][1:]]


@pytest.mark.parametrize("name", search_quality.METHODS)
def test_every_method_searches(name: str, table: CurveTable, tmp_path: Path) -> None:
    replay = simulate(search_quality.METHODS[name], table, 8, 0, tmp_path)
    assert len(replay.states) == 8
    assert 0 < replay.found[-1].value <= best_of(table)


def test_methods_are_compared_at_one_moment_and_by_pairs(table: CurveTable) -> None:
    good = Replay((Found(1.0, 0.6, 0.5), Found(9.0, 0.8, 0.7)), 10.0, 90, ())
    late = Replay((Found(1.0, 0.6, 0.5), Found(11.0, 0.9, 0.8)), 20.0, 180, ())
    best = best_of(table)
    first, second = compare(table, {"good": [good, good], "late": [late, late]}, "good")
    assert first.regret.value == pytest.approx(best - 0.8)
    assert (first.difference.value, first.difference.low) == (0, 0)
    assert second.regret.value == pytest.approx(best - 0.6), "what came after does not count"
    assert second.difference.value == pytest.approx(0.2)
    assert second.regret_of_trials.value == pytest.approx(best - 0.9)
    assert second.area.value > first.area.value
    quartiles = anytime_data([good, late], best, np.array([1.0, 10.0, 12.0]))
    assert quartiles.shape == (3, 3)
    assert quartiles[1] == pytest.approx([best - 0.6, best - 0.7, best - 0.85])


def test_the_command_writes_figures_and_a_plot(table: CurveTable, tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    search_quality.main(
        2, 5, ["random, none"], None, table.path.parent, jobs=1, json=figures, plot=plot
    )
    written = json.loads(figures.read_text())
    assert [row["method"] for row in written["rows"]] == ["tpe, asha", "random, none"]
    assert [len(found["replays"]) for found in written["replays"]] == [2, 2]
    assert plot.stat().st_size > 10_000


def test_an_incomplete_table_is_refused(tmp_path: Path) -> None:
    CurveTable(tmp_path / "half.csv").add(Curve(next(grid()), (0.5,), (1.0,), 0.5))
    with pytest.raises(typer.BadParameter, match="half lacks 287 curves"):
        search_quality.read_tables([], tmp_path)


def test_recording_trains_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = make_folder(tmp_path / "photos", ("a", "b"), per_class=12)
    first, second = [params for params in grid() if params["width"] == 8][:2]
    monkeypatch.setattr(CurveTable, "missing", lambda table: [first] if table.curves else [second])
    for _ in range(2):
        record_curves.main("shapes", photos, tmp_path)
    table = CurveTable(tmp_path / "shapes.csv")
    assert list(table.curves) == [key_of(second), key_of(first)]
    assert all(len(curve.val_accuracy) == MAX_EPOCHS for curve in table.curves.values())
