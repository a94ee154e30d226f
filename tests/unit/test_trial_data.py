"""What the page's scripts draw from, and the winner's own space file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.config import load_study, main
from search.records import write_json
from search.report import trial_data as module
from search.report.best_space import write_best_space
from search.report.load import read_study
from search.report.page import write_report
from search.report.trial_data import trial_data
from search.results import ResultsFolder
from search.yaml_file import dump_yaml
from tests.fake_study import write_fake_study
from tests.source_rules import REPO


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return write_fake_study(tmp_path / "s", num_trials=30, num_images=60)


def test_lists_are_in_the_order_of_the_table(folder: ResultsFolder) -> None:
    files = read_study(folder)
    data = trial_data(files)
    ranked = files.ranked()
    assert data["number"] == ranked["number"].tolist()
    assert data["state"] == ranked["state"].tolist()
    for param in data["params"]:
        assert len(param["values"]) == 30
        for value, cell in zip(param["values"], ranked[f"params.{param['name']}"], strict=True):
            if cell == "":
                assert value is None
            elif "levels" in param:
                assert param["levels"][value] == cell
            else:
                assert value == float(cell)  # to the last digit
    assert {k: text for k, text in enumerate(ranked["error"]) if text} == data["reasons"]
    json.dumps(data, allow_nan=False)


def test_curves_hold_every_epoch_to_four_digits(folder: ResultsFolder) -> None:
    files = read_study(folder)
    data = trial_data(files)
    assert data["left_out"] == 0
    for k, number in enumerate(data["number"]):
        rows = files.epochs[files.epochs["trial_number"] == number]
        epochs, values, train, val = data["curves"].get(k, [[], [], [], []])
        assert epochs == rows["epoch"].tolist()
        assert values == pytest.approx(rows["val_accuracy"].tolist(), rel=1e-3)
        assert train == pytest.approx(rows["train_loss"].tolist(), rel=1e-3)
        assert val == pytest.approx(rows["val_loss"].tolist(), rel=1e-3)


def test_the_best_keep_their_curves_where_the_page_would_grow_too_large(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NUMBERS", 100)  # two complete trials of 9 epochs by 4
    data = trial_data(read_study(folder))
    assert sorted(data["curves"]) == [0, 1]
    assert data["left_out"] == 27  # of 29 that finished an epoch


def test_long_curves_are_thinned_around_rungs_and_the_best(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_trials=4, num_images=60)
    epochs = range(1, 1001)
    frame = pd.DataFrame({"trial_number": 0, "epoch": epochs, "train_loss": 1.0, "val_loss": 1.0})
    frame["val_accuracy"] = [0.5 + 0.4 * (epoch == 777) for epoch in epochs]
    frame.to_csv(folder.study / "epochs.csv", index=False)
    path = folder.study / "trials.csv"
    trials = pd.read_csv(path, dtype=str, keep_default_na=False)
    trials.loc[0, "best_epoch"] = "777"
    trials.to_csv(path, index=False)
    data = trial_data(read_study(folder))
    shown = data["curves"][data["number"].index(0)][0]
    assert shown == sorted(shown)
    assert {1, 3, 777, 1000} <= set(shown)
    assert len(shown) <= module.MAX_POINTS + 4


def test_no_trials_are_no_data(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    (tmp_path / "study.yaml").write_text("name: empty\n")
    assert trial_data(read_study(folder)) == {}


WINNER: dict[str, Any] = {
    "backbone": "separable_cnn", "width": 24, "depth": 2, "optimizer": "adamw",
    "lr": 0.0012345678901234567, "weight_decay": 0.001, "batch_size": 32, "dropout": 0.0,
    "augment_strength": 0.25, "label_smoothing": 0.1, "hidden_units": 0,
}  # fmt: skip


def searched(tmp_path: Path, params: dict[str, Any], **changed: Any) -> ResultsFolder:
    """A study of digits whose confirmation chose these parameters."""
    study = load_study(REPO / "spaces" / "digits.yaml").resolved() | changed
    (tmp_path / "study.yaml").write_text(dump_yaml(study))
    (tmp_path / "summary.json").write_text(json.dumps({"confirm": {"params": params}}))
    return ResultsFolder(tmp_path)


def test_the_winners_space_file_trains_the_winner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = searched(tmp_path, WINNER)
    assert write_best_space(read_study(folder)) == ""
    path = folder.report / "best.yaml"
    assert main(["check", str(path)]) == 0
    assert "1 trials" in capsys.readouterr().out
    study = load_study(path)
    point = {name: value for name, value in WINNER.items() if name != "hidden_units"}
    assert study.start_points == [point]
    assert study.num_trials == 1
    assert study.search_space.searched == load_study(folder.study_file).search_space.searched


@pytest.mark.parametrize("given", ["--weights 'my weights'", "--weights='my weights'"])
def test_the_page_says_how_to_train_the_winner_with_the_same_weights(
    tmp_path: Path, given: str
) -> None:
    folder = searched(tmp_path, WINNER)
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    command = f"python -m search.run --space spaces/digits.yaml {given}"
    write_json(folder.summary, summary | {"command": command})
    page = write_report(folder).read_text(encoding="utf-8")
    assert "report/best.yaml --weights &#39;my weights&#39;</pre>" in page


def test_the_winners_trainable_and_size_are_the_default(tmp_path: Path) -> None:
    space = {"lr": {"float": [1e-4, 1e-1], "log": True}, "size_px": {"choice": [32, 64]},
             "backbone": "resnet18"}  # fmt: skip
    winner = {"trainable": "linear_probe", "lr": 0.01, "size_px": 64, "backbone": "resnet18"}
    folder = searched(
        tmp_path, winner, space=space, start_with=[], trainable=["classifier", "linear_probe"]
    )
    assert write_best_space(read_study(folder)) == ""
    study = load_study(folder.report / "best.yaml")
    assert study.dataset.size_px == 64
    assert study.start_points == [{"trainable": "linear_probe", "lr": 0.01, "size_px": 64}]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "No winner was chosen yet, so there is no space file of it."),
        (WINNER | {"lr": 5.0}, "There is no space file of the winner: best.yaml has 1 problem"),
    ],
)
def test_a_space_file_that_would_not_do_is_not_left_there(
    tmp_path: Path, params: dict[str, Any], reason: str
) -> None:
    folder = searched(tmp_path, params)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "best.yaml").write_text("of an earlier winner")
    assert write_best_space(read_study(folder)).startswith(reason)
    assert not (tmp_path / "report" / "best.yaml").exists()
