"""Unpack a .zip of photos beside itself: once, whole or not at all, and never outside its folder.

A killed unpacking leaves only a hidden folder, which the next one replaces. Two studies that start
at once unpack once. A zip that changed is unpacked anew.
"""

from __future__ import annotations

import errno
import json
import lzma
import re
import shutil
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from filelock import FileLock

from search.data.layout import shown
from search.errors import DatasetError, ResourceError
from search.findings import show
from search.records import write_json

# Photos hardly shrink in a zip; drawings with much white shrink a hundredfold.
_MAX_RATIO = 200
_SAFE_BYTES = 2**30  # an archive that unpacks to less is no bomb, whatever its ratio
_SPARE_BYTES = 256 * 2**20  # of disk, left free
_UNIX = 3  # ZipInfo.create_system of archives whose backslashes are part of a name
_ENCRYPTED = 0x1
_COPY_BYTES = 2**20
_MAX_SHOWN = 5
_NOTE = ".unpacked.json"
_BAD_NAME = (
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),  # a file in the place of another's folder
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# What zipfile raises on damaged bytes, and on methods of packing that Python does not know.
_DAMAGED = (BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class Archive:
    """A zip that may be unpacked: every member stays inside and the disk has room."""

    path: Path
    members: tuple[tuple[ZipInfo, tuple[str, ...]], ...]
    """Each file with the parts of its path; hidden files and those of a Mac are left out."""

    @property
    def num_bytes(self) -> int:
        """Bytes when unpacked."""
        return sum(info.file_size for info, _ in self.members)


def is_archive(root: Path) -> bool:
    """Tell by its name whether a root is a zip."""
    return root.suffix.casefold() == ".zip" and root.is_file()


def unpacked_folder(path: Path) -> Path | None:
    """Return the folder that a zip is unpacked in; None when it is not, or changed since.

    Raises:
        DatasetError: A folder of that name is there that is not ours to replace.
    """
    folder = _folder(path)
    if not folder.exists():
        return None
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DatasetError(
            f"{path}: would be unpacked in {folder.name} beside it, got something else there. "
            "Rename that, or unpack the zip by hand and name its folder with --data."
        ) from None
    return folder if note == _stamp(path) else None


def unpack(path: Path) -> Path:
    """Unpack a zip beside itself, unless that was done before.

    Returns:
        The folder `<name>.zip.unpacked`.

    Raises:
        DatasetError: Damaged, locked with a password, or with members that reach outside.
        ResourceError: No room on the disk, or more data than photos can be packed into.
    """
    path = path.resolve()
    done = unpacked_folder(path)
    if done is not None:
        return done
    try:
        with FileLock(path.with_name(f".{path.name}.lock")):
            return unpacked_folder(path) or _unpack(open_archive(path))
    except OSError as error:
        raise DatasetError(
            f"{path}: must be unpacked beside it, got {error.strerror or error} in {path.parent}. "
            f"{_way_out(error)}, or unpack it by hand and name its folder with --data."
        ) from error


def unpacked_above(path: Path) -> Path | None:
    """Return the folder of an unpacked zip that a file lies in, None when in none."""
    return next((folder for folder in path.parents if (folder / _NOTE).is_file()), None)


def open_archive(path: Path) -> Archive:
    """Read a zip's list of contents, and refuse what must not be unpacked.

    Raises:
        DatasetError, ResourceError: As `unpack`.
    """
    try:
        with ZipFile(path) as packed:
            infos = [info for info in packed.infolist() if not info.is_dir()]
    except OSError as error:
        raise DatasetError(
            f"{path}: must be readable, got {error.strerror or error}. Mend its permissions."
        ) from error
    except (*_DAMAGED, ValueError) as error:
        raise _damaged(path, error) from error
    members = [(info, _parts(info)) for info in infos]
    _refuse(path, members)
    used = [(info, parts) for info, parts in members if not any(map(_is_skipped, parts))]
    archive = Archive(path, tuple(used))
    if not used:
        raise DatasetError(f"{path}: must hold images, got none. Pack the folder of photos anew.")
    _refuse_too_large(archive)
    return archive


def _unpack(archive: Archive) -> Path:
    folder = _folder(archive.path)
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    before = _stamp(archive.path)
    try:
        _extract(archive, beside)
        write_json(beside / _NOTE, before)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:  # on a full disk or Ctrl-C, what is there is of no use
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _extract(archive: Archive, folder: Path) -> None:
    with ZipFile(archive.path) as packed:
        for info, parts in archive.members:
            target = folder.joinpath(*parts)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(info) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _COPY_BYTES)
            except (*_DAMAGED, ValueError, RuntimeError) as error:
                raise _damaged(archive.path, error, info.filename) from error
            except OSError as error:
                if error.errno not in _BAD_NAME:
                    raise
                raise DatasetError(
                    f"{archive.path}: must hold files under names that can be written here, got "
                    f"{show(shown(info.filename))} ({error.strerror}). Rename it, and pack the "
                    "photos anew."
                ) from error


def _way_out(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "Free some space, move the zip to another disk"
    return "Copy the zip to a folder you may write to"


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.unpacked")


def _stamp(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"zip": path.name, "num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _parts(info: ZipInfo) -> tuple[str, ...]:
    """Return a member's path as parts; "" first for one that is absolute or empty."""
    name = info.filename
    if info.create_system != _UNIX:
        name = name.replace("\\", "/")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    return parts if parts and not name.startswith("/") else ("", *parts)


def _is_skipped(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _refuse(path: Path, members: list[tuple[ZipInfo, tuple[str, ...]]]) -> None:
    """Refuse members that could be written elsewhere, and those that cannot be read."""
    bad: list[str] = []
    for info, parts in members:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not parts[0] or ".." in parts or re.match("[A-Za-z]:", parts[0]):
            bad.append(f"{show(shown(info.filename))} leads out of its folder")
        elif stat.S_ISLNK(kind):
            bad.append(f"{show(shown(info.filename))} is a link")
        elif kind not in (0, stat.S_IFREG):
            bad.append(f"{show(shown(info.filename))} is no plain file")
    if bad:
        more = f" and {len(bad) - _MAX_SHOWN:,} more" if len(bad) > _MAX_SHOWN else ""
        raise DatasetError(
            f"{path}: must hold plain files inside its own folder, got "
            f"{', '.join(bad[:_MAX_SHOWN])}{more}. Do not trust it, or pack the photos anew."
        )
    if any(info.flag_bits & _ENCRYPTED for info, _ in members):
        raise DatasetError(
            f"{path}: must open without a password, got locked files. "
            "Unpack it by hand, and name its folder with --data."
        )


def _refuse_too_large(archive: Archive) -> None:
    packed, total = archive.path.stat().st_size, archive.num_bytes
    if total > _SAFE_BYTES and total > _MAX_RATIO * packed:
        raise ResourceError(
            f"{archive.path}: may unpack to at most {_MAX_RATIO} times its size, got "
            f"{total / max(1, packed):,.0f} times ({total / 1e9:,.1f} GB). That is no archive of "
            "photos; unpack it by hand if you trust it."
        )
    free = shutil.disk_usage(archive.path.parent).free
    if total + _SPARE_BYTES > free:
        raise ResourceError(
            f"{archive.path}: needs {(total + _SPARE_BYTES) / 1e6:,.0f} MB of disk beside it to "
            f"unpack, got {free / 1e6:,.0f} MB. Free some space, or move the zip to another disk."
        )


def _damaged(path: Path, error: Exception, member: str = "") -> DatasetError:
    where = f" in {show(shown(member))}" if member else ""
    return DatasetError(
        f"{path}: must be an undamaged zip, got {error or type(error).__name__}{where}. "
        "Download or pack it again."
    )
