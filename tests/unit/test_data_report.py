"""The data report: what it says, which pictures it chooses, and that it always comes out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from search.data import duplicates, look
from search.data.check import write_problems
from search.errors import ResultsError
from search.records import ImageRow, Problem
from search.report import data_pictures, data_plots, data_rules, data_words
from search.report.data_files import DataFacts, DataFiles, data_of_study
from search.report.data_gallery import draw_pairs, draw_samples, read_gallery
from search.report.data_report import write_data_report
from search.report.load import NothingToShowError, read_study
from search.report.page import write_report
from search.report.style import plot_style
from tests.data_files import write_data
from tests.fake_study import write_fake_study
from tests.images import draw_image
from tests.unit.test_report_page import Page

HOSTILE = ["<script>alert(1)</script>", "quo\"te & 's", "new\nline", "-dash", "Škoda 海", "a.b"]


def files(**counts: int) -> DataFiles:
    """Return a data set of some images per class, none of them on disk."""
    rows = [ImageRow(f"{name}/{k}.png", 0, name, None, 100 + k, 80)
            for name, number in counts.items() for k in range(number)]  # fmt: skip
    images = pd.DataFrame([vars(row) for row in rows]).assign(part="train")
    problems = pd.DataFrame(columns=list(Problem.__dataclass_fields__))
    return DataFiles(DataFacts("x", (Path("/nowhere"),), tuple(counts)), images, problems, ())


def noted(data: DataFiles, *problems: Problem) -> DataFiles:
    return replace(data, problems=pd.DataFrame([vars(problem) for problem in problems]))


# --- the words


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ([640] * 10, 224),
        ([640] * 5 + [100] * 5, 224),  # half of them reach it
        ([640] * 4 + [100] * 6, 96),
        ([130] * 95 + [20] * 5, 128),
        ([63] * 10, 32),
        ([20] * 10, 32),
        ([], 32),
    ],
)
def test_the_size_suggested_is_one_that_half_of_the_images_reach(
    sides: list[int], size: int
) -> None:
    assert data_words.suggest_size_px(sides) == size


def test_every_rule_of_the_check_is_explained() -> None:
    text = f"{look.__doc__}\n{duplicates.__doc__}"
    table = re.findall(r"^\| ([\w, ]+?) \| .* \| \w+ \|$", text, re.MULTILINE)
    kinds = {kind for cell in table for kind in cell.split(", ")} - {"kind"}
    assert len(kinds) > 10
    assert kinds <= data_rules.RULES.keys()
    assert all(data_rules.RULES[kind].text.endswith(".") for kind in kinds)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"a": 10, "b": 10}, "10 each, balanced"),
        ({"a": 10, "b": 14}, "10 to 14 each, balanced"),
        ({"a": 10, "b": 25}, "somewhat uneven (b has 25, a 10)"),
        ({"a": 10, "b": 31}, "unbalanced (b has 31, a 10): judge by balanced accuracy"),
    ],
)
def test_balance_in_words(counts: dict[str, int], text: str) -> None:
    assert text in data_words.balance_text(files(**counts))


def test_the_answer_counts_what_was_left_out_repaired_and_kept() -> None:
    data = noted(
        files(a=30, b=30),
        Problem("a/x.png", "a", "exact_duplicate", "", "dropped"),
        Problem("a/y.png", "a", "exact_duplicate", "", "dropped"),
        Problem("b/0.png", "b", "cmyk", "", "converted"),
        Problem("b/0.png", "b", "exif_rotation", "", "converted"),
        Problem("b/z.png", "b", "leak", "", "dropped"),
    )
    _, condition, leaks, _, _ = data_words.answer_lines(data)
    assert "3 left out: 2 exact copies, 1 leak." in condition.text
    assert "1 repaired: 1 CMYK image, 1 turned photo." in condition.text
    assert leaks.text.startswith("1 image of one given split stands in another")
    assert data.num_dropped == 3


def test_clean_data_says_so_and_warns_of_nothing() -> None:
    lines = data_words.answer_lines(files(a=30, b=30))
    assert [line.missing for line in lines] == [False] * 5
    assert lines[1].text.startswith("Every image opens")
    assert data_words.data_warnings(files(a=30, b=30)) == []


def test_small_classes_look_alikes_and_conflicts_are_warned_of() -> None:
    twins = [Problem(f"a/{k}.png", "a", "near_duplicate", "", "kept") for k in range(9)]
    clash = Problem("b/9.png", "b", "conflicting_label", "", "dropped")
    warnings = " ".join(data_words.data_warnings(noted(files(a=30, b=9), *twins, clash)))
    assert "1 image with the same picture in two classes" in warnings
    assert "Many look-alikes: 9 images (23 %)" in warnings
    assert "1 class with fewer than 20 images to train on: b" in warnings


# --- what is chosen


def test_a_class_without_a_usable_image_is_still_counted() -> None:
    data = files(a=3, b=5)
    data = replace(data, facts=replace(data.facts, classes=("a", "b", "gone")))
    counts = data_plots.class_counts_data(data)
    assert counts["train"].to_dict() == {"b": 5, "a": 3, "gone": 0}


def test_unsplit_images_are_counted_in_one_column() -> None:
    data = files(a=3, b=5)
    data = replace(data, images=data.images.assign(part=""))
    assert list(data_plots.class_counts_data(data).columns) == ["images"]


def test_of_many_classes_the_largest_and_the_smallest_are_shown() -> None:
    data = files(**{f"c{k:03d}": k + 1 for k in range(200)})
    found = data_pictures.samples_data(data)
    assert len(found.shots) == data_pictures.MAX_CLASSES
    assert found.num_more == 160
    assert {"c000", "c199"} <= found.shots.keys()
    assert "c100" not in found.shots
    assert [shot.path for shot in found.shots["c199"]][::5] == ["c199/0.png", "c199/199.png"]


def test_pairs_come_once_each_with_those_of_two_classes_first() -> None:
    data = noted(
        files(a=5, b=5),
        Problem("a/0.png", "a", "near_duplicate", "", "kept", 0, "a/1.png", 0),
        Problem("a/1.png", "a", "near_duplicate", "", "kept", 0, "a/0.png", 0),
        Problem("a/2.png", "a", "near_duplicate", "", "kept", 0, "b/2.png", 0),
        Problem("a/9.png", "a", "leak", "", "dropped", 0, "a/3.png", 0),
        Problem("a/8.png", "a", "unreadable", "", "dropped"),
    )
    found = data_pictures.pairs_data(data)
    assert list(found) == ["leak", "near_duplicate"]
    near, number = found["near_duplicate"]
    assert number == 2
    assert [(p.mine.path, p.other.path) for p in near] == [
        ("a/2.png", "b/2.png"), ("a/0.png", "a/1.png")
    ]  # fmt: skip
    assert near[0].other.label == "b"
    assert (near[0].other.part, found["leak"][0][0].mine.part) == ("train", "left out")


def test_classes_of_one_size_are_said_to_be_so() -> None:
    def title(**counts: int) -> str:
        figure = data_plots.draw_class_counts(data_plots.class_counts_data(files(**counts)))
        return figure.axes[0].get_title()

    assert title(a=5, b=5) == "10 images of 2 classes: 5 a class"
    assert title(a=5, b=6) == "11 images of 2 classes: 5 to 6 a class"


def test_augmentation_is_shown_on_training_images_and_is_nothing_at_zero(tmp_path: Path) -> None:
    root = write_data(tmp_path, ["a", "b"]).root
    image = np.asarray(Image.open(root / "a" / "0.png").resize((64, 64)))
    shot = data_pictures.Shot(root / "a" / "0.png", "a/0.png", "a")
    gone = data_pictures.Shot(root / "a" / "gone.png", "a/gone.png", "a")
    drawn = data_pictures.read_changed([(0, shot), (1, gone)], 64, "squash")
    assert list(drawn) == [0.0, 0.5, 1.0]
    none, half, full = ([pixels.astype(float) for _, pixels in drawn[s]] for s in drawn)
    assert (none[0] == none[1]).all()
    assert np.abs(none[0] - image).mean() < 12
    change = [np.abs(pixels - none[0]).mean() for pixels in (half[0], full[0])]
    assert 2 < change[0] < change[1]
    assert (half[0] != half[1]).any()


# --- the page


def test_hostile_names_are_text_and_the_page_is_one_file(tmp_path: Path) -> None:
    made = write_data(tmp_path / 'it\'s a "folder"', HOSTILE, trouble="class <i>x</i>: too few.")
    report = write_data_report(made.folder, made.facts)
    text = report.page.read_text(encoding="utf-8")
    page = Page(text)
    assert [url for url in page.urls if not url.startswith(("data:", "#"))] == [
        "tables/class_counts.csv", "index.csv", "problems.csv", "splits.csv"
    ]  # fmt: skip
    assert all((made.folder / url).is_file() for url in page.urls if url.endswith(".csv"))
    assert page.tags.count("script") == 1
    assert "i" not in page.tags
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text
    assert "No study can run on this data yet. class <i>x</i>: too few." in page.text
    assert re.search(r"\bnan\b|<NA>|\bNone\b", page.text) is None
    assert text.count("<img") == text.count('alt="') == text.count('<img src="data:image/')
    assert {p.stem for p in (made.folder / "plots").glob("*.png")} == {
        "class_counts", "image_sizes", "size_choice", "samples", "augmentation", "duplicates"
    }  # fmt: skip


def test_pictures_of_problems_are_named(tmp_path: Path) -> None:
    made = write_data(tmp_path, ["a", "<b>"])
    path = "a/" + 40 * "long " + ".png"
    (made.root / "a" / "0.png").rename(made.root / path)
    (made.folder / "problems.csv").unlink()
    write_problems(made.folder / "problems.csv", [
        Problem(path, "a", "blank", "", "kept"), Problem("<b>/1.png", "<b>", "blank", "", "kept")
    ])  # fmt: skip
    text = write_data_report(made.folder, made.facts).page.read_text(encoding="utf-8")
    captions = re.findall(r'<div class="named"><img [^>]*>\s*<code title="[^"]*">([^<]*)<', text)
    assert captions == ["a/long long long long long…ong long .png", "&lt;b&gt;/1.png"]


def test_images_that_are_gone_do_not_cost_the_report(tmp_path: Path) -> None:
    made = write_data(tmp_path, ["a", "b"])
    write_data_report(made.folder, made.facts)
    lost = replace(made.facts, roots=(tmp_path / "moved away",))
    report = write_data_report(made.folder, lost)
    text = Page(report.page.read_text(encoding="utf-8")).text
    assert "no longer where they were" in text
    assert "Images per class" in text
    left = {path.stem for path in (made.folder / "plots").glob("*.png")}
    assert left == {"class_counts", "image_sizes", "size_choice"}


def test_damaged_tables_are_named_not_fatal(tmp_path: Path) -> None:
    made = write_data(tmp_path, ["a", "b"])
    (made.folder / "problems.csv").write_bytes(b'path,kind\n"\xff')
    (made.folder / "splits.csv").unlink()
    text = Page(write_data_report(made.folder, made.facts).page.read_text("utf-8")).text
    assert "Could not be read, so it is left out: problems.csv" in text
    assert "Not known: the images were not checked" in text
    assert "none is there twice" not in text
    assert "splits.csv" not in text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    made = write_data(tmp_path, ["a", "b"])
    (made.folder / "plots").write_text("in the way")
    (made.folder / "tables").write_text("in the way")
    with pytest.raises(ResultsError, match=r"must be writable"):
        write_data_report(made.folder, made.facts)


def test_many_classes_make_a_light_page(tmp_path: Path) -> None:
    made = write_data(tmp_path, [f"species {k:03d}" for k in range(60)], per_class=2)
    report = write_data_report(made.folder, made.facts)
    assert report.page.stat().st_size < 3e6
    text = Page(report.page.read_text(encoding="utf-8")).text
    assert "20 between them are not shown" in text
    with Image.open(made.folder / "plots" / "class_counts.png") as image:
        assert image.height <= 4000


def test_sheets_of_nothing_say_so() -> None:
    gallery = read_gallery(replace(files(a=1), images=files(a=1).images.iloc[:0]))
    with plot_style():
        for draw, reason in ((draw_samples, "no image"), (draw_pairs, "found twice")):
            with pytest.raises(NothingToShowError, match=reason):
                draw(gallery)


def test_a_study_shows_its_data_and_links_the_report(tmp_path: Path) -> None:
    folder = write_fake_study(tmp_path / "s", num_classes=3, num_trials=3, num_images=12)
    index = read_study(folder).index
    root = tmp_path / "my photos"
    rng = np.random.default_rng(0)
    for path in index["path"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_image(0, (40, 40), rng)).save(root / path)
    folder.summary.write_text(
        folder.summary.read_text("utf-8").replace("my photos", root.as_posix()), "utf-8"
    )
    assert data_of_study(read_study(folder)).facts.roots == (root,)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "../data/index.html" in page.urls
    assert (folder.data / "index.html").is_file()
    assert (folder.report / "plots" / "samples.png").is_file()
    assert "of one given split stand in another too" in page.text  # at the top, with the warnings


def test_a_study_without_trials_yet_shows_its_data(tmp_path: Path) -> None:
    gone = ["summary.json", "study", "confirm", "best", "test"]
    folder = write_fake_study(tmp_path / "s", num_classes=3, num_trials=3, without=gone)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "../data/index.html" in page.urls
    assert (folder.report / "plots" / "class_counts.png").is_file()
    assert "no longer where they were" in page.text
