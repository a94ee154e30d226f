"""The benchmark of the check measures every stage and knows what it planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import data_check
from search.data.look import look_at
from search.records import ImageRow


def test_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_check.main(images=300, workers=1, json_file=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [stage["name"] for stage in figures["stages"]] == [
        "index",
        "open every image",
        "duplicates",
    ]
    assert all(stage["cpu_seconds"] > 0 for stage in figures["stages"])
    assert (figures["planted_copies"], figures["found_copies"], figures["other_pairs"]) == (3, 3, 0)
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("\n{") :]) == figures


def test_one_background(tmp_path: Path) -> None:
    data_check.main(images=200, workers=1, one_background=True, json_file=tmp_path / "f.json")
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["one_background"]
    assert len(figures["stages"]) == 3
    assert figures["found_copies"] == figures["planted_copies"] == 2


def test_images_are_small_and_clean(tmp_path: Path) -> None:
    data_check.draw_images(tmp_path, 100)
    files = sorted(tmp_path.rglob("*.jpg"))
    looks = look_at([ImageRow(file.name, 0, "any") for file in files], files)
    assert len(looks) == 100
    assert all(look.problems == () for look in looks)
    sides = [side for look in looks for side in (look.row.width_px, look.row.height_px)]
    assert 60 <= min(sides) <= max(sides) <= 100
