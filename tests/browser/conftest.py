"""One headless Chromium for all tests of pages, the installed one, and one page for most."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from search.results import ResultsFolder
from tests.browser.pages import hostile_study, write_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str:
    """Return the first of `NAMES` on the PATH; skip, saying what was looked for, without one."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no page was looked at: none of {', '.join(NAMES)} is installed")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_browser()
    with sync_playwright() as driver:
        # Inside a container there is often no second sandbox to be had; the pages are our own.
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a file in a fresh profile; any error in its console fails the test."""
    faults: list[str] = []
    contexts = []

    def opened(path: Path, fragment: str = "", width: int = 1280, **settings: object) -> Page:
        settings = {"reduced_motion": "reduce", **settings}
        context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
        contexts.append(context)
        context.set_default_timeout(60_000)  # ms; a busy machine is slow
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: faults.append(asked.url)
                if not asked.url.startswith(("file:", "data:")) else None)  # fmt: skip
        page.goto(f"{path.as_uri()}{fragment}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    folder = hostile_study(tmp_path_factory.mktemp("browser") / "<i>cars's", 30)
    write_page(folder, "history", "parallel", "examples_right")
    return folder


@pytest.fixture(scope="session")
def path(folder: ResultsFolder) -> Path:
    return folder.report / "index.html"


@pytest.fixture(scope="session")
def trials(folder: ResultsFolder) -> pd.DataFrame:
    return pd.read_csv(folder.study / "trials.csv").set_index("number")
