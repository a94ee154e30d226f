"""A study outlives the machine that its driver ran on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from search.storage import Storage
from tests.e2e.conftest import make_study, run_search, start_search, wait_for
from tests.s3_server import s3_server

URL = "s3://bucket/studies/tiny"


def events(log: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.decode().splitlines()]


def finished(log: bytes) -> dict[int, str]:
    ends = [e for e in events(log) if e["event"] == "end" and e["state"] != "interrupted"]
    return {e["number"]: e["state"] for e in ends}


@pytest.mark.timeout(1800)
def test_a_study_goes_on_where_its_machine_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED_SEARCH_CHECKPOINT_SECONDS", "0")  # one at every epoch, mirrored too
    lost, head = make_study(tmp_path / "lost"), tmp_path / "head"
    shutil.copytree(lost, head, symlinks=True)
    command = ("--space", "tiny.yaml", "--trials", "8", "--epochs", "2", "--storage", URL)
    results = head / "results" / "tiny"
    with s3_server("bucket") as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        storage = Storage(URL)

        def there() -> bytes:
            is_begun = "study/events.jsonl" in storage.list_files()
            return storage.read("study/events.jsonl") if is_begun else b""

        process = start_search(lost, *command, env=env)
        wait_for(lambda: len(finished(there())) >= 2)
        process.kill()
        process.communicate()  # two of Ray's processes take a minute to notice, and harm nobody
        before = there()

        again = run_search(head, *command, env=env)
        assert again.returncode == 0, again.stdout + again.stderr
        assert f"results brought from {URL}" in again.stdout
        log = (results / "study" / "events.jsonl").read_bytes()
        assert log.startswith(before)
        assert finished(before).items() <= finished(log).items()
        starts = Counter(e["number"] for e in events(log) if e["event"] == "start")
        assert all(starts[number] == 1 for number in finished(before)), "none is trained again"
        assert set(starts) == set(range(8))
        for number in starts:
            trained = {
                e["epoch"] for e in events(log) if (e["number"], e["event"]) == (number, "epoch")
            }
            assert trained == set(range(1, len(trained) + 1)), (
                "no checkpoint was ahead of its ledger"
            )

        # The copy is all there is, down to the report; a finished study is brought as one.
        shutil.rmtree(results)
        done = run_search(head, *command, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "already finished" in done.stdout
        assert (results / "report" / "index.html").exists()
        assert there() == log
