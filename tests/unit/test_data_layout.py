"""Folders that are laid out as people do: deeper than usual, half split, of other formats."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.data.index import build_index
from search.data.layout import find_class_root
from search.errors import DatasetError
from tests.images import make_folder


@pytest.mark.parametrize("deep", ["train", "test"])
def test_images_deeper_inside_split_folders(tmp_path: Path, deep: str) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 3, "test": 3})
    make_folder(root, ("extra",), 2)
    for label in "ab":
        (root / deep / label).rename(tmp_path / label)
        (root / deep / label / "2020").mkdir(parents=True)
        (tmp_path / label).rename(root / deep / label / "2020" / "spring")
    assert {(row.label, row.split) for row in build_index([root]).rows} == {
        (c, s) for c in "ab" for s in ("train", "test")
    }
    assert find_class_root(tmp_path) == root


def test_split_folders_are_no_classes_beside_others(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("train", "test", "extra"), 3)
    with pytest.raises(DatasetError, match="test, train must each hold one folder"):
        build_index([root])


def test_split_folders_need_train(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"val": 3, "Test": 3})
    with pytest.raises(DatasetError, match="must include one called train, got Test, val"):
        build_index([root])


def test_files_of_other_formats_are_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    (root / "a" / "deeper").mkdir()
    for name in ("1.HEIC", "2.heic", "deeper/3.heic", "film.mp4", "odd.\n-name", "no_extension"):
        (root / "a" / name).write_text("x")
    for name in ("notes.txt", "Thumbs.db", ".hidden.heic", "b.JSON"):
        (root / "a" / name).write_text("x")
    os.mkfifo(root / "a" / "pipe.heic")
    (root / "a" / "itself.heic").symlink_to(root / "a" / "itself.heic")
    assert build_index([root]).warnings == (
        f"{root}: 3 .heic, 2 other, 1 .mp4 files left out, of no image format that is read here. "
        "Convert photos among them to JPEG.",
    )


@pytest.mark.parametrize("splits", [False, True])
def test_a_class_of_another_format_only(tmp_path: Path, splits: bool) -> None:
    root = tmp_path / "data"
    for label in "ab":
        folder = root / "train" / label if splits else root / label
        folder.mkdir(parents=True)
        for k in range(2):
            (folder / f"{k}.HEIC").write_text("x")
    with pytest.raises(DatasetError, match="must hold images") as error:
        build_index([root])
    assert ".heic files. Convert them to JPEG, remove the folder" in str(error.value)


def test_classes_that_hold_only_folders_are_all_found(tmp_path: Path) -> None:
    root = tmp_path / "download" / "photos"
    for label in ("cats", "dogs"):
        make_folder(root / label, ("day 1", "day 2"), 2)
    assert find_class_root(tmp_path / "download") == root
    assert {row.label for row in build_index([root]).rows} == {"cats", "dogs"}


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("Train Data", "Validation-Set")]
)
def test_common_names_of_splits(tmp_path: Path, train: str, test: str) -> None:
    root = make_folder(tmp_path / "data", splits={train: 3, test: 2})
    expected = {"train", "test" if test == "test_set" else "val"}
    assert {row.split for row in build_index([root]).rows} == expected
