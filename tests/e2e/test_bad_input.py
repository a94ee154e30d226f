"""What a user can get wrong: one clear message, exit code 2, no traceback, in seconds."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import make_study, run_search


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path)


def expect_refusal(folder: Path, *flags: str, says: tuple[str, ...]) -> None:
    """Check that a command is refused with all of these words."""
    begin = time.monotonic()
    done = run_search(folder, "--space", "tiny.yaml", *flags)
    seconds = time.monotonic() - begin
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert "Traceback" not in text
    for word in says:
        assert word in text, text
    assert seconds < 30, "2 s on an idle machine"


def test_missing_data_named_by_the_user_never_falls_back(study: Path) -> None:
    expect_refusal(study, "--data", "nowhere", says=("nowhere", "must be"))
    assert not (study / "results").exists()


def test_empty_data_folder(study: Path) -> None:
    (study / "empty").mkdir()
    expect_refusal(study, "--data", "empty", says=("empty",))


def test_one_class(study: Path) -> None:
    for folder in sorted((study / "photos").iterdir())[1:]:
        shutil.rmtree(folder)
    expect_refusal(study, says=("class",))


def test_too_few_images_for_a_split(study: Path) -> None:
    for file in sorted(next((study / "photos").glob("red*")).glob("*.png"))[2:]:
        file.unlink()
    expect_refusal(study, says=("red [box]", "at least 3 train"))


def test_results_is_a_file(study: Path) -> None:
    (study / "out").write_text("")
    expect_refusal(study, "--results", "out", says=("--results out", "folder"))


def test_space_file_is_not_yaml(study: Path) -> None:
    (study / "tiny.yaml").write_text("name: [tiny\n  x: {", encoding="utf-8")
    expect_refusal(study, says=("tiny.yaml",))


def test_flags_out_of_range_are_all_listed(study: Path) -> None:
    expect_refusal(
        study,
        *("--trials", "0", "--epochs", "-3", "--time-limit", "soon"),
        says=("--trials: must be >= 1", "--epochs: must be", "--time-limit: must be"),
    )


def test_unknown_and_impossible_parameters(study: Path) -> None:
    flags = ("--set", "space.lrr=0.1", "--set", "space.dropout=1.5")
    expect_refusal(study, *flags, says=("lrr", "Did you mean lr", "dropout", "0.9"))


def test_gpu_where_there_is_none(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    expect_refusal(study, "--set", "resources.gpus=1", says=("GPU", "gpus: auto"))


def test_more_cpus_than_there_are(study: Path) -> None:
    expect_refusal(study, "--set", "resources.cpus=4096", says=("resources.cpus", "4096"))


def test_missing_weights_folder(study: Path) -> None:
    expect_refusal(study, "--weights", "gone", says=("--weights gone",))


def test_warm_start_from_what_is_no_study(study: Path) -> None:
    expect_refusal(study, "--warm-start", "photos", says=("--warm-start photos", "a study with"))
    assert not (study / "results").exists()


def test_a_folder_in_use_is_refused(study: Path) -> None:
    from filelock import FileLock

    (study / "results" / "tiny").mkdir(parents=True)
    with FileLock(study / "results" / "tiny" / ".lock"):
        expect_refusal(study, says=("another run",))


def test_dry_run_refuses_what_a_run_refuses(study: Path) -> None:
    expect_refusal(study, "--data", "nowhere", "--dry-run", says=("nowhere", "must be"))
    expect_refusal(study, "--weights", "gone", "--dry-run", says=("--weights gone",))


def test_fresh_does_not_rename_a_folder_of_photos(study: Path) -> None:
    expect_refusal(study, "--results", "photos", "--fresh", says=("--results", "earlier study"))
    assert (study / "photos").is_dir()


def test_any_name_of_a_folder_works(study: Path) -> None:
    (study / "photos").rename(study / "Füchse 😀 [a]: 'b'")
    done = run_search(study, "--space", "tiny.yaml", "--data", "Füchse 😀 [a]: 'b'", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 classes" in done.stdout


def test_dry_run_prints_the_plan_and_writes_nothing(study: Path) -> None:
    done = run_search(study, "--space", "tiny.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "4 trials" in done.stdout
    assert "compared after epochs 1" in done.stdout
    for line in ("expected: 4 to epoch 1", "images/s", "on 2 slots", "checkpoints"):
        assert line in done.stdout.replace(f"on {os.cpu_count()} slots", "on 2 slots"), line
    assert not (study / "results").exists()


def test_pretrained_true_without_weights_ends_before_the_first_trial(study: Path) -> None:
    flags = ("--set", "space.backbone=resnet18", "--set", "space.pretrained=true")
    done = run_search(study, "--space", "tiny.yaml", *flags)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "resnet18.safetensors" in done.stderr
    assert "pretrained: auto" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (study / "results" / "tiny" / "study" / "events.jsonl").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_no_cluster_at_the_address(study: Path, address: str) -> None:
    expect_refusal(study, "--address", address, says=(f"--address {address}", "must be"))
