"""`python -m search.data`: looking at photos before any search."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search.data.__main__ import app
from search.records import read_csv
from search.run import app as search_app
from tests.images import make_folder
from tests.unit.test_report_page import Page

REPO = Path(__file__).resolve().parents[2]


def look(*arguments: str | Path) -> tuple[int, str]:
    """Run the command in this process; return its exit code and all it printed."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def page_of(folder: Path) -> str:
    return Page((folder / "index.html").read_text(encoding="utf-8")).text


def test_a_folder_of_photos_gets_tables_and_a_page(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "my 'photos'", ["a", "b"], splits={"train": 12, "test": 6})
    shutil.copy(root / "test" / "a" / "image_000.png", root / "train" / "a" / "leaked copy.png")
    shutil.copy(root / "train" / "b" / "image_000.png", root / "train" / "b" / "copy.png")
    (root / "train" / "b" / "cut\nshort.png").write_bytes(b"\x89PNG")
    out = tmp_path / "out"
    code, said = look(root, "--out", out)
    assert code == 0
    assert "36 usable images of 2 classes, 18 each, balanced." in said
    assert "3 left out: " in said
    assert "1 image of one given split stands in another too" in said
    assert "size_px 32" in said
    assert f"--data '{tmp_path}/my '\"'\"'photos'\"'\"''".replace(" ", "") in said.replace(" ", "")
    assert f"report {out}/index.html" in said
    assert len(read_csv(out / "index.csv")) == len(read_csv(out / "splits.csv")) == 36
    kinds = {row["kind"] for row in read_csv(out / "problems.csv") if row["action"] == "dropped"}
    assert kinds == {"leak", "exact_duplicate", "unreadable"}
    text = page_of(out)
    assert "Left image left out" in text
    assert "leaked copy.png" in text
    assert "cut short.png" in text


def test_when_a_class_would_vanish_the_page_comes_and_then_the_error(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ["a", "b", "c"])
    for path in (root / "c").iterdir():
        path.write_bytes(b"")
    code, said = look(root, "--out", tmp_path / "out")
    assert code == 2
    assert said.index("report ") < said.index("error: ")
    assert "class c: every training image would be dropped (12 unreadable)" in said
    text = page_of(tmp_path / "out")
    assert "No study can run on this data yet." in text
    assert "class c: every training image would be dropped" in text
    assert "12 left out: 12 unreadable files" in text
    assert "search.run" not in text
    assert not (tmp_path / "out" / "splits.csv").exists()
    classes = {row["class"] for row in read_csv(tmp_path / "out" / "tables" / "class_counts.csv")}
    assert classes == {"a", "b", "c"}


def test_data_that_cannot_be_split_is_reported_and_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ["a", "b"], per_class=12)
    out = tmp_path / "out"
    assert look(root, "--out", out)[0] == 0
    assert (out / "splits.csv").exists()
    for path in sorted((root / "b").iterdir())[2:]:
        path.unlink()
    code, said = look(root, "--out", out)
    assert code == 2
    assert "class b: needs at least" in said
    assert not (out / "splits.csv").exists()  # of the earlier, larger folder
    assert "class b: needs at least" in page_of(out)


def test_a_space_file_says_how_to_look(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ["a", "b"], per_class=30)
    space = tmp_path / "mine.yaml"
    space.write_text(
        f"name: mine\ndataset: {{root: '{root}', size_px: 48, fit: pad, test_fraction: 0.5}}\n"
        "space: {lr: {float: [1e-4, 1e-2], log: true}}\n"
    )
    code, said = look("--space", space, "--out", tmp_path / "out")
    assert code == 0
    assert "30 test" in said
    assert "This study uses 48 px." in said
    assert f"search.run --space {space}" in said
    assert "--data" not in said


@pytest.mark.parametrize("inside", ["", "results", "a/deep"])
def test_a_report_inside_the_data_is_refused(tmp_path: Path, inside: str) -> None:
    root = make_folder(tmp_path / "photos", ["a", "b"])
    before = sorted(root.rglob("*"))
    code, said = look(root, "--out", root / inside)
    assert code == 2
    assert "must lie outside the data" in said
    assert sorted(root.rglob("*")) == before


def test_a_study_s_folder_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", ["a", "b"])
    (tmp_path / "results" / ".stages").mkdir(parents=True)
    for out in (tmp_path / "results", tmp_path / "results" / "data"):
        code, said = look(root, "--out", out)
        assert code == 2
        assert "must not be a study's folder" in said


def test_wrong_input_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = make_folder(tmp_path / "photos", ["a", "b"])
    for arguments, rule in (
        ([], "DIR: must be a folder of photos, got none."),
        ([tmp_path / "nowhere"], "nowhere: must be"),
        ([root / "a"], "must hold at least 2 classes"),
        ([root, "--out", tmp_path / "file"], "--out"),
        ([root, "--space", tmp_path / "no.yaml"], "no.yaml"),
    ):
        code, said = look(*arguments, *([] if "--out" in arguments else ["--out", tmp_path / "o"]))
        assert code == 2, said
        assert said.startswith("error: ")
        assert rule in said
    assert not (tmp_path / "o" / "index.html").exists()


def test_help_comes_without_the_heavy_libraries() -> None:
    code = (
        "import sys, search.data.__main__; "
        "print([m for m in ('torch', 'ray', 'matplotlib', 'cv2', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_files_of_the_user_are_never_written_over(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "ow" / "img", ["a", "b"])
    listing = tmp_path / "ow" / "index.csv"
    lines = [f"img/{file.relative_to(root)},{file.parent.name}" for file in root.rglob("*.png")]
    listing.write_text("path,label\n" + "\n".join(lines))
    before = listing.read_text()
    code, said = look(listing, "--out", listing.parent)
    assert code == 2
    assert "must be a new or empty folder, or that of an earlier data report" in said
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("mine")
    code, said = look(listing, "--out", tmp_path / "thesis")
    assert code == 2
    assert "must be a new or empty folder" in said
    assert listing.read_text() == before
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["index.html"]
    (tmp_path / "empty").mkdir()
    for _ in range(2):  # the second time it is a report's folder
        assert look(listing, "--out", tmp_path / "empty")[0] == 0


def test_data_of_one_name_gets_reports_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("one", "two")):
        make_folder(tmp_path / name / "photos", ["a", "b"], seed=number)
        assert look(f"{name}/photos")[0] == 0
    said = look(tmp_path / "two" / "photos")[1]
    assert "results/data-photos-2/index.html" in said
    assert "name=photos-2" in said
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "data-photos",
        "data-photos-2",
    }
    assert str(tmp_path / "one" / "photos") in page_of(tmp_path / "results" / "data-photos")


@pytest.mark.parametrize("given", ["", "~no-such-user/photos"])
def test_an_empty_name_is_not_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(make_folder(tmp_path / "photos", ["a", "b"]))
    code, said = look(given, "--out", tmp_path / "out")
    assert code == 2
    assert said.startswith("error: DIR: must ")
    assert not (tmp_path / "out").exists()
    space = REPO / "spaces" / "photos.yaml"
    arguments = ["--space", str(space), "--data", given, "--dry-run"]
    done = CliRunner().invoke(search_app, arguments)
    assert done.exit_code == 2
    assert f"--data: must {said.partition('DIR: must ')[2]}" in " ".join(done.output.split())
