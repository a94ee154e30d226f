"""The report's page as people use it: sort, filter, open a trial, brush an axis, print, phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page

from tests.browser.pages import CLASS, HOSTILE, column, rows, write_page
from tests.fake_study import write_fake_study

Open = Callable[..., Page]


def test_columns_sort_as_numbers_and_blanks_come_last(open_page: Open, path: Path) -> None:
    page = open_page(path)
    head = page.locator("#all-trials th", has_text="lr").first
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    rates = [float(key) for key in column(page, "lr")]
    assert rates == sorted(rates) != sorted(rates, key=str)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(key) for key in column(page, "lr")] == rates[::-1]
    for _ in range(2):
        page.locator("#all-trials th", has_text="momentum").get_by_role("button").click()
        keys = column(page, "momentum")
        filled = [key for key in keys if key]
        assert keys == filled + [""] * (len(keys) - len(filled))
        assert 1 < len(filled) < len(keys)
    assert page.locator("#all-trials th[aria-sort]").count() == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("resnet18", lambda t: t["params.backbone"] == "resnet18"),
        ("RESNET18 lr>1e-3", lambda t: (t["params.backbone"] == "resnet18")
         & (t["params.lr"] > 1e-3)),
        ("state=complete val_accuracy>=60%", lambda t: (t["state"] == "complete")
         & (t["best_value"] >= 0.6)),
        ("trial=7", lambda t: t.index == 7),
        ("momentum<2", lambda t: t["params.momentum"] < 2),
        ("no_such_column<3", lambda t: t.index < 0),
        ("latency<20 time>0", lambda t: t["latency_ms"] < 20),
    ],
)  # fmt: skip
def test_the_filter_takes_words_and_conditions(
    open_page: Open,
    path: Path,
    trials: pd.DataFrame,
    words: str,
    expected: Callable[[pd.DataFrame], pd.Series[bool]],
) -> None:
    page = open_page(path)
    page.locator("#find").fill(words)
    wanted = set(trials.index[expected(trials)])
    assert {int(number) for number in column(page, "trial")} == wanted
    assert page.locator("#found").inner_text() == f"{len(wanted)} of 30 trials"


def test_filter_and_order_are_there_again_after_a_reload(open_page: Open, path: Path) -> None:
    page = open_page(path)
    page.locator("#find").fill("state=pruned")
    page.locator("#all-trials th", has_text="dropout").get_by_role("button").click()
    before = column(page, "trial")
    page.reload()
    assert page.locator("#find").input_value() == "state=pruned"
    assert column(page, "trial") == before
    page.locator("#clear-filter").click()
    assert rows(page).count() == 30
    assert page.locator("#all-trials th[aria-sort]").count() == 0


def test_a_click_opens_a_trial_with_its_parameters_and_curve(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    page = open_page(path)
    best = trials[trials["state"] == "complete"]["best_value"].idxmax()
    row = page.locator(f"#trial-{best}")
    row.locator("td").nth(2).click()
    panel = page.get_by_role("dialog")
    assert panel.locator("h3").inner_text().startswith(f"Trial {best}")
    assert page.url.endswith(f"#trial-{best}")
    text, trial = panel.inner_text(), trials.loc[best]
    for name in ("backbone", "optimizer", "lr", "batch_size", "augment_strength", "schedule"):
        assert name in text
    assert str(trial["params.backbone"]) in text
    assert f"worker\n{trial['worker']} on laptop" in text
    assert f"best epoch\n{int(trial['best_epoch'])}" in text
    assert panel.locator("svg.chart").count() == 2
    points = panel.locator("svg.chart").first.locator("path.score").get_attribute("d") or ""
    assert points.count("L") == trial["epochs_run"] - 1
    assert panel.locator("svg.chart").first.locator("path.rung").count() == 2
    assert panel.locator("circle.best").count() == 1
    line = panel.locator("pre.copy").inner_text()
    assert f"lr: {float(trial['params.lr'])!r}" in line


def test_failed_trials_say_why_and_markup_stays_text(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    failed = trials.index[trials["state"] == "failed"][0]
    sgd = trials.index[trials["params.optimizer"] == HOSTILE][0]
    page = open_page(path, f"#trial-{failed}")
    assert HOSTILE in page.get_by_role("dialog").inner_text()
    page.goto(f"{path.as_uri()}#trial-{sgd}")
    assert f"optimizer\n{HOSTILE}" in page.get_by_role("dialog").inner_text()
    assert page.locator("body").inner_text().count(CLASS) > 1
    assert page.locator("img[src=x], h1 i").count() == 0
    assert page.locator("svg .tick", has_text='"><img').count() == 1


def test_the_keyboard_opens_steps_through_and_closes(open_page: Open, path: Path) -> None:
    page = open_page(path)
    link = rows(page).nth(1).locator("a")
    first = rows(page).nth(0).locator("a").inner_text()
    link.focus()
    link.press("Enter")
    panel = page.get_by_role("dialog")
    assert page.evaluate("document.activeElement.id") == "detail-title"
    panel.get_by_role("button", name="Previous trial").press("Enter")
    assert panel.locator("h3").inner_text().startswith(f"Trial {first} ")
    assert panel.get_by_role("button", name="Previous trial").is_disabled()
    page.keyboard.press("Escape")
    assert panel.count() == 0
    assert "#" not in page.url
    assert page.evaluate("document.activeElement.hash") == f"#trial-{link.inner_text()}"


def test_other_tables_lead_to_the_trials_they_name(open_page: Open, path: Path) -> None:
    page = open_page(path)
    link = page.locator("#search td a").first
    link.click()
    number = link.inner_text()
    assert page.get_by_role("dialog").locator("h3").inner_text().startswith(f"Trial {number} ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(
    open_page: Open, path: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    page = open_page(path, width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert page.locator(".answer dt").count() >= 5
    rows(page).first.locator("a").click()
    assert page.get_by_role("dialog").bounding_box()["width"] <= width  # type: ignore[index]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=tmp_path / f"{width}-{scheme}.png")
    assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 10_000


def test_print_leaves_out_controls_and_keeps_the_picture(open_page: Open, path: Path) -> None:
    page = open_page(path, "#trial-0", width=720)  # A4 with its margins
    page.emulate_media(media="print")
    page.evaluate("document.getElementById('trials').style.width = '1040px'")  # a landscape page
    for box in page.locator("section:not(#trials) :is(table, figure)").all():
        place = box.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= 720
    for gone in ("nav", "#filter", ".parallel", "#trial-detail"):
        assert not page.locator(gone).first.is_visible()
    assert page.locator("#plot-parallel img").is_visible()
    style = "getComputedStyle(document.querySelector('figure')).breakInside"
    assert page.evaluate(style) == "avoid"


def test_without_scripts_the_page_is_complete(open_page: Open, path: Path) -> None:
    page = open_page(path, java_script_enabled=False)
    assert rows(page).count() == 30
    assert page.locator("#plot-parallel img").is_visible()
    assert not page.locator("#filter").is_visible()
    assert page.locator("#all-trials th button").count() == 0


def test_thousands_of_trials_stay_quick(open_page: Open, tmp_path: Path) -> None:
    folder = write_fake_study(
        tmp_path / "many", num_trials=2000, num_images=60, without=["data/index.csv"]
    )
    page = open_page(write_page(folder))
    data = json.loads(page.locator("#study-data").text_content() or "")
    assert len(data["number"]) == 2000
    assert rows(page).count() == 200
    assert page.locator("#found").inner_text() == "2,000 trials, the first 200 shown"
    script = """words => {
      const begin = performance.now();
      document.getElementById("find").value = words;
      document.getElementById("find").dispatchEvent(new Event("input"));
      document.body.offsetHeight;
      return performance.now() - begin;
    }"""
    page.evaluate(script, "first look")  # fills the texts it looks in
    assert min(page.evaluate(script, words) for words in ("resnet18", "lr<0.01", "sgd")) < 500
    page.locator("#find").fill("")
    page.locator("#show-all").click()
    assert rows(page).count() == 2000
