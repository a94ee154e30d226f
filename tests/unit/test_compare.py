"""Several studies side by side: what differed, who is better and how sure, on any two folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.compare import folder_name
from search.records import read_csv, write_csv
from search.report import studies_plots, studies_tables
from search.report.load import NothingToShowError, read_study
from search.report.studies import Compared, answers, read_studies, short_names
from search.report.studies_facts import NOT_SET, facts_of, find_differences, same_everywhere
from search.report.studies_page import answer_lines, differences_text, write_comparison
from search.report.studies_scores import (
    answer_text,
    compare_pairs,
    disagreements,
    pair_text,
    seeds_text,
)
from search.results import ResultsFolder
from search.statistics import mcnemar_exact
from tests.compared_studies import HOSTILE, write_studies
from tests.fake_study import write_fake_study
from tests.unit.test_report_page import Page


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_studies(tmp_path_factory.mktemp("results"))


def studies(root: Path, *names: str) -> tuple[Compared, ...]:
    return read_studies([root / name for name in names])


def test_the_same_images_are_compared_image_by_image(root: Path) -> None:
    pair = compare_pairs(studies(root, HOSTILE, "a"))[0]
    both = [answers(study)["right"].to_numpy() for study in studies(root, "a", HOSTILE)]
    assert (pair.first, pair.second, pair.kind) == (1, 0, "same images"), "the better one first"
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(25 / len(both[0]))
    assert pair.p_value == mcnemar_exact(*both) < 0.001
    assert pair.is_clear
    text = pair_text(pair, studies(root, HOSTILE, "a"))
    assert text.startswith("a is ")
    assert "on the same" in text
    assert text.endswith("McNemar p < 0.001): more than noise.")


def test_images_are_known_by_content_and_not_by_name(root: Path, tmp_path: Path) -> None:
    """Two data sets may both have cat/00001.jpg; and a photo may have moved."""
    folder = shutil.copytree(root / "a", tmp_path / "moved")
    for file in ("test/predictions.csv", "data/index.csv"):
        rows = read_csv(folder / file)
        write_csv(
            folder / file, list(rows[0]), [row | {"path": f"new/{row['path']}"} for row in rows]
        )
    moved = read_studies([root / "a", folder])
    assert compare_pairs(moved)[0].kind == "same images"
    rows = read_csv(folder / "data" / "index.csv")
    write_csv(
        folder / "data" / "index.csv", list(rows[0]),
        [row | {"sha256": f"other {k}"} for k, row in enumerate(rows)],
    )  # fmt: skip
    assert compare_pairs(read_studies([root / "a", folder]))[0].kind == "other images"


def test_other_images_are_two_samples_and_that_is_said(root: Path) -> None:
    pair = compare_pairs(studies(root, "a", "c"))[0]
    assert pair.kind == "other images"
    paired = compare_pairs(studies(root, "a", HOSTILE))[0]
    assert pair.difference is not None
    assert paired.difference is not None
    widths = [m.high - m.low for m in (pair.difference, paired.difference)]
    assert widths[0] > 1.3 * widths[1]
    text = pair_text(pair, studies(root, "a", "c"))
    assert "on other test images, which makes the comparison weaker" in text
    assert "two proportions p" in text


def test_some_common_images_are_enough(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / HOSTILE, tmp_path / "b")
    rows = read_csv(folder / "test" / "predictions.csv")
    write_csv(folder / "test" / "predictions.csv", list(rows[0]), rows[: len(rows) * 3 // 4])
    pair = compare_pairs(read_studies([root / "a", folder]))[0]
    assert (pair.kind, pair.num_images) == ("common images", len(rows) * 3 // 4)
    assert "that both have" in pair_text(pair, read_studies([root / "a", folder]))


def test_other_classes_are_not_comparable(root: Path) -> None:
    found = studies(root, "a", "other")
    pair = compare_pairs(found)[0]
    assert (pair.kind, pair.difference, pair.is_clear) == ("other classes", None, False)
    text = answer_text(found, [pair])
    assert "cannot be compared" in text
    assert "only other has" in text


def test_many_pairs_make_each_p_value_larger(root: Path) -> None:
    two = compare_pairs(studies(root, "a", HOSTILE))[0]
    many = compare_pairs(studies(root, "a", HOSTILE, "c"))
    assert many[0].p_value == pytest.approx(3 * two.p_value)
    assert answer_text(studies(root, "a", HOSTILE, "c"), many).count("the best test accuracy") == 1


def test_what_differed_names_settings_and_flags(root: Path) -> None:
    found = {d.name: d for d in find_differences(studies(root, "a", HOSTILE))}
    assert found["space.lr"].values == (
        "float: [1e-05, 0.3], log: yes", "float: [0.0001, 0.3], log: yes"
    )  # fmt: skip
    assert found["space.mixup"].values == (NOT_SET, "value: 0.2")
    assert found["space.dropout"].values == ("float: [0, 0.6]", NOT_SET)
    assert found["--set space.mixup"].values == (NOT_SET, ".2")
    assert found["--weights"].values == (NOT_SET, "<b>w</b>")
    assert "test images" not in found
    assert "--data" not in found
    text = differences_text(list(found.values()))
    assert text.startswith("--weights (not set / <b>w</b>)")
    assert "space.lr" in text
    assert "--set" not in text, "a setting is named once"
    same = same_everywhere(studies(root, "a", HOSTILE))
    assert ("versions", "torch", "2.15.0") in same


def test_other_images_differ_in_their_fingerprint(root: Path) -> None:
    found = {d.name: d.values for d in find_differences(studies(root, "a", "c"))}
    one, other = found["test images"]
    assert one != other
    assert one.split(",")[0] == str(len(read_study(ResultsFolder(root / "a")).predictions))


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("python -m search.run --space s.yaml --trials=4 -q", {"--trials": "4"}),
        ("python -m search.run --data a --data 'b c' --fresh", {"--data": "a, b c"}),
        ("python -m search.run --tensorboard --set x=-1", {"--tensorboard": "on", "--set x": "-1"}),
        ("python -m search.run 'unclosed", {}),
        ("", {}),
    ],
)
def test_flags_are_read_from_the_command(command: str, flags: dict[str, str], root: Path) -> None:
    files = read_study(ResultsFolder(root / "a"))
    facts = facts_of(replace(files, environment={"command": command}, summary={}))
    assert {name: text for (group, name), text in facts.items() if group == "flags"} == flags


def test_images_that_not_all_get_right_are_listed(root: Path) -> None:
    found = disagreements(studies(root, "a", HOSTILE))
    assert len(found) == 25
    assert (found[0] == found["label"]).all()
    assert (found[1] != found["label"]).all()


def test_seeds_are_warned_of(root: Path) -> None:
    text = seeds_text(studies(root, "a", "c"))
    assert "a ± " in text
    assert "c ± " in text
    assert seeds_text(()) == ""


def test_names_are_the_shortest_that_differ() -> None:
    paths = [Path("/x/one/results"), Path("/x/two/results")]
    assert short_names(paths) == ["one/results", "two/results"]
    assert short_names([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert folder_name([Path("/x/a b"), Path("/y/<c>")]) == "compare-a_b-c"
    assert folder_name([Path(f"/x/{k}") for k in range(5)]) == "compare-0-1-and-3-more"


def test_a_study_named_like_a_column_keeps_its_column(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "a", tmp_path / "setting")
    table = studies_tables.differences(read_studies([root / HOSTILE, folder]))
    assert table.frame.shape[1] == 4
    assert table.titles["setting (study)"] == "setting"


def test_plots_hold_every_study_in_its_own_colour(root: Path) -> None:
    found = studies(root, "a", HOSTILE, "c", "other")
    scores = studies_plots.scores_data(found)
    assert [len(s.files.predictions) for s in found] == scores.num_images
    assert [m.value for m in scores.scores] == [answers(s)["right"].mean() for s in found]
    incumbents = studies_plots.incumbents_data(found)
    for values, by_minute, minutes in zip(
        incumbents.values, incumbents.by_minute, incumbents.minutes, strict=True
    ):
        assert values[-1] == by_minute[-1] == np.nanmax(by_minute)
        assert (np.diff(minutes) >= 0).all()
    curves = studies_plots.best_curves_data(found)
    assert curves.names == [study.name for study in found]
    recalls = studies_plots.class_recalls_data(found)
    assert (np.diff(np.ptp(recalls.recalls, axis=1)) <= 1e-12).all()
    assert len({studies_plots.colour_of(k) for k in range(10)}) == 10


def test_studies_of_another_objective_are_left_out_of_the_curves(root: Path) -> None:
    one, two, three = studies(root, "a", HOSTILE, "c")
    objective = {"study": {"objective": {"metric": "val_loss", "direction": "minimize"}}}
    lossy = replace(three, files=replace(three.files, summary=objective))
    assert studies_plots.incumbents_data([one, two, lossy]).places == [0, 1]


def test_unfinished_and_damaged_studies_say_what_is_missing(root: Path, tmp_path: Path) -> None:
    started = write_fake_study(
        tmp_path / "started", num_classes=4, num_trials=4,
        without=["summary.json", "confirm", "best", "test", "environment.json"],
    )  # fmt: skip
    broken = write_fake_study(tmp_path / "broken", num_classes=4, num_trials=4)
    broken.study_file.write_text("name: [broken\n")
    (broken.test / "predictions.csv").write_bytes(b"\xff\xfe\x00")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "study.yaml").write_text("name: bare\n")
    found = read_studies([root / "a", started.root, broken.root, bare])
    told = {study.name: " ".join(study.missing) for study in found}
    assert told["a"] == ""
    assert "it has not finished" in told["started"]
    assert "it was not tested" in told["started"]
    assert "could not be read: study.yaml" in told["broken"]
    assert "could not be read: test/predictions.csv" in told["broken"]
    assert "no trial finished an epoch" in told["bare"]
    written = write_comparison(found, tmp_path / "out")
    text = Page(written.page.read_text(encoding="utf-8")).text
    assert "Only a was tested" in text
    assert "started: it has not finished" in text
    assert "nan" not in text.lower().split()
    nobody = write_comparison(found[1:], tmp_path / "out")
    assert (
        nobody.answer == "None of these studies was tested yet, so their models cannot be compared."
    )
    assert not (tmp_path / "out" / "plots" / "scores.png").exists(), "of the comparison before"


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = studies(root, "a", HOSTILE, "c", "other")
    return write_comparison(found, tmp_path_factory.mktemp("out of 'it'")).page


def test_hostile_names_are_text_and_the_page_is_one_file(page: Path) -> None:
    found = Page(page.read_text(encoding="utf-8"))
    assert found.text.count(HOSTILE) > 3
    assert "<b>w</b>" in found.text
    assert found.tags.count("script") == 1
    assert "b" not in found.tags
    inside = [url for url in found.urls if not url.startswith(("data:", "#", "file:"))]
    assert inside
    assert all((page.parent / url).is_file() for url in inside)
    assert found.tags.count("img") == 4
    markdown = (page.parent / "comparison.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown.replace("\\<", "")
    record = json.loads((page.parent / "comparison.json").read_text(encoding="utf-8"))
    assert [s["name"] for s in record["studies"]] == ["a", HOSTILE, "c", "other"]
    assert record["pairs"][0]["is_clear"] is True


def test_every_table_is_there_as_csv_and_markdown(page: Path) -> None:
    written = {path.stem for path in (page.parent / "tables").glob("*.csv")}
    assert written == set(studies_tables.TABLES)
    assert written == {path.stem for path in (page.parent / "tables").glob("*.md")}
    pairs = pd.read_csv(page.parent / "tables" / "pairs.csv")
    assert len(pairs) == 6
    assert pairs["difference"].isna().sum() == 3, "the study of other classes"


def test_studies_that_are_alike_have_no_differences(root: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(root / "a", tmp_path / "twin")
    found = read_studies([root / "a", twin])
    with pytest.raises(NothingToShowError, match="Nothing on record differs"):
        studies_tables.differences(found)
    lines = answer_lines(found, compare_pairs(found), [])
    assert "equally accurate" in lines[0].text
    assert lines[1].text == "No setting on record."
