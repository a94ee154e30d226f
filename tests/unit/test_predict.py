"""The predict command: right answers, every bad input named, exit codes."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from search.errors import DatasetError
from search.export import export_model
from search.predict import find_images, main, predict_images
from tests.tiny_model import TinyStudy, make_study
from trainables.saved import predict_probabilities

REPO = Path(__file__).resolve().parent.parent.parent

app = typer.Typer()
app.command()(main)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> TinyStudy:
    study = make_study(tmp_path_factory.mktemp("study"), epochs=4)
    export_model(study.results)
    return study


def run(study, *arguments):
    return CliRunner().invoke(app, ["--model", str(study.results.export), *map(str, arguments)])


def test_predictions_from_files_are_those_of_the_cache(study):
    from search.data.loader import open_trial_data
    from trainables.saved import load_model

    ids = study.split.test
    data = open_trial_data(study.cache, study.split.train, study.split.val)
    model, info = load_model(study.results.best)
    _, expected = predict_probabilities(model, data.clean_batches(ids, batch_size=8), "cpu")
    guesses, unreadable = predict_images(
        study.results.export, [study.index.file(int(k)) for k in ids]
    )
    assert unreadable == []
    for guess, row in zip(guesses, expected, strict=True):
        assert list(guess.probabilities) == sorted(guess.probabilities, reverse=True)
        found = dict(zip(guess.classes, guess.probabilities, strict=True))
        assert [found[name] for name in info.classes] == pytest.approx(row.tolist(), abs=1e-6)


def test_a_folder_is_classified_line_by_line(study):
    result = run(study, study.index.roots[0], "--top", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(" %") == 2 * len(study.index.rows)
    assert str(study.index.file(0)) in result.stdout


def test_csv_holds_every_guess(study, tmp_path):
    photo = study.index.file(0)
    table = tmp_path / "new folder" / "guesses.csv"
    assert run(study, photo, "--csv", table, "--top", "99").exit_code == 0
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["class"] for row in rows} == set(study.index.classes)
    assert {row["path"] for row in rows} == {str(photo)}
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1.0, abs=1e-5)


def test_unreadable_images_are_listed_and_the_others_classified(study, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    (tmp_path / "empty.png").write_bytes(b"")
    shutil.copy(study.index.file(0), tmp_path / "good, 'photo'.png")
    result = run(study, tmp_path)
    assert result.exit_code == 0
    assert "good, 'photo'.png: " in result.stdout
    assert "2 of 3 images could not be read:" in result.stderr
    assert "torn.jpg: " in result.stderr
    assert "empty.png: " in result.stderr


def test_nothing_readable_exits_2(study, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"no photo")
    result = run(study, tmp_path / "torn.jpg")
    assert result.exit_code == 2
    assert "1 of 1 images could not be read" in result.stderr
    assert result.stdout.strip() == ""


def test_all_bad_paths_are_named_at_once(study, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(study, tmp_path / "empty", tmp_path / "missing.jpg")
    assert result.exit_code == 2
    assert f"{tmp_path / 'empty'}: must hold images" in result.stderr
    assert f"{tmp_path / 'missing.jpg'}: must exist" in result.stderr


def test_a_folder_without_a_model_exits_2(study, tmp_path):
    result = CliRunner().invoke(app, ["--model", str(tmp_path), str(study.index.file(0))])
    assert result.exit_code == 2
    assert f"--model {tmp_path}: must hold a saved model" in result.stderr


def test_a_damaged_model_exits_2(study, tmp_path):
    shutil.copytree(study.results.export, tmp_path / "export")
    (tmp_path / "export" / "weights.safetensors").write_bytes(b"torn")
    result = CliRunner().invoke(
        app, ["--model", str(tmp_path / "export"), str(study.index.file(0))]
    )
    assert result.exit_code == 2
    assert "weights.safetensors" in result.stderr


def test_a_csv_that_cannot_be_written_exits_2(study, tmp_path):
    (tmp_path / "file").write_text("")
    result = run(study, study.index.file(0), "--csv", tmp_path / "file" / "guesses.csv")
    assert result.exit_code == 2
    assert "--csv" in result.stderr


def test_a_device_that_is_not_there_exits_2(study):
    result = run(study, study.index.file(0), "--device", "cuda:77")
    assert result.exit_code == 2
    assert "--device cuda:77" in result.stderr


def test_hidden_files_and_other_kinds_are_passed_over(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "._a.png", "sub/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = [str(p.relative_to(tmp_path)) for p in find_images([tmp_path, tmp_path / "a.png"])]
    assert found == ["a.png", "b.JPG", "sub/c.webp"]
    with pytest.raises(DatasetError, match="nowhere"):
        find_images([tmp_path / "nowhere"])


def test_the_command_works_as_documented(study):
    done = subprocess.run(
        [sys.executable, "-m", "search.predict", "--model", study.results.export,
         study.index.file(0), "--top", "1"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(study.index.file(0)))
