"""A real S3 server on this machine: moto's, in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def s3_server(
    *buckets: str, port: int | None = None, closed: bool = False
) -> Iterator[dict[str, str]]:
    """Start a server with these buckets; yields the environment that leads there.

    Args:
        closed: It knows nobody, once it has the buckets.
    """
    beside = Path(sys.executable).with_name("moto_server")
    server = str(beside) if beside.exists() else shutil.which("moto_server")
    if server is None:
        pytest.skip("needs moto_server, which the extra `dev` installs")
    port = port or free_port()
    command = [server, "-H", "127.0.0.1", "-p", str(port)]
    environment = os.environ | (
        {"INITIAL_NO_AUTH_ACTION_COUNT": f"{len(buckets)}"} if closed else {}
    )
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_for(port, process)
        for bucket in buckets:
            make = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")
            make.add_header("Authorization", _SIGNED)
            urllib.request.urlopen(make).close()
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None, "moto_server ended"
            assert time.monotonic() < deadline, "moto_server does not answer"
            time.sleep(0.2)
