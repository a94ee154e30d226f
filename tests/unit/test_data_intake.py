"""From `--data` to the data stage: what was left out is said, and a plan writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from search.clock import Clock
from search.config import StudyConfig
from search.data.archive import unpack
from search.errors import DatasetError, ResourceError, ResultsError
from search.intake import check_images_suffice, fetch
from search.plan import print_plan
from search.records import read_csv, write_json
from search.results import ResultsFolder, open_results
from search.stages.data import prepare_data, refuse_changed_images
from search.stages.study import Study
from search.terminal import Terminal
from tests.images import make_folder
from tests.study_files import MINIMAL, load
from trainables.contract import StepCost

CAP = "dataset.classes.max_images=10"


def config_for(root: Path, *overrides: str) -> StudyConfig:
    return load(MINIMAL, f"dataset.root={json.dumps([str(root)])}", *overrides)


def run_data_stage(config: StudyConfig, results: Path) -> Study:
    folder = open_results(results)
    write_json(folder.environment, {})
    session = None  # the data stage needs no workers
    terminal, clock = Terminal(-1), Clock(None)
    study = Study(config, folder, terminal, clock, session, fetch(config, terminal))  # type: ignore[arg-type]
    prepare_data(study)
    return study


def pack(folder: Path, path: Path) -> Path:
    with ZipFile(path, "w") as packed:
        for file in folder.rglob("*.png"):
            packed.write(file, file.relative_to(folder.parent))
    return path


def test_a_plan_for_a_zip_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = tmp_path / "zips"
    inner.mkdir()
    path = pack(make_folder(tmp_path / "photos", per_class=20), inner / "my photos.zip")
    print_plan(config_for(path), tmp_path / "results", Terminal())
    assert "my photos.zip would be unpacked beside itself: 40 files" in capsys.readouterr().out
    assert list(inner.iterdir()) == [path]
    unpack(path)
    print_plan(config_for(path, CAP), tmp_path / "results", Terminal())
    output = capsys.readouterr()
    assert "20 images, 2 classes of 10; " in output.out
    assert "20 of 40 images are used" in output.err
    assert not (tmp_path / "results").exists()


def test_a_plan_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.zip: must be a data folder, got nothing there"):
        print_plan(config_for(tmp_path / "gone.zip"), tmp_path / "results", Terminal(-1))


def test_intake_sees_the_classes_of_the_space_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ("a", "b"), 20)
    config = config_for(root, "dataset.classes={rename: {a: c}, max_images: 15}")
    index = check_images_suffice(config, (root,), tmp_path / "results")
    assert (index.classes, len(index.rows)) == (("b", "c"), 30)


def test_what_was_left_out_reaches_the_report(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", per_class=20)
    config = config_for(root, CAP, "dataset.size_px=32")
    for _ in range(2):  # the second run finds the check done
        study = run_data_stage(config, tmp_path / "results")
        assert [text for text in study.warnings if "20 of 40 images are used" in text]
    assert len(read_csv(study.results.data / "index.csv")) == 20


def test_a_zip_and_a_list_make_a_study(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", per_class=20)
    path = pack(photos, tmp_path / "photos.zip")
    study = run_data_stage(config_for(path, "dataset.size_px=32"), tmp_path / "results")
    assert len(read_csv(study.results.data / "splits.csv")) == 40

    listing = photos / "list.csv"
    lines = [f"{file.relative_to(photos)},{file.parent.name}" for file in photos.rglob("*.png")]
    listing.write_text("\n".join(["path,label", *sorted(lines)]))
    # The same images under the same labels are the same data, wherever they are.
    config = config_for(listing, "dataset.size_px=32")
    run_data_stage(config, tmp_path / "results")
    # Another label is not, though no image changed.
    listing.write_text(listing.read_text().replace("a/image_000.png,a", "a/image_000.png,b"))
    with pytest.raises(ResultsError, match="its study ran on other images"):
        run_data_stage(config, tmp_path / "results")


def test_changed_images_are_refused_without_a_worker(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", per_class=20)
    config = config_for(root, "dataset.size_px=32")
    study = run_data_stage(config, tmp_path / "results")
    refuse_changed_images(study)
    file = next(root.rglob("*.png"))
    file.touch()  # a new date alone is no change
    refuse_changed_images(study)
    file.unlink()
    with pytest.raises(ResultsError, match="its study ran on other images"):
        refuse_changed_images(study)


def test_a_disk_limit_below_the_image_store_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ("a", "b"), 20)
    config = config_for(root, "resources.disk_gb=0.0001")
    with pytest.raises(ResourceError, match="must leave room for 40 decoded images"):
        check_images_suffice(config, (root,), tmp_path / "results")


def test_a_plan_has_time_and_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "photos", per_class=20)
    config = config_for(root, "dataset.size_px=32", "resources.cpus=1")
    print_plan(config, tmp_path / "results", Terminal())
    text = capsys.readouterr().out
    assert "backbone  small_cnn: " in text
    assert "images/s" in text
    assert "time      search " in text
    assert "to confirm, retrain and test" in text
    assert "MB free: images " in text
    marker = {"name": "small_cnn", "weights": None, "num_parameters": 7_000_000}
    costs = [StepCost({"backbone": "small_cnn", "size_px": 32, "depth": 4, "width": 32,
                       "kernel_size": 3}, 100.0, 10.0, 1, 1, 7_000_000, 8)]  # fmt: skip
    probed = marker | {"costs": [vars(cost) for cost in costs]}
    ResultsFolder(tmp_path / "results").mark_done("probe", "", 0.0, backbones=[probed])
    print_plan(config, tmp_path / "results", Terminal())
    text = capsys.readouterr().out
    assert "7.0 M parameters, random weights, trains 0 images/s" in text
    assert " h to confirm" in text, "what an earlier run measured is taken"
