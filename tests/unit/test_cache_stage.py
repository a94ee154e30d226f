"""How the study stores its images: what fits, what is chosen, and that the choice stays."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.clock import Clock
from search.config import StudyConfig
from search.data.check import read_problems
from search.data.sources import Fetched
from search.errors import DatasetError, ResourceError, ResultsError
from search.identity import refuse_other_study, write_study
from search.intake import check_images_suffice
from search.records import write_json
from search.results import ResultsFolder
from search.stages.data import Data, prepare_data
from search.stages.study import Study
from search.terminal import Terminal
from search.tune.machine import MIN_FREE_BYTES
from tests.images import make_folder
from tests.study_files import MINIMAL, load, problems

NUM, SIDE = 30, 180
PIXEL_BYTES = NUM * (SIDE * SIDE * 3 + 8)
TIGHT = "dataset.cache_gb=0.002"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), per_class=15, size=(64, 60))


def study(root: Path, folder: Path, *overrides: str) -> Study:
    config = load(MINIMAL, "dataset.size_px=160", *overrides)
    results = ResultsFolder(folder)
    write_json(results.environment, {})
    clock, no_session = Clock(None), None
    return Study(config, results, Terminal(-1), clock, no_session, Fetched((root,)))  # type: ignore[arg-type]


def prepare(root: Path, folder: Path, *overrides: str) -> tuple[Data, list[str]]:
    made = study(root, folder, *overrides)
    return prepare_data(made), made.warnings


def free_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let the disk have some bytes to spare; a full one cannot be had in a test."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, MIN_FREE_BYTES + room))


def test_pixels_where_they_fit(root: Path, tmp_path: Path) -> None:
    data, warnings = prepare(root, tmp_path / "results")
    assert (data.cache.format, data.cache.side_px, warnings) == ("pixels", SIDE, [])


def test_what_the_check_found_is_kept_where_it_stops_the_study(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", per_class=8)
    (photos / "a" / "image_002.png").write_bytes(b"broken")
    with pytest.raises(DatasetError) as error:
        prepare(photos, tmp_path / "results", "dataset.max_dropped=0.05")
    table = tmp_path / "results" / "data" / "problems.csv"
    assert "max_dropped: at most 5.0% of the images may be dropped" in str(error.value)
    assert str(table) in str(error.value)
    assert [(p.path, p.kind) for p in read_problems(table)] == [("a/image_002.png", "unreadable")]
    (photos / "a" / "image_002.png").unlink()
    prepare(photos, tmp_path / "results", "dataset.max_dropped=0.05")
    assert read_problems(table) == ()


def test_beyond_the_budget_jpeg_and_one_line_says_so(root: Path, tmp_path: Path) -> None:
    data, warnings = prepare(root, tmp_path / "results", TIGHT)
    assert data.cache.format == "jpeg"
    (line,) = warnings
    assert line.startswith("the decoded images would take 2.9 MB, more than dataset.cache_gb")
    assert re.search(r"stored as JPEG, 0\.[3-6] MB$", line)


def test_the_format_stays_while_the_study_lasts(root: Path, tmp_path: Path) -> None:
    first, _ = prepare(root, tmp_path / "results", TIGHT)
    again, warnings = prepare(root, tmp_path / "results")  # there is room now
    assert again.cache == first.cache
    assert len(warnings) == 1
    shutil.rmtree(first.cache.folder)
    assert prepare(root, tmp_path / "results")[0].cache == first.cache


@pytest.mark.parametrize(("override", "refused"), [(TIGHT, False), ("dataset.cache=jpeg", True)])
def test_another_format_is_another_study(
    root: Path, tmp_path: Path, override: str, refused: bool
) -> None:
    before, now = (study(root, tmp_path, *more).config for more in ((), (override,)))
    write_study(before, ResultsFolder(tmp_path))
    if not refused:
        refuse_other_study(now, ResultsFolder(tmp_path))
        return
    with pytest.raises(ResultsError, match=r"dataset\.cache: there 'auto', now 'jpeg'"):
        refuse_other_study(now, ResultsFolder(tmp_path))


@pytest.mark.parametrize(
    ("cache", "room", "fits"),
    [
        ("auto", PIXEL_BYTES, True),
        ("auto", PIXEL_BYTES // 3, True),  # as JPEG
        ("auto", PIXEL_BYTES // 4, False),
        ("jpeg", PIXEL_BYTES // 3, True),
        ("pixels", PIXEL_BYTES // 3, False),
        ("pixels", PIXEL_BYTES, True),
    ],
)
def test_what_cannot_fit_is_refused_at_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, room: int, fits: bool
) -> None:
    config: StudyConfig = load(MINIMAL, "dataset.size_px=160", f"dataset.cache={cache}")
    free_disk(monkeypatch, room)
    if fits:
        check_images_suffice(config, (root,), tmp_path / "results")
        return
    with pytest.raises(ResourceError, match=r"30 decoded images of 160 px need 50[13] MB of disk"):
        check_images_suffice(config, (root,), tmp_path / "results")


@pytest.mark.parametrize("cache", ["pixels", "jpeg"])
def test_a_finished_store_asks_for_no_room(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    first, _ = prepare(root, tmp_path, f"dataset.cache={cache}")
    free_disk(monkeypatch, -MIN_FREE_BYTES)
    made = study(root, tmp_path, f"dataset.cache={cache}")
    check_images_suffice(made.config, (root,), tmp_path)
    assert prepare_data(made).cache == first.cache


def test_values_hardly_change(root: Path, tmp_path: Path) -> None:
    from search.data.loader import open_trial_data

    def val_images(name: str, *overrides: str) -> Any:
        data, _ = prepare(root, tmp_path / name, *overrides)
        trial = open_trial_data(data.cache, data.split.train, data.split.val)
        return np.concatenate([x.numpy() for x, _ in trial.val_batches(batch_size=8)]).astype(int)

    pixels, jpeg = val_images("a"), val_images("b", "dataset.cache=jpeg")
    assert 0 < np.abs(pixels - jpeg).mean() < 4


@pytest.mark.parametrize(
    ("text", "expected"), [("none", None), ("null", None), ("7", 7.0), ("0.5", 0.5)]
)
def test_budget(text: str, expected: float | None) -> None:
    assert load(MINIMAL, f"dataset.cache_gb={text}").dataset.cache_gb == expected


@pytest.mark.parametrize("text", ["0", "-1", "lots", "true", ".inf", ".nan"])
def test_no_budget(text: str) -> None:
    (problem,) = problems(MINIMAL, f"dataset.cache_gb={text}")
    assert "must be none, or a number of GB above 0" in problem
