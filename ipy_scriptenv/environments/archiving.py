"""Write archives, whole or not at all: tar, with gzip or zstd over it or nothing.

The same content gives the same bytes: members are in order, and have neither owner nor time.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import secrets
import stat
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ipy_scriptenv.environments.manifests import MANIFEST, Manifest, PackedFile, archive_path
from ipy_scriptenv.errors import EnvironmentInUse, Interrupted, NotFound, NotPortable, WrongCall
from ipy_scriptenv.files import explained
from ipy_scriptenv.processes import Cancel

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Entry", "check_target", "packed_files", "write_archive"]

_LEVEL = 6
"""zstd's level. Of 123 MB of packages, 3 made 27.6 MB in 1.6 s, 6 made 25.0 in 4.4, 10 made 23.8 in
12.6 s; gzip 29.7 in 6.1 s."""

_GZIP_LEVEL = 6
"""gzip's level: 9, its default in Python, takes five times as long for one part in a hundred."""

_TIME = 315_532_800
"""1980-01-01, the time of every member: the earliest that zip files, which may follow, can hold."""

_PIECE = 1 << 20
_ABANDONED = 3600.0
"""Seconds after which nobody writes to an unfinished archive any more."""

_SUFFIXES = (".tar.zst", ".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file that is to be packed: its content, or the file that holds it."""

    path: str
    content: bytes | Path
    executable: bool = False


def check_target(target: Path, *, replacing: bool) -> None:
    """Check that an archive can be written to a path, before it is made.

    :param replacing: whether a file that stands there may go
    :raises WrongCall: if its ending tells no format, or a file stands there
    """
    if not target.name.endswith(_SUFFIXES):
        msg = f"`{target}` ends in none of {', '.join(_SUFFIXES)}."
        raise WrongCall(msg, hint="The ending chooses how it is compressed.")
    if target.is_dir():
        raise WrongCall(f"`{target}` is a folder.")
    if not target.parent.is_dir():
        raise NotFound(f"The folder `{target.parent}` does not exist.")
    if os.path.lexists(target) and not replacing:
        raise _exists(target)


def packed_files(entries: Iterable[Entry], *, cancel: Cancel) -> tuple[PackedFile, ...]:
    """Read each file once, and tell its size and checksum.

    :param cancel: ends it
    :raises NotPortable: if one has a name that another system could not bear
    :raises EnvironmentInUse: if one is gone
    :raises Interrupted: if it is ended
    """
    return tuple(_packed(entry, cancel) for entry in entries)


def _packed(entry: Entry, cancel: Cancel) -> PackedFile:
    try:
        path = archive_path(entry.path)
    except ValueError as error:
        raise NotPortable(f"{error}.") from None
    with _content(entry) as file:
        reading = _Digesting(file, cancel)
        size = sum(map(len, iter(lambda: reading.read(_PIECE), b"")))
    digest = reading.digest.hexdigest()
    return PackedFile(path=path, size=size, sha256=digest, executable=entry.executable)


def _content(entry: Entry) -> IO[bytes]:
    if isinstance(entry.content, bytes):
        return io.BytesIO(entry.content)
    try:
        return entry.content.open("rb")
    except FileNotFoundError as error:
        raise _changed(entry.path) from error


def write_archive(
    target: Path, manifest: Manifest, entries: Iterable[Entry], *, replacing: bool, cancel: Cancel
) -> str:
    """Write an archive; the same content gives the same bytes.

    :param entries: in the order of the manifest's files
    :param replacing: whether a file that stands there may go
    :param cancel: ends it; nothing is left then
    :returns: the SHA-256 of the archive
    :raises WrongCall: if a file stands there
    :raises EnvironmentInUse: if a file is not what the manifest says any more
    :raises Interrupted: if it is ended
    """
    _sweep(target)
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with explained(target):
        descriptor = os.open(temporary, flags, 0o666)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                with _compressed(file, target.name) as stream:
                    _write_members(stream, manifest, entries, cancel)
                file.flush()
                os.fsync(descriptor)
                file.seek(0)
                digest = hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
            _give_name(temporary, target, replacing=replacing)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return digest


def _sweep(target: Path) -> None:
    """Remove what a kill has left of an earlier try: it may be large, and nobody sees it."""
    ours = re.compile(rf"\.{re.escape(target.name)}-[0-9a-f]{{8}}")
    limit = time.time() - _ABANDONED
    with contextlib.suppress(OSError):
        for path in target.parent.iterdir():
            found = path.lstat() if ours.fullmatch(path.name) else None
            if found is not None and stat.S_ISREG(found.st_mode) and found.st_mtime < limit:
                path.unlink()


def _give_name(temporary: Path, target: Path, *, replacing: bool) -> None:
    if replacing:
        temporary.replace(target)
        return
    try:
        # Unlike a rename, a link fails where something has come meanwhile.
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        # Not every file system has links.
        if os.path.lexists(target):
            raise _exists(target) from None
        temporary.replace(target)


def _exists(target: Path) -> WrongCall:
    return WrongCall(f"`{target}` exists.", hint="Give it another name, or say --force.")


@contextlib.contextmanager
def _compressed(file: IO[bytes], name: str) -> Iterator[Any]:
    if name.endswith(".zst"):
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        with zstd.ZstdFile(file, "wb", options=options) as stream:
            yield stream
    elif name.endswith("gz"):
        # Neither name nor time in its head.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
            yield packed
    else:
        yield file


def _write_members(
    stream: Any, manifest: Manifest, entries: Iterable[Entry], cancel: Cancel
) -> None:
    text = manifest.to_json().encode()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_header(MANIFEST, len(text)), io.BytesIO(text))
        for entry, told in zip(entries, manifest.files, strict=True):
            header = _header(told.path, told.size, executable=told.executable)
            with _content(entry) as file:
                reading = _Digesting(file, cancel)
                try:
                    tar.addfile(header, cast("Any", reading))
                except OSError as error:
                    # tarfile says so of a file that has become shorter.
                    if error.errno is not None:
                        raise
                    raise _changed(told.path) from error
                if reading.digest.hexdigest() != told.sha256:
                    raise _changed(told.path)


def _changed(path: str) -> EnvironmentInUse:
    msg = f"`{path}` was changed by somebody else meanwhile."
    return EnvironmentInUse(msg, hint="Run it again.")


class _Digesting:
    """A file whose content is digested as it is read, until that is ended."""

    def __init__(self, file: IO[bytes], cancel: Cancel) -> None:
        self._file, self._cancel, self.digest = file, cancel, hashlib.sha256()

    def read(self, size: int) -> bytes:
        if self._cancel.is_set:
            msg = "Packing was interrupted."
            raise Interrupted(msg)
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _header(path: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.size, header.mtime = size, _TIME
    header.mode = 0o755 if executable else 0o644
    return header
