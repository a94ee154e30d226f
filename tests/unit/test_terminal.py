"""What the terminal prints of names that look like its own markup."""

from __future__ import annotations

import pytest

from search.terminal import Terminal


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    name = "photos/:dog: [bold]x[/] \\[y]/:smiley:"
    terminal = Terminal()
    terminal.line("data", name)
    terminal.warn(name)
    terminal.error(name)
    printed = capsys.readouterr()
    assert printed.out.count(name) == 1
    assert printed.err.count(name) == 2
