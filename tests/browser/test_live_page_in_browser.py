"""The page of a study at work reloads itself, and its reader stays where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from search.report.page import PLOTS, write_live_report
from tests.browser.pages import column, rows
from tests.fake_ledger import write_running_study

Open = Callable[..., Page]
MINUTE = 61_000  # ms


def write_page(root: Path, num_ended: int) -> Path:
    folder = write_running_study(root, num_trials=40, num_ended=num_ended)
    with pytest.MonkeyPatch.context() as patch:
        plots = [plot for plot in PLOTS if plot.name in ("history", "learning_curves")]
        patch.setattr("search.report.page._LIVE_PLOTS", plots)
        return write_live_report(folder)


@pytest.fixture
def page(open_page: Open, tmp_path: Path) -> Page:
    page = open_page(write_page(tmp_path / "s", 12))
    page.clock.install()
    page.reload()
    page.evaluate("window.isOld = true")
    return page


def is_reloaded_after(page: Page, ms: int) -> bool:
    page.clock.fast_forward(ms)
    page.wait_for_timeout(700)
    return page.evaluate("window.isOld") is None


def test_the_reader_is_where_they_were_and_the_news_is_there(page: Page, tmp_path: Path) -> None:
    page.locator("#find").fill("state=complete")
    page.locator("#all-trials th", has_text="lr").first.get_by_role("button").press("Enter")
    page.evaluate("document.querySelector('#trials .scroll').scrollLeft = 120")
    page.evaluate("scrollTo(0, scrollY + document.getElementById('plot-learning_curves')"
                  ".getBoundingClientRect().top - 40)")  # fmt: skip
    before = column(page, "trial")
    write_page(tmp_path / "s", 20)
    assert is_reloaded_after(page, MINUTE)
    assert page.locator("#find").input_value() == "state=complete"
    assert len(column(page, "trial")) > len(before)
    rates = [float(key) for key in column(page, "lr")]
    assert rates == sorted(rates)
    assert page.evaluate("document.querySelector('#trials .scroll').scrollLeft") == 120
    top = "document.getElementById('plot-learning_curves').getBoundingClientRect().top"
    assert page.evaluate(top) == pytest.approx(40, abs=2)
    assert page.evaluate("document.activeElement.textContent") == "lr"


def test_an_open_trial_is_not_closed_by_a_reload(page: Page) -> None:
    rows(page).nth(3).locator("a").click()
    assert not is_reloaded_after(page, MINUTE)
    assert page.get_by_role("dialog").is_visible()
    assert "but not while a trial is open" in page.locator(".banner.live").inner_text()
    page.keyboard.press("Escape")
    assert is_reloaded_after(page, MINUTE)
    assert "not while" not in page.locator(".banner.live").inner_text()


def test_no_reload_under_moving_hands_but_soon_after(page: Page) -> None:
    page.clock.fast_forward(55_000)
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(300)
    assert not is_reloaded_after(page, 8_000)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    assert not is_reloaded_after(page, MINUTE)
    page.evaluate("getSelection().removeAllRanges()")
    assert is_reloaded_after(page, MINUTE)
