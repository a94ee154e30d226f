"""The results folder: locked, set aside only when it is one, never half marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.errors import ResultsError
from search.folder_lock import FolderLock
from search.results import ResultsFolder, open_results, set_aside


def test_a_marker_holds_for_its_own_inputs_only(tmp_path: Path) -> None:
    folder = open_results(tmp_path / "r")
    folder.mark_done("search", "abc", 1.5, reason="all trials done")
    assert folder.is_done("search", "abc")
    assert not folder.is_done("search", "abd")
    assert not folder.is_done("confirm", "abc")
    folder.marker("search").write_text("{cut")
    assert not folder.is_done("search", "abc")


def test_fresh_renames_an_earlier_study(tmp_path: Path) -> None:
    folder = open_results(tmp_path / "r")
    folder.mark_done("study", "abc", 0.0)
    kept = set_aside(tmp_path / "r")
    assert kept is not None
    assert ResultsFolder(kept).is_done("study", "abc")
    assert not (tmp_path / "r").exists()
    assert set_aside(tmp_path / "r") is None


def test_fresh_never_touches_anything_else(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_text("")
    with pytest.raises(ResultsError, match="earlier study"):
        set_aside(photos)
    assert (photos / "cat.jpg").exists()


def test_fresh_leaves_a_folder_in_use_where_it_is(tmp_path: Path) -> None:
    folder = open_results(tmp_path / "r")
    folder.mark_done("study", "abc", 0.0)
    lock = FolderLock(folder.root)
    lock.acquire()
    with pytest.raises(ResultsError, match="another run"):
        set_aside(tmp_path / "r")
    lock.release()
    assert folder.is_done("study", "abc")


def test_each_ledger_has_checkpoints_of_its_own(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    search = results.checkpoints_of("search", results.study / "events.jsonl")
    assert search == results.checkpoints / "search"
    one, other = (
        results.checkpoints_of("confirm", results.confirm / f"events-{identity}.jsonl")
        for identity in ("12ab", "34cd")
    )
    assert one != other
    assert one.parent == other.parent == results.checkpoints / "confirm"
