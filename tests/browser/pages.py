"""Pages to look at, and where on them things are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page

from search.report.page import PLOTS, write_report
from search.results import ResultsFolder
from tests.fake_study import write_fake_study

HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'
CLASS = "<script>alert(1)</script>"


def hostile_study(root: Path, num_trials: int) -> ResultsFolder:
    """A study of two classes, with markup in a class, a parameter's value and a reason."""
    folder = write_fake_study(
        root, num_trials=num_trials, num_images=120, classes=("plain", CLASS), is_sample=True,
        without=["data/index.csv"],
    )  # fmt: skip
    path = folder.study / "trials.csv"
    trials = pd.read_csv(path, dtype=str, keep_default_na=False)
    trials.loc[trials["params.optimizer"] == "sgd", "params.optimizer"] = HOSTILE
    trials.loc[trials["state"] == "failed", "error"] = f"TrialError: {HOSTILE}"
    trials.to_csv(path, index=False)
    return folder


def write_page(folder: ResultsFolder, *names: str) -> Path:
    """Write the report with these plots alone: each takes as long as a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.report.page.PLOTS", [plot for plot in PLOTS if plot.name in names])
        return write_report(folder)


def rows(page: Page) -> Locator:
    return page.locator("#all-trials tbody tr")


def column(page: Page, title: str) -> list[str]:
    """Return the sort keys of a column, as shown from top to bottom."""
    script = """title => {
      const table = document.getElementById("all-trials");
      const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === title);
      const cells = [...table.tBodies[0].rows].map(row => row.cells[at]);
      return cells.map(cell => cell.dataset.v ?? cell.textContent);
    }"""
    return list(page.evaluate(script, title))


def drag(page: Page, title: str, start: float, end: float) -> None:
    """Drag along an axis, from and to shares of its height (0 is the top)."""
    strip = page.locator(".strip", has_text=f"range of {title}")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box is not None
    x, low, tall = box["x"] + box["width"] / 2, box["y"] + 8, box["height"] - 16
    page.mouse.move(x, low + start * tall)
    page.mouse.down()
    page.mouse.move(x, low + end * tall, steps=4)
    page.mouse.up()
