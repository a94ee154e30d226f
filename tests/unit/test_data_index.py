"""What counts as an image, a class and a split, and how a folder that cannot be used is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from search.data.check import check_images
from search.data.index import build_index, read_index, write_index
from search.data.layout import find_class_root
from search.errors import DatasetError
from search.records import DatasetIndex
from tests.images import make_folder
from tests.unprivileged import public_folder, unprivileged

HOSTILE = ("with space", "quo\"te's", "new\nline", "ünï-çødé 海", "-leading-dash", "a,comma;semi")


def labels_and_splits(root: Path) -> set[tuple[str, str | None]]:
    return {(row.label, row.split) for row in build_index([root]).rows}


def test_folder_per_class(tmp_path: Path) -> None:
    index = build_index([make_folder(tmp_path / "data", ("dog", "cat"), 4)])
    assert index.classes == ("cat", "dog")
    assert index.labels.tolist() == [0] * 4 + [1] * 4
    assert index.rows[0].path == "cat/image_000.png"
    assert index.file(0).is_file()


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Training", "Validation", "TESTING"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("train", "dev"), {"train", "val"}),
        (("train", "test"), {"train", "test"}),
    ],
)
def test_split_folders(tmp_path: Path, names: tuple[str, ...], splits: set[str]) -> None:
    root = make_folder(tmp_path / "data", splits=dict.fromkeys(names, 3))
    assert labels_and_splits(root) == {(c, s) for c in ("a", "b") for s in splits}


def test_train_may_be_a_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("train", "plane"), 3)
    assert labels_and_splits(root) == {("train", None), ("plane", None)}


def test_what_lies_beside_splits_and_classes_is_left_out_and_said(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 3, "test": 3})
    make_folder(root / "unlabelled", ("x",), 2)
    shutil.copy(root / "train" / "a" / "image_000.png", root / "train" / "loose.png")
    assert labels_and_splits(root) == {(c, s) for c in "ab" for s in ("train", "test")}
    assert build_index([root]).warnings == (
        f"{root / 'unlabelled'}: not a split with class folders, left out",
        f"{root / 'train'}: 1 image lies beside the class folders, left out",
    )


def test_flat_split_folders_are_no_classes(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("train", "test"), 3)
    with pytest.raises(DatasetError, match="test, train must each hold one folder"):
        build_index([root])
    assert find_class_root(tmp_path) is None


def test_roots_are_merged_by_class_name(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "first", ("a", "b"), 3)
    second = make_folder(tmp_path / "second", ("b", "c"), 2, seed=1)
    index = build_index([first, second, first])
    assert len(index.roots) == 2
    assert index.classes == ("a", "b", "c")
    assert [(row.label, row.root) for row in index.rows].count(("b", 1)) == 2
    assert all(index.file(k).is_file() for k in range(len(index.rows)))


def test_only_images_that_are_not_hidden(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=3)
    image = root / "a" / "image_000.png"
    shutil.copy(image, root / "a" / "UPPER.PNG")
    for name in (".hidden.png", "._mac.png", "Thumbs.db", "notes.txt"):
        shutil.copy(image, root / "a" / name)
    (root / "readme.md").write_text("not a class")
    (root / ".git").mkdir()
    (root / "a" / "folder.png").mkdir()
    names = {Path(row.path).name for row in build_index([root]).rows if row.label == "a"}
    assert names == {"UPPER.PNG", "image_000.png", "image_001.png", "image_002.png"}


def test_nested_folders_and_link_loops(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    make_folder(root / "a", ("deeper",), 2, seed=5)
    (root / "a" / "deeper" / "up").symlink_to(root / "a", target_is_directory=True)
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(root / "a" / "pipe.jpg")
    paths = [row.path for row in build_index([root]).rows if row.label == "a"]
    assert paths == [
        "a/deeper/image_000.png",
        "a/deeper/image_001.png",
        "a/gone.jpg",
        "a/image_000.png",
        "a/image_001.png",
    ]


def test_hostile_names_survive_the_table(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", HOSTILE, 1)
    for name in HOSTILE:
        (root / name / "image_000.png").rename(root / name / f"{name}.png")
    index = build_index([root])
    assert set(index.classes) == set(HOSTILE)
    write_index(tmp_path / "index.csv", index)
    assert read_index(tmp_path / "index.csv", [root]) == index


def test_order_does_not_depend_on_the_folder_order(tmp_path: Path) -> None:
    one = build_index([make_folder(tmp_path / "one", ("a", "b", "c"), 3)])
    two = build_index([make_folder(tmp_path / "two", ("c", "b", "a"), 3)])
    assert one.rows == two.rows


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "no classes"])
def test_unusable_roots(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "my data"
    if kind == "file":
        root.write_text("x")
    elif kind == "empty":
        root.mkdir()
    elif kind == "no classes":
        make_folder(tmp_path, ("my data",), 2)
    with pytest.raises(DatasetError, match="my data: must") as error:
        build_index([root])
    assert str(error.value).count("\n") == 0


def test_all_problems_at_once(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    (root / "fish").mkdir()
    (root / "bird").mkdir()
    with pytest.raises(DatasetError) as error:
        build_index([root, tmp_path / "missing"])
    text = str(error.value)
    assert text.startswith("The data has 3 problems:")
    assert all(name in text for name in ("fish", "bird", "missing"))


def test_one_class_hints_at_the_folder_meant(tmp_path: Path) -> None:
    inner = make_folder(tmp_path / "data" / "unpacked", per_class=2)
    with pytest.raises(DatasetError, match="only unpacked") as error:
        build_index([tmp_path / "data"])
    assert f"Did you mean {inner}?" in str(error.value)
    assert find_class_root(tmp_path) == inner


def test_classes_that_differ_in_case_only(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("cat", "Cat", "dog"), 2)
    with pytest.raises(DatasetError, match="Cat and cat"):
        build_index([root])


def test_class_without_training_images(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 3, "test": 3})
    make_folder(root / "test", ("surprise",), 2)
    with pytest.raises(DatasetError, match="got none for surprise"):
        build_index([root])


def test_links_that_lead_back_up(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    (root / "whole").symlink_to(root, target_is_directory=True)
    (root / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (root / "itself").symlink_to(root / "itself")
    (root / "a" / "itself.png").symlink_to(root / "a" / "itself.png")
    index = build_index([root])
    assert [row.path for row in index.rows] == [
        "a/image_000.png",
        "a/image_001.png",
        "a/itself.png",  # the check names it
        "b/image_000.png",
        "b/image_001.png",
    ]
    assert index.warnings == (f"{root / 'whole'}: links to a folder that it is in, left out",)


def test_a_root_that_links_to_itself(tmp_path: Path) -> None:
    root = tmp_path / "loop"
    root.symlink_to(root)
    with pytest.raises(DatasetError, match=r"loop: must be readable, got Too many levels"):
        build_index([root])


def test_a_link_to_the_data(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    link = tmp_path / "link"
    link.symlink_to(root)
    assert build_index([link, root]).roots == (root,)


@pytest.mark.parametrize("where", ["", "a"])
def test_unreadable_folders(where: str) -> None:
    with public_folder() as folder:
        root = make_folder(folder / "data", per_class=2)
        (root / where).chmod(0)
        with unprivileged(), pytest.raises(DatasetError) as error:
            build_index([root])
    assert str(error.value) == (
        f"{root / where}: must be readable, got Permission denied. Mend its permissions."
    )


def test_an_unreadable_folder_in_a_class_is_for_the_check() -> None:
    with public_folder() as folder:
        root = make_folder(folder / "data", per_class=12)
        make_folder(root / "a", ("deeper",), 3, seed=1)
        (root / "a" / "deeper").chmod(0)
        with unprivileged():
            index = build_index([root])
            problems = check_images(index, max_dropped=0.1, num_workers=1).problems
    assert index.warnings == (f"{root}/a/deeper: left out, cannot be read (Permission denied)",)
    assert [(p.path, p.kind) for p in problems if p.action == "dropped"] == [
        ("a/deeper", "unreadable")
    ]


def test_an_unreadable_file_is_for_the_check() -> None:
    with public_folder() as folder:
        root = make_folder(folder / "data", per_class=12)
        (root / "a" / "image_000.png").chmod(0)
        with unprivileged():
            index = build_index([root])
            problems = check_images(index, max_dropped=0.1, num_workers=1).problems
    assert len(index.rows) == 24
    assert [(p.path, p.kind) for p in problems if p.action == "dropped"] == [
        ("a/image_000.png", "unreadable")
    ]


def test_a_class_name_that_is_not_unicode(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", per_class=2)
    (root / "a").rename(os.fsdecode(os.fsencode(root) + b"/k\xe4fer"))
    with pytest.raises(DatasetError, match=r"k\\udce4fer has no readable name") as error:
        build_index([root])
    str(error.value).encode()


def test_names_with_blanks_at_the_end(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("cat ", "dog"), 2)
    (root / "dog" / "image_000.png").rename(root / "dog" / "blank .png ")
    (root / "dog" / "image_001.png").rename(root / "dog" / " .png")
    index = build_index([root])
    assert index.classes == ("cat ", "dog")
    assert [row.path for row in index.rows if row.label == "dog"] == ["dog/ .png"]
    assert "1 other file left out" in index.warnings[0]
    assert read_back(tmp_path, index).rows == index.rows


def read_back(folder: Path, index: DatasetIndex) -> DatasetIndex:
    write_index(folder / "index.csv", index)
    return read_index(folder / "index.csv", index.roots)


def test_problems_of_all_roots_at_once(tmp_path: Path) -> None:
    good = make_folder(tmp_path / "good", per_class=2)
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\ngone.jpg,a\n")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "photos.tar.gz").write_text("x")
    roots = [good, listing, tmp_path / "notes.txt", tmp_path / "photos.tar.gz", tmp_path / "gone"]
    with pytest.raises(DatasetError, match="The data has 4 problems") as error:
        build_index(roots)
    assert str(error.value).count("a .csv list or a .zip, got another file.") == 2
