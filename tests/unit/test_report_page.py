"""The report's page: what it says, that it is one file, and that it always comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from search.errors import ResultsError
from search.report import format as fmt
from search.report.page import write_report
from search.results import ResultsFolder
from tests.fake_study import write_fake_study


class Page(HTMLParser):
    """Collect the tags, the links and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.words: list[str] = []
        self._silent = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]
        self._silent = tag if tag in ("style", "script") else self._silent

    def handle_endtag(self, tag: str) -> None:
        self._silent = "" if tag == self._silent else self._silent

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    folder = write_fake_study(
        tmp_path_factory.mktemp('it\'s a "study"') / "<b>cars", num_classes=12, is_sample=True
    )
    for stale in (folder.report / "plots" / "old.png", folder.report / "tables" / "by_old.csv"):
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.write_text("of an earlier report")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: ResultsFolder) -> Page:
    return Page((folder.report / "index.html").read_text(encoding="utf-8"))


def test_the_page_asks_nothing_of_the_network(page: Page) -> None:
    outside = [u for u in page.urls if not u.startswith(("data:", "#", "tables/"))]
    assert outside == ["../data/index.html"]
    assert page.tags.count("img") == 32
    assert page.tags.count("link") == 1  # the empty icon
    assert page.tags.count("script") == 2  # the data, and what draws from it


def test_names_are_text_not_markup(page: Page) -> None:
    assert "<script>" in page.text  # a class
    assert "<b>cars" in page.text  # the study
    assert "b" not in page.tags


def test_the_answer_comes_first_and_the_sample_is_loud(page: Page) -> None:
    text = page.text
    assert text.index("Drawn sample data, not real photos.") < text.index("Best model")
    assert text.index("no network, so backbones start") < text.index("Best model")
    assert text.index("Best model") < text.index("Test accuracy") < text.index("Leaderboard")
    assert re.search(r"\d\d\.\d\s% \[\d\d\.\d, \d\d\.\d\] on 2\d\d images of 12 classes", text)


def test_the_page_shows_no_nan_and_the_exact_command(page: Page) -> None:
    assert re.search(r"\bnan\b(?! at epoch)|<NA>|\bNone\b", page.text) is None
    assert "python -m search.run --space spaces/cars.yaml --data 'my photos'" in page.text
    assert "ab12cd34ef56ab12" in page.text


def test_every_link_leads_to_a_file_and_stale_files_are_gone(
    folder: ResultsFolder, page: Page
) -> None:
    for url in page.urls:
        if url.startswith(("tables/", "../")):
            assert (folder.report / url).is_file()
    assert not (folder.report / "plots" / "old.png").exists()
    assert not (folder.report / "tables" / "by_old.csv").exists()
    written = {path.stem for path in (folder.report / "tables").glob("*.csv")}
    assert {"trials", "leaderboard", "by_backbone", "by_optimizer", "by_freeze"} <= written
    assert written == {path.stem for path in (folder.report / "tables").glob("*.md")}


def test_reports_of_unfinished_studies_name_what_is_missing(tmp_path: Path) -> None:
    folder = write_fake_study(
        tmp_path / "s", num_trials=4, without=["summary.json", "confirm", "best", "test"]
    )
    text = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert "has not finished" in text
    assert "No candidate was confirmed with fresh seeds." in text
    assert "The model was not tested yet" in text
    assert "No predictions were explained" in text
    assert "Leaderboard" in text


def test_a_study_without_any_result_still_gets_a_page(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: [broken\n")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "trials.csv").write_text("")
    text = Page(write_report(ResultsFolder(tmp_path)).read_text(encoding="utf-8")).text
    assert "None yet: no trial finished an epoch." in text
    assert "No trial was recorded." in text
    assert "Could not be read, so it is left out: study.yaml" in text


def test_a_folder_that_holds_no_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"must be a results folder .* Name a folder"):
        write_report(ResultsFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_exits_2_with_one_message(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search.report", str(tmp_path / "no such folder")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such folder: must be a results folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_needs_no_ray_optuna_or_torch() -> None:
    code = (
        "import sys, search.report.page; "
        "print([m for m in ('ray', 'optuna', 'torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"value": 0.8412, "low": 0.802, "high": 0.876}, "84.1 % [80.2, 87.6]"),
        ({"value": 0.8412, "low": None, "high": None}, "84.1 %"),
        (0.5, "50.0 %"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_intervals(found: object, text: str) -> None:
    assert fmt.interval_text("accuracy", found) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0012345, "0.00123"), (1e-5, "1e-5"), (32, "32"), (32.0, "32"), ("none", "none"),
        (True, "True"), (None, ""), (float("nan"), ""), (2.5e12, "2.5e12"), ("0.1", "0.1"),
    ],
)  # fmt: skip
def test_numbers(value: object, text: str) -> None:
    assert fmt.number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3599.7, "1 h"),
     (7500, "2 h 5 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert fmt.seconds_text(seconds) == text


def test_long_names_are_cut_in_the_middle() -> None:
    assert fmt.short("species 007\nof the coral reef", 20) == "species 007 …al reef"
    assert len(fmt.short("x" * 50, 17)) == 17
