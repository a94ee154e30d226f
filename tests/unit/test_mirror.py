"""The copy of the results elsewhere: complete, and never ahead of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock

import pytest

from search.config import StudyConfig
from search.errors import ResultsError
from search.mirror import Mirror
from search.mirroring import pull
from search.storage import Storage
from tests.mirrored import NAMES, brought, kept, opened, watch, write


def test_a_machine_with_nothing_gets_all_that_is_not_made_anew(
    root: Path, url: str, tmp_path: Path
) -> None:
    Mirror(root, Storage(url)).push()
    there = brought(url, tmp_path / "head")
    assert there == kept(root)
    assert set(there) == {*NAMES, ".stages/study.json"}


def test_only_changes_are_sent_by_this_command_and_by_the_next(root: Path, url: str) -> None:
    sent: list[tuple[str, str]] = []
    storage = watch(url, lambda *change: sent.append(change))
    mirror = Mirror(root, storage)
    mirror.push()
    assert {name for _, name in sent} == {*NAMES, ".stages/study.json", ".mirror.json"}
    sent.clear()
    mirror.push()
    assert not sent
    write(root, "best/weights.safetensors", "best/weights.safetensorz\n" * 3)  # the same size
    mirror.push()
    note = ("write", ".mirror.json")
    assert sent == [("write", "best/weights.safetensors"), note]
    sent.clear()
    (root / "study.yaml").unlink()
    Mirror(root, storage).push()
    assert sent == [("remove", "study.yaml"), note]


def test_what_is_gone_here_goes_there_and_what_is_not_ours_stays(
    root: Path, url: str, tmp_path: Path
) -> None:
    storage = Storage(url)
    mirror = Mirror(root, storage)
    mirror.push()
    storage.write("notes.txt", b"mine")
    storage.write("best/notes.txt", b"mine")
    (root / "study/checkpoints/search/3/checkpoint.pt").unlink()
    (root / "study/checkpoints/search/3").rmdir()
    (root / "best/weights.safetensors").unlink()
    (root / ".stages/search.json").unlink()
    mirror.push()
    left = set(storage.list_files())
    assert {"notes.txt", "best/notes.txt"} < left
    assert not left & {"best/weights.safetensors", ".stages/search.json"}
    assert not any("checkpoint" in name for name in left)
    from pyarrow import fs

    folders = storage._files.get_file_info(fs.FileSelector(storage._root, recursive=True))
    assert not any("checkpoints" in info.path for info in folders), "no empty folder stays"


def test_a_marker_that_nobody_noted_is_removed_all_the_same(root: Path, url: str) -> None:
    storage = Storage(url)
    Mirror(root, storage).push()
    storage.write(".stages/report.json", b"{}")  # as of a command killed before it noted that
    Mirror(root, storage).push()
    assert ".stages/report.json" not in storage.list_files()


class Killed(Exception):
    pass


def test_cut_anywhere_it_is_a_state_to_go_on_from(root: Path, url: str, tmp_path: Path) -> None:
    """Markers stand for files, checkpoints for lines of the ledger: never before them."""
    write(root, "study/events.jsonl", '{"checkpoint": "1"}\n')
    write(root, "study/checkpoints/search/1/checkpoint.pt", "one")
    write(root, ".stages/retrain.json", '{"model": "old"}')
    write(root, "best/weights.safetensors", "old")
    Mirror(root, Storage(url)).push()
    for number in count(1):
        case = f"{url}-{number}"
        write(root, "best/weights.safetensors", "old")
        write(root, ".stages/retrain.json", '{"model": "old"}')
        (root / ".stages/evaluate.json").unlink(missing_ok=True)
        Mirror(root, Storage(case)).push()

        write(root, f"study/checkpoints/search/{number + 1}/checkpoint.pt", "next")
        with (root / "study/events.jsonl").open("a") as file:
            file.write(json.dumps({"checkpoint": str(number + 1)}) + "\n")
        write(root, "best/weights.safetensors", "new")
        write(root, ".stages/retrain.json", '{"model": "new"}')
        write(root, "test/metrics.json", "{}")
        write(root, ".stages/evaluate.json", "{}")
        left = iter(range(number))

        def cut(kind: str, name: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed

        is_cut = False
        try:
            Mirror(root, watch(case, cut)).push()
        except Killed:
            is_cut = True
        there = brought(case, tmp_path / f"head {number}")
        lines = there["study/events.jsonl"].decode().splitlines()
        noted = {json.loads(line)["checkpoint"] for line in lines}
        saved = {name.split("/")[3] for name in there if name.endswith("checkpoint.pt")} - {"3"}
        assert saved <= noted
        if json.loads(there[".stages/retrain.json"])["model"] == "new":
            assert there["best/weights.safetensors"] == b"new"
        if ".stages/evaluate.json" in there:
            assert "test/metrics.json" in there
        if not is_cut:
            assert there == kept(root)
            return


def test_a_checkpoint_is_never_ahead_of_the_ledger(root: Path, url: str, tmp_path: Path) -> None:
    """A trial goes on at every change that a push makes: an epoch is noted, then saved."""
    checkpoint, ledger = (
        root / "study/checkpoints/search/3/checkpoint.pt",
        root / "study/events.jsonl",
    )
    ledger.write_text("")
    epochs, alone = iter(range(1, 100)), Lock()

    def train(kind: str, name: str) -> None:
        with alone:  # files are sent by several threads
            epoch = next(epochs)
            with ledger.open("a") as file:
                file.write(json.dumps({"epoch": epoch}) + "\n")
            beside = checkpoint.with_name(".new")
            beside.write_text(str(epoch))
            beside.replace(checkpoint)

    def train_and_die(kind: str, name: str) -> None:
        train(kind, name)
        if next(left, None) is None:
            raise Killed

    train("", "")
    for number in range(8):
        left = iter(range(99 if number % 2 == 0 else number))
        with suppress(Killed):
            Mirror(root, watch(url, train_and_die)).push()
        there = brought(url, tmp_path / f"head {number}")
        noted = [json.loads(line)["epoch"] for line in there["study/events.jsonl"].splitlines()]
        assert int(there["study/checkpoints/search/3/checkpoint.pt"]) <= noted[-1]


def test_the_first_push_cut_anywhere_is_gone_on_with(root: Path, url: str, tmp_path: Path) -> None:
    for number in range(1, 4):
        case, left = f"{url}-{number}", iter(range(number))

        def cut(kind: str, name: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed

        with pytest.raises(Killed):
            Mirror(root, watch(case, cut)).push()
        Mirror(root, Storage(case)).push()
        assert brought(case, tmp_path / f"head {number}") == kept(root)


def test_what_changes_during_a_push_is_sent_whole_or_later(
    root: Path, url: str, tmp_path: Path
) -> None:
    """A stage ends, a ledger grows, a file is replaced, another one goes."""
    ledger = root / "study/events.jsonl"
    ledger.write_bytes(b'{"a": 1}\n{"b"')  # a line that is being written
    done: list[bool] = []

    def meanwhile(kind: str, name: str) -> None:
        if name != "study.yaml" or done:
            return
        done.append(True)
        with ledger.open("ab") as file:
            file.write(b': 2}\n{"c": 3}\n')
        write(root, "confirm/confirm.csv", "late")
        write(root, ".stages/confirm.json", "{}")
        (root / "test/cam/-1.png").unlink(missing_ok=True)
        write(root, "best/.beside.tmp", "other weights")
        (root / "best/.beside.tmp").replace(root / "best/weights.safetensors")

    mirror = Mirror(root, watch(url, meanwhile))
    mirror.push()
    assert done
    there = brought(url, tmp_path / "head")
    assert there["study/events.jsonl"] == b'{"a": 1}\n'
    assert ".stages/confirm.json" not in there
    weights = there["best/weights.safetensors"].decode()
    assert weights in ("other weights", "best/weights.safetensors\n" * 3)
    mirror.push()
    assert brought(url, tmp_path / "next head") == kept(root)


def test_a_pull_cut_short_is_begun_again(
    config: StudyConfig, root: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(config, root, url).push()
    head = tmp_path / "head"
    fetch, left = Storage.fetch, iter(range(3))

    def cut(storage: Storage, name: str, path: Path) -> None:
        fetch(storage, name, path)
        if next(left, None) is None:
            raise OSError("the line went dead")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "fetch", cut)
        with pytest.raises(ResultsError, match=r"must be copied to .*, got the line went dead"):
            pull(opened(config, head, url))
    assert not (head / "study").exists(), "no command may take a part of a study for all of it"
    assert brought(url, head) == kept(root)


def test_a_study_that_was_brought_is_mirrored_on(
    config: StudyConfig, root: Path, url: str, tmp_path: Path
) -> None:
    opened(config, root, url).push()
    head = tmp_path / "head"
    mirror = opened(config, head, url)
    pull(mirror)
    with (head / "study/events.jsonl").open("a") as file:
        file.write("{}\n")
    mirror.push()
    there = Storage(url).read("study/events.jsonl")
    assert there == (head / "study/events.jsonl").read_bytes()
    with pytest.raises(ResultsError, match=r"no other trials than .*, got others or more"):
        opened(config, root, url)
    write(root, "study/events.jsonl", "x" * 1000)
    with pytest.raises(ResultsError, match="must hold no other trials"):  # as long, but not it
        opened(config, root, url)


def test_ten_thousand_files_are_looked_through_in_no_time(root: Path, tmp_path: Path) -> None:
    for number in range(10_000):
        if number % 100 == 0:
            (root / f"tensorboard/{number // 100}").mkdir(parents=True)
        (root / f"tensorboard/{number // 100}/{number}").touch()
    mirror = Mirror(root, Storage(str(tmp_path / "s")))
    mirror.push()
    begin = os.times()
    mirror.push()
    end = os.times()
    assert end.user + end.system - begin.user - begin.system < 2
