"""Whatever a study left behind, its report comes, and says what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.report.answer import answer_lines
from search.report.figures import PLOTS
from search.report.group_tables import by_parameter, categorical
from search.report.load import NothingToShowError, StudyFiles, read_study
from search.report.page import write_report
from search.report.style import plot_style
from search.report.table import Table, table_view, write_table
from search.report.tables import TABLES
from search.results import ResultsFolder
from tests.fake_study import write_fake_study


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return write_fake_study(tmp_path / "s", num_classes=3, num_trials=12, num_images=90)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    root = tmp_path_factory.mktemp("study") / "s"
    return read_study(write_fake_study(root, num_classes=3, num_trials=12, num_images=90))


def reasons(files: StudyFiles, folder: Path, *, laid_out: bool = True) -> dict[str, str]:
    """Draw every plot, write every table; return why some cannot be. Any other error is one."""
    makers: dict[str, Callable[[], Table]] = {n: partial(m, files) for n, m in TABLES.items()}
    for name in categorical(files) if len(files.trials) else ():
        makers[f"by_{name}"] = partial(by_parameter, files, name)
    found = {}
    with plot_style():
        for plot in PLOTS:
            try:
                figure = plot.draw(files)
                if laid_out:
                    figure.draw_without_rendering()
            except NothingToShowError as reason:
                found[plot.name] = str(reason)
    for name, make in makers.items():
        try:
            table = make()
        except NothingToShowError as reason:
            found[name] = str(reason)
        else:
            write_table(table, folder)
            table_view(table)
            text = (folder / f"{name}.md").read_text(encoding="utf-8")
            assert re.search(r"\bnan\b(?! at epoch)|<NA>", text) is None
    assert all(line.text for line in answer_lines(files))
    assert all(re.fullmatch(r"[A-Z].*\.", text) for text in found.values())
    return found


def test_all_trials_failed(files: StudyFiles, tmp_path: Path) -> None:
    failed = files.trials.assign(
        state="failed",
        best_value=np.nan,
        best_epoch=pd.NA,
        epochs_run=0,
        error="OutOfMemory: 3 GiB",
    )
    found = reasons(replace(files, trials=failed, epochs=files.epochs.iloc[:0]), tmp_path)
    assert "No trial finished an epoch" in found["history"]
    assert "No trial finished an epoch" in found["leaderboard"]
    assert "failures" not in found
    assert "12" in (tmp_path / "failures.csv").read_text()


def test_no_trial_finished(files: StudyFiles, tmp_path: Path) -> None:
    cut = files.trials.assign(state="interrupted")
    found = reasons(
        replace(files, trials=cut, summary={}, confirm=files.confirm.iloc[:0]), tmp_path
    )
    assert "history" not in found  # what the trials reached before is still shown
    assert "confirm" in found


def test_every_trial_reached_the_same(files: StudyFiles, tmp_path: Path) -> None:
    trials = files.trials.assign(best_value=0.5, best_loss=0.7, state="complete", seconds=10.0)
    epochs = files.epochs.assign(val_accuracy=0.5, val_loss=0.7, train_loss=0.7)
    found = reasons(replace(files, trials=trials, epochs=epochs), tmp_path)
    assert {"history", "parallel", "slices", "contour", "pareto"}.isdisjoint(found)


def test_one_parameter_was_searched(files: StudyFiles, tmp_path: Path) -> None:
    others = [c for c in files.trials if c.startswith("params.") and c != "params.lr"]
    trials = files.trials.drop(columns=others)
    importance = files.importance[files.importance["parameter"] == "lr"]
    found = reasons(replace(files, trials=trials, importance=importance), tmp_path)
    assert "Fewer than two parameters" in found["contour"]
    assert "batch_size was not varied" in found["lr_batch_size"]
    assert {"parallel", "slices", "importance"}.isdisjoint(found)


def test_no_parameter_was_searched(files: StudyFiles, tmp_path: Path) -> None:
    trials = files.trials[[c for c in files.trials if not c.startswith("params.")]]
    found = reasons(replace(files, trials=trials, best_params={}), tmp_path)
    assert found["parallel"] == "No parameter was varied."
    assert "history" not in found


def test_a_single_trial(files: StudyFiles, tmp_path: Path) -> None:
    found = reasons(replace(files, trials=files.trials.head(1)), tmp_path)
    assert "Fewer than two trials" in found["slices"]
    assert "history" not in found


def test_one_class_is_never_predicted(files: StudyFiles, tmp_path: Path) -> None:
    gone, other = files.classes[0], files.classes[1]
    table = files.predictions.replace({"predicted": {gone: other}})
    table[f"p.{gone}"] = 0.0
    found = reasons(replace(files, predictions=table), tmp_path)
    drawn = {"confusion_counts", "class_curves", "confidence", "confused_pairs", "reliability"}
    assert drawn.isdisjoint(found)
    assert f"{gone},{other}" in (tmp_path / "confusions.csv").read_text()


def test_every_test_image_is_of_one_class(files: StudyFiles, tmp_path: Path) -> None:
    table = files.predictions.assign(label=files.classes[0], predicted=files.classes[0])
    found = reasons(replace(files, predictions=table), tmp_path)
    assert "all of one class" in found["class_curves"]
    assert "classified correctly" in found["confused_pairs"]


WRITTEN = (
    "summary.json", "environment.json", "study.yaml", "study/trials.csv", "study/epochs.csv",
    "study/importance.csv", "data/index.csv", "data/splits.csv", "data/problems.csv",
    "confirm/confirm.csv", "best/params.json", "best/model.json", "best/epochs.csv",
    "test/predictions.csv", "test/metrics.json", "test/cam/cam.json",
)  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_lost_file_costs_no_more_than_what_it_holds(
    folder: ResultsFolder, tmp_path: Path, name: str, damage: str
) -> None:
    file = folder.root / name
    if damage == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 - 3])
    else:
        file.unlink()
    found = reasons(read_study(folder), tmp_path / "tables", laid_out=False)
    assert len(found) < 0.6 * (len(PLOTS) + len(TABLES))


def test_files_of_noise_are_named(folder: ResultsFolder, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    for name in WRITTEN:
        (folder.root / name).write_bytes(noise)
    files = read_study(folder)
    assert sorted(text.split(":")[0] for text in files.unreadable) == sorted(WRITTEN)
    reasons(files, tmp_path / "tables")


def test_the_page_of_a_study_that_was_cut_in_its_middle(tmp_path: Path) -> None:
    without = ["summary.json", "confirm", "best", "test", "study/importance.csv"]
    folder = write_fake_study(tmp_path / "s", num_trials=6, num_classes=2, without=without)
    table = folder.study / "trials.csv"
    table.write_bytes(table.read_bytes()[:-70])
    text = write_report(folder).read_text(encoding="utf-8")
    assert "has not finished" in text
    assert re.search("could not be (drawn|made)", text) is None
    for missing in ("confirmed with fresh seeds", "not tested yet", "no parameter importances"):
        assert missing in text
