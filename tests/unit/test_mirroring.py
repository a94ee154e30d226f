"""`--storage`: what is refused, and the thread that keeps the copy up while a study runs."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from search import mirroring
from search.clock import Interrupted
from search.config import StudyConfig
from search.errors import ResultsError
from search.mirror import Mirror
from search.mirroring import Mirroring, open_mirror
from search.storage import Storage
from search.terminal import Terminal
from tests.mirrored import SPACE, brought, files, kept, opened, watch, write
from tests.s3_server import free_port
from tests.study_files import load
from tests.unprivileged import public_folder, unprivileged


def test_another_study_and_other_files_are_refused(
    config: StudyConfig, root: Path, url: str, tmp_path: Path
) -> None:
    Mirror(root, Storage(url)).push()
    other = load(SPACE.replace("1.0e-1", "2.0e-1"))
    with pytest.raises(ResultsError, match=r"--storage .*must hold this very study.*\n.*space\.lr"):
        opened(other, tmp_path / "head", url)
    with pytest.raises(ResultsError, match=r"must be empty for --fresh, got the results of an ear"):
        opened(config, root, url, fresh=True)
    write(tmp_path, "head/thesis.txt", "mine")
    with pytest.raises(ResultsError, match=r"head: must be empty to bring the study from"):
        opened(config, tmp_path / "head", url)
    assert files(tmp_path / "head") == {"thesis.txt": b"mine"}
    taken = f"{url}-taken"
    Storage(taken).write("thesis.txt", b"mine")
    with pytest.raises(ResultsError, match=r"must be empty or hold .* study, got 1 other file"):
        opened(config, root, taken)
    assert set(Storage(taken).list_files()) == {"thesis.txt"}


@pytest.mark.parametrize("inside", ["", "/..", "/study"])
def test_a_folder_is_not_mirrored_into_itself(config: StudyConfig, root: Path, inside: str) -> None:
    with pytest.raises(ResultsError, match="must be apart from the results"):
        opened(config, root, f"{root}{inside}")


def test_a_dry_run_writes_nothing(config: StudyConfig, tmp_path: Path) -> None:
    open_mirror(config, tmp_path / "cars", str(tmp_path / "s"), fresh=False, dry_run=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("s3")
def test_storage_out_of_reach_is_one_message_in_seconds(
    config: StudyConfig, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(url: str) -> str:
        begin = time.monotonic()
        with pytest.raises(ResultsError) as caught:
            opened(config, root, url)
        assert caught.value.exit_code == 2
        assert time.monotonic() - begin < 30
        return str(caught.value)

    text = refusal("s3://no-such-bucket/x")
    assert "s3://no-such-bucket/x: must be reachable and writable, got NO_SUCH_BUCKET" in text
    assert "Request ID" not in text
    for nonsense in ("nfs://server/x", "s3://", "s3://bucket/x?speed=9"):
        assert f"--storage {nonsense}: must be a folder or a URL like" in refusal(nonsense)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    text = refusal("s3://bucket/x")
    assert "must be reachable and writable, got NETWORK_CONNECTION: Could not connect" in text
    with public_folder() as folder, unprivileged():
        assert "got Permission denied" in refusal(f"{folder}/x")
    write(root.parent, "a file", "")
    assert "must be reachable and writable, got " in refusal(f"{root.parent}/a file/x")


class Spoken:
    """A terminal that is no terminal, and what was said on it."""

    def __init__(self) -> None:
        self.terminal = Terminal()
        self._text = io.StringIO()
        self.terminal.errors = Console(file=self._text, soft_wrap=True)

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirroring, "PUSH_SECONDS", 0.02)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.usefixtures("often")
def test_it_is_kept_up_while_the_study_runs_and_once_more_at_the_end(
    config: StudyConfig, root: Path, url: str, tmp_path: Path
) -> None:
    storage, spoken = Storage(url), Spoken()
    with Mirroring(opened(config, root, url), spoken.terminal).running():
        until(lambda: ".mirror.json" in storage.list_files())
        write(root, "summary.json", "1")
        until(lambda: "summary.json" in storage.list_files())
        write(root, "summary.json", "the end")
    assert storage.read("summary.json") == b"the end"
    assert not spoken.lines


@pytest.mark.parametrize("how", [Interrupted, ValueError])
def test_it_is_complete_whatever_ended_the_study(
    config: StudyConfig, root: Path, tmp_path: Path, how: type[BaseException]
) -> None:
    url = str(tmp_path / "s")

    def end() -> None:
        write(root, "summary.json", "as far as it came")
        raise how

    with pytest.raises(how), Mirroring(opened(config, root, url), Terminal()).running():
        end()
    assert brought(url, tmp_path / "head") == kept(root)


class Flaky:
    """Storage that may be out of reach for a while."""

    def __init__(self) -> None:
        self.is_down, self.num_refused = False, 0

    def __call__(self, kind: str, name: str) -> None:
        if self.is_down:
            self.num_refused += 1
            raise OSError("the bucket is on fire")


@pytest.mark.usefixtures("often")
def test_a_study_outlives_its_storage_and_tells_once(root: Path, tmp_path: Path) -> None:
    flaky, spoken, url = Flaky(), Spoken(), str(tmp_path / "s")
    with Mirroring(Mirror(root, watch(url, flaky)), spoken.terminal).running():
        flaky.is_down = True
        for number in count():
            write(root, "summary.json", f"{number}")
            if flaky.num_refused > 2:
                break
            time.sleep(0.01)
        flaky.is_down = False
    assert brought(url, tmp_path / "head") == kept(root)
    assert len(spoken.lines) == 1
    assert f"--storage {url}: cannot be written just now, got the bucket is on" in spoken.lines[0]


def test_results_that_could_not_be_sent_are_an_error_at_the_end(root: Path, tmp_path: Path) -> None:
    flaky, url = Flaky(), str(tmp_path / "s")
    flaky.is_down = True
    words = f"--storage {url}: must take all results at the end, got the bucket is on fire"
    with (
        pytest.raises(ResultsError, match=words),
        Mirroring(Mirror(root, watch(url, flaky)), Terminal()).running(),
    ):
        pass
    spoken = Spoken()
    with (
        pytest.raises(Interrupted),
        Mirroring(Mirror(root, watch(url, flaky)), spoken.terminal).running(),
    ):
        raise Interrupted
    assert f"error: {words}" in spoken.lines[-1]
