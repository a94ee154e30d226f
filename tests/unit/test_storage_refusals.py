"""A bucket that cannot be had is one clear message within seconds, whoever asks for it."""

from __future__ import annotations

import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.config import StudyConfig
from search.data.remote import fetch_url
from search.errors import DatasetError, ResultsError
from search.storage import Storage, open_storage, reason_of
from tests.mirrored import opened
from tests.s3_server import free_port, s3_server

SECONDS = 45.0
"""On a machine that has other things to do; some ten on an idle one."""
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
ALONE = {"AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def _forbidden() -> Iterator[dict[str, str]]:
    with s3_server("bucket", closed=True) as environment:
        yield environment


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Amazon's answer to whoever shows no credentials; moto's is an error of its own."""

    def _refuse(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_DELETE = _refuse

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _without_credentials() -> Iterator[dict[str, str]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ALONE | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


@contextmanager
def _no_such_bucket() -> Iterator[dict[str, str]]:
    with s3_server("another") as environment:
        yield environment


@contextmanager
def _closed_port() -> Iterator[dict[str, str]]:
    yield KEYS | ALONE | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}


@contextmanager
def _silent_port() -> Iterator[dict[str, str]]:
    """Something that listens and never says a word, as a firewall does."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        port = silent.getsockname()[1]
        yield KEYS | ALONE | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "forbidden": (_forbidden, "(ACCESS_DENIED: the credentials are|INVALID_ACCESS_KEY_ID: )"),
    "without credentials": (
        _without_credentials,
        "there are none in AWS_ACCESS_KEY_ID, AWS_PROFILE or ~/.aws",
    ),
    "no such bucket": (_no_such_bucket, "bucket"),
    "closed port": (_closed_port, "NETWORK_CONNECTION: Could not connect to server"),
    "silent port": (_silent_port, "NETWORK_CONNECTION: no answer"),
}


@pytest.fixture(params=list(CASES))
def reason(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """Have a bucket that cannot be had; yields what is to be said of it."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home without credentials"))
    make, said = CASES[request.param]
    with make() as environment:  # type: ignore[attr-defined]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield said


def test_whoever_asks_for_it_is_told_at_once(
    reason: str, config: StudyConfig, root: Path, tmp_path: Path
) -> None:
    begin = time.monotonic()
    with pytest.raises(ResultsError) as storage:
        opened(config, root, "s3://bucket/study")
    with pytest.raises(DatasetError) as data:
        fetch_url("s3://bucket/photos", tmp_path / "photos")
    with pytest.raises(DatasetError) as packed:
        fetch_url("s3://bucket/photos.zip", tmp_path / "photos.zip")
    assert time.monotonic() - begin < 3 * SECONDS
    for caught, what in (
        (storage, "--storage s3://bucket/study: must be reachable and writable, got "),
        (data, "s3://bucket/photos: must be readable, got "),
        (packed, "s3://bucket/photos.zip: must be readable, got "),
    ):
        text = str(caught.value)
        assert text.startswith(what)
        assert re.search(reason, text.removeprefix(what))
        assert "the credentials in the environment" in text
        assert "\n" not in text
        assert "Request ID" not in text
        assert caught.value.exit_code == 2


@pytest.mark.timeout(300)
def test_the_command_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    """Nor does a request that is still under way keep it from ending."""
    with _silent_port() as environment:
        command = [sys.executable, "-m", "search.run", "--space", "spaces/digits.yaml"]
        command += ["--storage", "s3://bucket/x", "--results", str(tmp_path / "results")]
        begin = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=250
        )
    assert time.monotonic() - begin < 100
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    error = done.stderr.replace("\n", " ")
    assert "must be reachable and writable, got NETWORK_CONNECTION: no answer" in error
    assert not (tmp_path / "results").exists()


def test_what_answers_is_reached(s3: None) -> None:
    Storage("s3://bucket/x").reach()
    Storage("s3://no-such-bucket/x").reach()  # which the first real question will tell


@pytest.mark.parametrize("url", ["s3:/bucket/x", "s3:bucket", "s3://", "gs:/bucket"])
def test_a_mistyped_url_is_no_folder(url: str) -> None:
    with pytest.raises(ResultsError, match="lacks a slash or a bucket"):
        open_storage("--storage", url)


def test_a_reason_is_short() -> None:
    text = "When x: AWS Error SLOW_DOWN during PutObject operation: Reduce it. (Request ID: 7)"
    assert reason_of(OSError(text)) == "SLOW_DOWN: Reduce it"


def test_nobodys_home_is_no_folder() -> None:
    with pytest.raises(ResultsError, match="no home folder for ~no-such-user"):
        open_storage("--storage", "~no-such-user/x")


def test_credentials_in_nobodys_home_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "~no-such-user/credentials")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    text = "When x: AWS Error ACCESS_DENIED during PutObject operation: No response body."
    assert "there are none in AWS_ACCESS_KEY_ID" in reason_of(OSError(text))
