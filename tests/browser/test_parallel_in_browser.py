"""The parallel plot as people use it: lines are read, ranges kept, by pointer and by keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page

from tests.browser.pages import column, drag, rows

Open = Callable[..., Page]


def test_a_brushed_axis_filters_plot_and_table(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    page = open_page(path)
    known = trials[trials["best_value"].notna()]
    lines = page.locator("#plot-parallel g.lines path")
    assert lines.count() == len(known)
    low, high = (math.log10(end) for end in (trials["params.lr"].min(), trials["params.lr"].max()))
    drag(page, "lr", -0.01, 0.5)
    half = trials[trials["params.lr"].map(math.log10) >= (low + high) / 2]
    assert {int(number) for number in column(page, "trial")} == set(half.index)
    assert lines.count() == half["best_value"].notna().sum()
    chip = page.locator("#ranges .chip")
    assert chip.inner_text().startswith("lr: ")
    page.reload()
    assert rows(page).count() == len(half)
    chip.click()
    assert rows(page).count() == 30
    drag(page, "val accuracy", -0.01, 0.3)
    shown = {int(number) for number in column(page, "trial")}
    limit = known["best_value"].min() + 0.7 * (
        known["best_value"].max() - known["best_value"].min()
    )
    assert shown == set(known.index[known["best_value"] >= limit])


def test_lines_are_read_by_pointer_and_keyboard(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    page = open_page(path)
    readout = page.locator(".readout")
    picture = page.locator("#plot-parallel svg")
    picture.focus()
    page.keyboard.press("Home")
    best = trials["best_value"].idxmax()
    assert readout.inner_text().startswith(f"Trial {best}, ")
    page.keyboard.press("ArrowRight")
    assert not readout.inner_text().startswith(f"Trial {best}, ")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").locator("h3").inner_text().startswith(f"Trial {best} ")
    page.keyboard.press("Escape")
    line = page.locator(f'g.lines path[data-trial="{best}"]').bounding_box()
    assert line is not None
    page.mouse.move(line["x"] + line["width"] - 2, line["y"] + 3)
    page.wait_for_function("document.querySelector('.readout').textContent.startsWith('Trial')")
    assert f"lr {trials.loc[best, 'params.lr']:.3g}"[:6] in readout.inner_text()


def test_ranges_are_set_by_keyboard(open_page: Open, path: Path, trials: pd.DataFrame) -> None:
    page = open_page(path)
    lowest = page.get_by_role("slider", name="Lowest lr kept")
    highest = page.get_by_role("slider", name="Highest lr kept")
    assert page.get_by_role("slider").count() == 2 * page.locator("#plot-parallel .axis").count()
    assert float(lowest.get_attribute("aria-valuetext") or "") == pytest.approx(
        trials["params.lr"].min(), rel=0.01
    )
    lowest.focus()
    for _ in range(2):
        page.keyboard.press("PageUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")  # ten of twenty steps
    low, high = (math.log10(end) for end in (trials["params.lr"].min(), trials["params.lr"].max()))
    half = trials[trials["params.lr"].map(math.log10) >= (low + high) / 2]
    assert 0 < len(half) < 30
    assert {int(number) for number in column(page, "trial")} == set(half.index)
    assert page.locator("#found").inner_text() == f"{len(half)} of 30 trials"
    assert page.locator("#found").get_attribute("aria-live") == "polite"
    assert lowest.get_attribute("aria-valuenow") == "50"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Lowest lr kept"
    page.keyboard.press("Tab")
    assert highest.evaluate("handle => handle === document.activeElement")
    page.keyboard.press("Home")  # no further down than the other end
    assert highest.get_attribute("aria-valuenow") == "50"
    highest.press("End")
    page.goto(f"{path.as_uri()}#trial-{half.index[0]}")
    highest.press("Escape")
    assert rows(page).count() == 30
    assert page.locator("#ranges .chip").count() == 0
    assert page.get_by_role("dialog").is_visible(), "the first Escape is the range's"
    highest.press("Escape")
    assert page.get_by_role("dialog").count() == 0


def test_levels_are_kept_one_by_one_by_keyboard(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    page = open_page(path)
    levels = sorted(trials["params.backbone"].unique())
    highest = page.get_by_role("slider", name="Highest backbone kept")
    assert highest.get_attribute("aria-valuetext") == levels[-1]
    highest.press("ArrowDown")
    assert highest.get_attribute("aria-valuetext") == levels[-2]
    shown = {int(number) for number in column(page, "trial")}
    assert shown == set(trials.index[trials["params.backbone"] != levels[-1]])
    assert page.locator("#ranges .chip").inner_text() == f"backbone: {', '.join(levels[:-1])} ×"
    highest.press("ArrowUp")
    assert page.locator("#ranges .chip").count() == 0


def test_one_end_of_a_range_is_dragged_alone(
    open_page: Open, path: Path, trials: pd.DataFrame
) -> None:
    page = open_page(path)
    drag(page, "lr", 0.25, 0.75)
    drag(page, "lr", 0.75, 1.01)
    chip = page.locator("#ranges .chip").inner_text()
    least = chip.removeprefix("lr: ").split()[0]
    assert float(least) == pytest.approx(trials["params.lr"].min(), rel=0.01)
    low, high = (math.log10(end) for end in (trials["params.lr"].min(), trials["params.lr"].max()))
    limit = 10 ** (low + 0.75 * (high - low))
    assert {int(n) for n in column(page, "trial")} == set(trials.index[trials["params.lr"] < limit])
