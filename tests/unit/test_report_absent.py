"""What a page cannot show stands in one quiet line of its section, with the reason."""

from __future__ import annotations

import re
from pathlib import Path

from search.report.page import write_report
from search.report.page_parts import absent_by_reason
from tests.fake_study import write_fake_study


def test_names_with_one_reason_stand_together_and_once() -> None:
    absent = [
        ("by_backbone", "A."),
        ("lr_batch_size", "B."),
        ("by_backbone", "A."),
        ("slices", "A."),
    ]
    assert absent_by_reason([("by_weight_decay", "A.")]) == [("by weight_decay", "A.")]
    assert absent_by_reason(absent) == [
        ("by backbone, each parameter alone", "A."),
        ("learning rate and batch size", "B."),
    ]


def test_few_trials_show_content_first_and_reasons_folded(tmp_path: Path) -> None:
    folder = write_fake_study(
        tmp_path / "s",
        num_trials=3,
        num_images=60,
        without=["data/index.csv", "study/importance.csv"],
    )
    folder.export.mkdir(exist_ok=True)
    (folder.export / "model.json").write_text("{}")
    page = write_report(folder).read_text(encoding="utf-8")
    assert "python -m search.predict --model " in page
    parts = dict(re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.S))
    search = parts["search"]
    assert 'class="none"' not in search
    assert search.count("<details") == 1
    assert search.index('id="plot-history"') < search.index("<details")
    folded = search[search.index("<details") :]
    assert "Not shown: importance, " in folded
    assert "Importance: There are no parameter importances" in folded
    assert "Not shown: plots of the images</summary>" in parts["data"]


def test_a_section_with_nothing_to_show_says_why_in_the_open(tmp_path: Path) -> None:
    gone = ["summary.json", "data/index.csv", "test", "best"]
    folder = write_fake_study(tmp_path / "s", num_trials=3, num_images=60, without=gone)
    page = write_report(folder).read_text(encoding="utf-8")
    test = page[page.index('<section id="test">') : page.index('<section id="explanations">')]
    assert test.index('<p class="none">') < test.index("<details")
    assert test.count("not tested yet") >= 2
