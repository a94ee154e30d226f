"""Classes renamed, merged, dropped and capped by the space file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.config import load_study
from search.data.classes import split_shares
from search.data.index import build_index
from search.dataset_section import ClassesConfig
from search.errors import DatasetError
from search.identity import check_fingerprint, study_identity
from search.records import DatasetIndex
from tests.images import make_folder
from tests.study_files import MINIMAL, REPO, load, problems

ANIMALS = load_study(REPO / "spaces" / "animals10.yaml").dataset.classes
ITALIAN = tuple(ANIMALS.rename)
ENGLISH = tuple(sorted(ANIMALS.rename.values()))


def empty_images(root: Path, counts: dict[str, int]) -> Path:
    """Make empty image files: folder -> number."""
    for name, number in counts.items():
        (root / name).mkdir(parents=True)
        for k in range(number):
            (root / name / f"{k}.jpg").touch()
    return root


def index_with(root: Path, **settings: object) -> DatasetIndex:
    return build_index([root], ClassesConfig.model_validate(settings))


def refusal(root: Path, **settings: object) -> str:
    with pytest.raises(DatasetError) as caught:
        index_with(root, **settings)
    return str(caught.value)


def test_rename_merge_and_drop(tmp_path: Path) -> None:
    root = empty_images(tmp_path / "data", {"cane": 2, "Dog": 3, "gatto": 4, "junk": 1, "rest": 1})
    index = index_with(
        root, rename={"cane": "dog", "Dog": "dog", "gatto": "cat", "rest": "junk"}, drop=["junk"]
    )
    assert index.classes == ("cat", "dog")
    assert Counter(row.label for row in index.rows) == {"cat": 4, "dog": 5}
    assert next(row.path for row in index.rows if row.label == "dog") == "Dog/0.jpg"
    assert index.warnings == ()


def test_names_may_be_swapped(tmp_path: Path) -> None:
    root = empty_images(tmp_path / "data", {"a": 1, "b": 2})
    index = index_with(root, rename={"a": "b", "b": "a"})
    assert Counter(row.label for row in index.rows) == {"a": 2, "b": 1}


def test_renaming_mends_names_that_differ_in_case_or_blanks(tmp_path: Path) -> None:
    root = empty_images(tmp_path / "data", {"cat": 1, "Cat ": 1, "dog": 1})
    assert "got Cat  and cat. Rename one, or merge them with dataset.classes.rename" in (
        refusal(root)
    )
    assert index_with(root, rename={"Cat ": "cat"}).classes == ("cat", "dog")


def test_dropping_mends_empty_classes_and_classes_without_training_images(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", splits={"train": 3, "test": 3})
    (root / "train" / "empty").mkdir()
    make_folder(root / "test", ("surprise",), 2)
    assert "empty: a class folder must hold images" in refusal(root)
    assert index_with(root, drop=["empty", "surprise"]).classes == ("a", "b")


def test_too_few_classes_left(tmp_path: Path) -> None:
    root = empty_images(tmp_path / "data", {"a": 1, "b": 1})
    assert "at least 2 classes, got only b" in refusal(root, drop=["a"])
    assert "at least 2 classes, got only b" in refusal(root, rename={"a": "b"})


def test_unknown_names_are_all_refused(tmp_path: Path) -> None:
    root = empty_images(tmp_path / "data", {"cane": 1, "gatto": 1, "horse": 1})
    slip = refusal(root, rename={"cnae": "horse"})  # they would not be merged
    assert slip == "dataset.classes.rename: 'cnae': unknown name. Did you mean cane?"
    text = refusal(root, rename={"cnae": "dog", "gatto": "cat"}, drop=["hrse", "gatto "])
    assert text.startswith("The data has 3 problems:")
    assert "dataset.classes.rename: 'cnae': unknown name. Did you mean cane?" in text
    assert "dataset.classes.drop: 'hrse': unknown name. Did you mean horse?" in text
    assert "dataset.classes.drop: 'gatto ': unknown name." in text


@pytest.mark.parametrize(
    ("names", "classes", "missing"),
    [
        (ITALIAN, ENGLISH, ()),  # Kaggle's folders
        (ENGLISH, ENGLISH, ()),  # renamed by hand
        (("cane", "gatto", "dog"), ("cat", "dog"), ITALIAN[1:5]),  # a part of them, and one's own
        (("fox", "wolf", "seal"), ("fox", "seal", "wolf"), ITALIAN),  # photos of something else
        (("crane", "elephant", "tiger"), ("crane", "elephant", "tiger"), ITALIAN[:2]),  # like cane
    ],
)
def test_one_space_file_serves_several_folders(
    tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    index = build_index([empty_images(tmp_path / "data", dict.fromkeys(names, 2))], ANIMALS)
    assert index.classes == classes
    assert len(index.warnings) == bool(missing)
    for name in missing:
        assert name in index.warnings[0]


def test_capping_keeps_the_splits_in_proportion(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("a", "b"), splits={"train": 14, "val": 2, "test": 4})
    index = index_with(root, max_images=10)
    assert Counter((row.label, row.split) for row in index.rows) == {
        (label, split): number
        for label in "ab"
        for split, number in (("train", 7), ("val", 1), ("test", 2))
    }
    (warning,) = index.warnings
    assert warning.startswith("dataset.classes.max_images: 20 of 40 images are used, at most 10 of")
    assert index_with(root, max_images=20).warnings == ()


def test_capping_draws_the_same_images_everywhere(tmp_path: Path) -> None:
    one = empty_images(tmp_path / "one", {"a": 60, "b": 5})
    two = empty_images(tmp_path / "elsewhere" / "two", {"b": 5, "a": 60})
    drawn = index_with(one, max_images=20).rows
    assert drawn == index_with(two, max_images=20).rows
    assert {row.path for row in index_with(one, max_images=10).rows} <= {row.path for row in drawn}
    names = sorted(int(Path(row.path).stem) for row in drawn if row.label == "a")
    assert names != list(range(20)), "must be drawn, not the first"
    # Pinned: another draw would be another study under the same settings.
    assert names[:5] == [1, 2, 6, 14, 15]


@given(
    st.dictionaries(
        st.sampled_from(["train", "val", "test", ""]), st.integers(1, 10**6), min_size=1
    ),
    st.integers(10, 10**4),
)
def test_shares(counts: dict[str, int], max_images: int) -> None:
    shares = split_shares(counts, max_images)
    total = sum(counts.values())
    assert shares.keys() == counts.keys()
    assert sum(shares.values()) == min(total, max_images)
    for split, number in counts.items():
        assert 1 <= shares[split] <= number
        exact = number * min(1, max_images / total)
        assert abs(shares[split] - exact) < len(counts)


def test_classes_belong_to_the_identity_of_a_study(tmp_path: Path) -> None:
    plain = load(MINIMAL)
    for setting in ("rename={a: b}", "drop=[a]", "max_images=20"):
        other = load(MINIMAL, f"dataset.classes.{setting}")
        assert study_identity(other) != study_identity(plain)
        assert load(MINIMAL, f"dataset.classes.{setting}") == other
    root = empty_images(tmp_path / "data", {"a": 1, "b": 1, "c": 1})
    renamed = index_with(root, rename={"c": "b"})
    assert check_fingerprint(renamed, 0.1) != check_fingerprint(build_index([root]), 0.1)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("rename=x", "dataset.classes.rename: must be `name: new name` lines of text"),
        ("rename={a: 1}", "dataset.classes.rename: must be `name: new name` lines of text"),
        ("rename={a: ''}", "dataset.classes.rename: must be `name: new name` lines of text"),
        ("drop=x", "dataset.classes.drop: must be a list of names"),
        ("drop=[no]", "dataset.classes.drop: must be a list of names; quote numbers, yes and no"),
        ("max_images=9", "dataset.classes.max_images: must be none, or a whole number >= 10, got"),
        ("max_images=true", "dataset.classes.max_images: must be none, or a whole number >= 10"),
        ("drp=[a]", "dataset.classes.drp: unknown name. Did you mean drop?"),
    ],
)
def test_settings_that_are_refused(override: str, problem: str) -> None:
    (found,) = problems(MINIMAL, f"dataset.classes.{override}")
    assert found.startswith(f"--set {problem}")


def test_drop_takes_the_new_name() -> None:
    (found,) = problems(MINIMAL, "dataset.classes={rename: {ragno: spider}, drop: [ragno]}")
    assert "must call ragno as it is after renaming: spider" in found


def test_no_settings_at_all() -> None:
    assert load(MINIMAL, "dataset.classes=null").dataset.classes == ClassesConfig()
    assert load(MINIMAL, "dataset.classes.max_images=none").dataset.classes == ClassesConfig()
