"""Write archives, whole or not at all: tar, with gzip or zstd over it or nothing.

The same content gives the same bytes: members are in order, and have neither owner nor time.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import secrets
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ipy_scriptenv.environments.manifests import MANIFEST, Manifest, PackedFile, archive_path
from ipy_scriptenv.errors import EnvironmentInUse, NotFound, NotPortable, WrongCall
from ipy_scriptenv.files import explained

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


def packed_files(entries: Iterable[Entry]) -> tuple[PackedFile, ...]:
    """Read each file once, and tell its size and checksum.

    :raises NotPortable: if one has a name that another system could not bear
    """
    return tuple(_packed(entry) for entry in entries)


def _packed(entry: Entry) -> PackedFile:
    try:
        path = archive_path(entry.path)
    except ValueError as error:
        raise NotPortable(f"{error}.") from None
    with _content(entry) as file:
        digest = hashlib.file_digest(cast("Any", file), "sha256")
        size = file.seek(0, io.SEEK_END)
    return PackedFile(path=path, size=size, sha256=digest.hexdigest(), executable=entry.executable)


def _content(entry: Entry) -> IO[bytes]:
    if isinstance(entry.content, bytes):
        return io.BytesIO(entry.content)
    return entry.content.open("rb")


def write_archive(
    target: Path, manifest: Manifest, entries: Iterable[Entry], *, replacing: bool
) -> str:
    """Write an archive; the same content gives the same bytes.

    :param entries: in the order of the manifest's files
    :param replacing: whether a file that stands there may go
    :returns: the SHA-256 of the archive
    :raises WrongCall: if a file stands there
    :raises EnvironmentInUse: if a file is not what the manifest says any more
    """
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with explained(target):
        descriptor = os.open(temporary, flags, 0o666)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                with _compressed(file, target.name) as stream:
                    _write_members(stream, manifest, entries)
                file.flush()
                os.fsync(descriptor)
                file.seek(0)
                digest = hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
            _give_name(temporary, target, replacing=replacing)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return digest


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


def _write_members(stream: Any, manifest: Manifest, entries: Iterable[Entry]) -> None:
    text = manifest.to_json().encode()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_header(MANIFEST, len(text)), io.BytesIO(text))
        for entry, told in zip(entries, manifest.files, strict=True):
            header = _header(told.path, told.size, executable=told.executable)
            with _content(entry) as file:
                reading = _Digesting(file)
                try:
                    tar.addfile(header, cast("Any", reading))
                except OSError as error:
                    # tarfile says so of a file that has become shorter.
                    if error.errno is not None:
                        raise
                    raise _changed(told) from error
                if reading.digest.hexdigest() != told.sha256:
                    raise _changed(told)


def _changed(told: PackedFile) -> EnvironmentInUse:
    msg = f"`{told.path}` was changed by somebody else meanwhile."
    return EnvironmentInUse(msg, hint="Run it again.")


class _Digesting:
    """A file whose content is digested as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _header(path: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.size, header.mtime = size, _TIME
    header.mode = 0o755 if executable else 0o644
    return header
