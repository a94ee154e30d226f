"""Tables hold any text, and come back as they were, to pandas too."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from search.records import read_csv, write_csv

HOSTILE = ["two\rlines", "\r", "a\r\nb", "\n", 'quo"te', "a, b", "-rf", "=1+1", " ü 鯨 ", "end\r\n"]


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [{"path": text, "label": text[::-1]} for text in HOSTILE]
    write_csv(tmp_path / "t.csv", ["path", "label"], rows)
    assert read_csv(tmp_path / "t.csv") == rows
    frame = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert frame.to_dict("records") == rows


def test_only_cells_that_need_it_are_quoted(tmp_path: Path) -> None:
    rows = [{"a": None, "b": 1.5, "other": "left out"}, {"a": "x y"}]
    write_csv(tmp_path / "t.csv", ["a", "b"], rows)
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n,1.5\nx y,\n"
