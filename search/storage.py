"""A folder or a bucket, by its URL: what is in it, and one file there or back.

A path is a folder, on this disk or on a mount; `s3://bucket/folder` and whatever else pyarrow knows
is a bucket. Credentials and endpoint come from where Amazon's own tools take them, such as
AWS_ACCESS_KEY_ID, AWS_PROFILE and AWS_ENDPOINT_URL; `?region=…&endpoint_override=…` in the URL
overrules them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import ResultsError

_PIECE_BYTES = 1 << 22
_PROBE = ".write-test"
TROUBLE = (ValueError, OSError, NotImplementedError)
"""What pyarrow raises where a storage does not exist, cannot be reached, or refuses."""

SCHEMES = "s3|gs|gcs|abfs|abfss|hdfs|file"
"""What pyarrow can open, as a pattern."""


def is_url(text: str) -> bool:
    """Tell a URL, of whatever kind, from a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def is_storage_url(text: str) -> bool:
    """Tell a URL that can be opened."""
    return re.match(f"({SCHEMES})://.", text) is not None


class Storage:
    """Files below one folder or prefix, by names with forward slashes.

    All methods raise OSError where the storage cannot be reached or refuses.

    Args:
        url: As the user named it.

    Attributes:
        folder: Where it is on this machine's file system, None in a bucket.

    Raises:
        TROUBLE: No such storage; `reason_of` says why.
    """

    def __init__(self, url: str) -> None:
        from pyarrow import fs  # takes a moment, and most commands do without

        self.url = url
        self._files: Any
        if is_url(url):
            self._files, self._root = fs.FileSystem.from_uri(_in_one_piece(url))
        else:
            self._files, self._root = fs.LocalFileSystem(), str(_at_home(url).resolve())
        if not self._root.strip("/"):
            raise ValueError("no bucket or folder in it")
        is_local = isinstance(self._files, fs.LocalFileSystem)
        self.folder = Path(self._root) if is_local else None

    def reach(self) -> None:
        """Find out within ten seconds whether anybody answers.

        All other methods try again for minutes, as they should in the midst of a study.

        Raises:
            OSError: Nobody does. What it thinks of the credentials and the bucket, others say.
        """
        from pyarrow import fs

        if not isinstance(self._files, fs.S3FileSystem):
            return
        made_of = dict(self._files.__reduce__()[1][0])
        once_more = fs.AwsStandardS3RetryStrategy(max_attempts=2)
        made_of |= {"connect_timeout": 4, "request_timeout": 4, "retry_strategy": once_more}
        try:
            fs.S3FileSystem(**made_of).get_file_info(self._root.split("/")[0])
        except OSError as error:
            if "NETWORK_CONNECTION" in str(error):
                raise

    def list_files(self) -> dict[str, int]:
        """Return every file's name and size in bytes.

        Raises:
            FileNotFoundError: Its bucket does not exist.
        """
        return {name: size for name, (size, _) in self.list_stamps().items()}

    def list_stamps(self) -> dict[str, tuple[int, int]]:
        """Return every file's name, size in bytes, and when it was written in ns since 1970.

        Raises:
            FileNotFoundError: Its bucket does not exist.
        """
        from pyarrow import fs

        self._check_bucket()
        below = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        infos = [info for info in self._files.get_file_info(below) if info.is_file]
        names = [info.path.removeprefix(self._root).lstrip("/") for info in infos]
        stamps = dict(zip(names, ((info.size, info.mtime_ns or 0) for info in infos), strict=True))
        return {n: stamp for n, stamp in stamps.items() if n != _PROBE and not self._is_cut(n)}

    def stamp(self, name: str) -> tuple[int, int]:
        """Return a file's size in bytes, and when it was written in ns since 1970.

        Raises:
            FileNotFoundError: There is no such file.
        """
        info = self._files.get_file_info(self._path(name))
        if not info.is_file:
            self._check_bucket()
            raise FileNotFoundError(f"no file {name}")
        return info.size, info.mtime_ns or 0

    def _check_bucket(self) -> None:
        """Raise if there is none: it looks like an empty one otherwise."""
        from pyarrow import fs

        bucket = self._root.split("/")[0]
        if not self.folder and self._files.get_file_info(bucket).type == fs.FileType.NotFound:
            raise FileNotFoundError(f"no bucket {bucket}")

    def check_writable(self) -> None:
        """Write a file and remove it."""
        self.now()

    def now(self) -> float:
        """Return the seconds since 1970 by the storage's own clock: a file is written to see it."""
        self.write(_PROBE, b"")
        _, nanoseconds = self.stamp(_PROBE)
        self.remove(_PROBE)
        return nanoseconds / 1e9

    def write(self, name: str, content: BinaryIO | bytes, num_bytes: int = 0) -> None:
        """Write a file at once: a reader sees the old one or all of the new one.

        Args:
            content: Bytes, or an open file of which the next `num_bytes` are taken, or as many as
                there are.
        """
        path = self._path(name)
        target = f"{path}.tmp" if self.folder else path
        if self.folder:
            self._files.create_dir(path.rpartition("/")[0])
        with self._files.open_output_stream(target) as copy:
            if isinstance(content, bytes):
                copy.write(content)
            else:
                while piece := content.read(min(_PIECE_BYTES, num_bytes)):
                    copy.write(piece)
                    num_bytes -= len(piece)
        if self.folder:
            self._files.move(target, path)

    def read(self, name: str) -> bytes:
        with self._files.open_input_stream(self._path(name)) as source:
            return bytes(source.read())

    def fetch(self, name: str, path: Path) -> None:
        """Copy one file to a path, whose folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._files.open_input_stream(self._path(name)) as source, path.open("wb") as copy:
            while piece := source.read(_PIECE_BYTES):
                copy.write(piece)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, and the folders that it leaves empty."""
        try:
            self._files.delete_file(self._path(name))
        except FileNotFoundError:
            return
        from pyarrow import fs

        parts = name.split("/")[:-1]
        while parts:
            folder = self._path("/".join(parts))
            left = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            if left:
                return
            self._files.delete_dir(folder)
            parts.pop()

    def _is_cut(self, name: str) -> bool:
        return self.folder is not None and name.endswith(".tmp")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _in_one_piece(url: str) -> str:
    """Ask for one request a small file instead of the three that pyarrow begins large ones with."""
    if not url.lower().startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def open_storage(flag: str, url: str) -> Storage:
    """Open what a flag names.

    Raises:
        ResultsError: There is no such thing, or it cannot be reached.
    """
    if re.match(f"({SCHEMES}):", url) and not is_storage_url(url):
        raise ResultsError(
            f"{flag} {url}: must be a folder or a URL like s3://bucket/folder, got one that lacks "
            "a slash or a bucket. Write scheme://bucket/folder, or ./name for such a folder."
        )
    try:
        return Storage(url)
    except TROUBLE as error:
        raise ResultsError(
            f"{flag} {url}: must be a folder or a URL like s3://bucket/folder that can be "
            f"reached, got {reason_of(error)}. Check its name and the network."
        ) from error


_REFUSALS = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
_PLAIN = {
    "No response body": "the credentials are missing, wrong, or not for this bucket",
    "Timeout was reached": "no answer",
}


def _at_home(path: str) -> Path:
    """Expand ~ and ~user.

    Raises:
        ValueError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"no home folder for {path.split('/')[0]}") from error


def _has_credentials() -> bool:
    """Tell whether there is anything that Amazon's tools take for credentials."""
    named = (
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    own = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    if any(name in os.environ for name in named):
        return True
    with suppress(ValueError):
        return _at_home(own).exists()
    return False


def reason_of(error: Exception) -> str:
    """Return what went wrong in a few words; pyarrow's own are many, and end in a request's id."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    found = re.search(r"AWS Error (\w+) during \w+ operation: (?:curlCode: \d+, )?([^;(]*)", text)
    if found:
        detail = found[2].strip().rstrip(".")
        text = f"{found[1]}: {_PLAIN.get(detail, detail)}"
    if found and found[1] in _REFUSALS and not _has_credentials():
        text += "; there are none in AWS_ACCESS_KEY_ID, AWS_PROFILE or ~/.aws"
    if text.startswith("Path does not exist"):
        return text.split(". Detail")[0]
    detail = re.search(r"Detail: \[errno \d+\] (.*)", text)
    return (detail[1] if detail else text.split("\n")[0]).rstrip(".: ")
