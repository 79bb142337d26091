"""Read archives, those of strangers too.

What is read is held against the manifest, which comes first. So a member is a regular file that the
manifest names, once, of the size and the checksum that it tells, or nothing of the archive counts.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from ipy_scriptenv.environments.manifests import (
    LOCK,
    MANIFEST,
    ArchivePath,
    Manifest,
    PackedFile,
)
from ipy_scriptenv.errors import BadArchive, Interrupted, NotFound
from ipy_scriptenv.files import explained
from ipy_scriptenv.processes import Cancel

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Opened", "opened"]

_PIECE = 1 << 20
_LARGEST_MANIFEST = 64 * 2**20
_LARGEST_LOCK = 64 * 2**20
_LARGEST_HEADER = 1 << 16
_SLACK = 1 << 20
_PER_FILE = 8192
"""Bytes of headers and filling that a member may bring beside its content."""

_COLLISIONS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)


class _Limited:
    """A stream that gives no more than the archive can hold, however well that is compressed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.left = _LARGEST_MANIFEST + _SLACK

    def read(self, size: int) -> bytes:
        data = cast("bytes", self._stream.read(size))
        self.left -= len(data)
        if self.left < 0:
            raise tarfile.ReadError("it is larger than its manifest tells")
        return data


class _Member(tarfile.TarInfo):
    """A header that cannot bring more along than a name."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        # tarfile's hook for subclasses, called before what follows the header is read.
        if not self.isreg() and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError("a header in it is too large")
        return super()._proc_member(archive)  # type: ignore[misc]


@dataclass(slots=True, kw_only=True)
class Opened:
    """An archive whose manifest was read; the rest is read once, by :meth:`extract`.

    :param lock: the source's lock, after that
    """

    path: Path
    manifest: Manifest
    lock: bytes | None = None
    _tar: tarfile.TarFile = field(repr=False)
    _stream: _Limited = field(repr=False)
    _cancel: Cancel = field(repr=False)
    _made: set[Path] = field(default_factory=set, repr=False)

    def extract(self, places: Mapping[str, Path]) -> None:
        """Write the files of each named folder below the path that it has; check all others too.

        :param places: folders that stand, in which nobody else writes
        :raises BadArchive: if anything is not as the manifest says; what was written is worth
            nothing then
        :raises Interrupted: if it is ended
        :raises ScriptEnvError: if it cannot be written
        """
        waiting = {file.path: file for file in self.manifest.files}
        self._stream.left = _SLACK + self.manifest.size + _PER_FILE * (len(waiting) + 1)
        while (member := self._read(self._tar.next)) is not None:
            told = waiting.pop(cast("ArchivePath", member.name), None)
            if told is None:
                raise self._bad(f"`{_shown(member.name)}` is not in its manifest, or there twice")
            self._take(member, told, places)
        if waiting:
            raise self._bad(f"it is cut short: {len(waiting)} files are missing")

    def _take(self, member: tarfile.TarInfo, told: PackedFile, places: Mapping[str, Path]) -> None:
        if not member.isreg() or member.issparse():
            raise self._bad(f"`{told.path}` is no plain file")
        if member.size != told.size:
            raise self._bad(f"`{told.path}` is not of the size that its manifest tells")
        folder, _, inside = told.path.partition("/")
        if told.path == LOCK:
            content = io.BytesIO()
            self._copy(member, told, content.write, largest=_LARGEST_LOCK)
            self.lock = content.getvalue()
        elif folder in places:
            with self._created(places[folder], inside, told) as file:
                self._copy(member, told, file.write)
        else:
            self._copy(member, told, lambda _data: None)

    def _copy(
        self,
        member: tarfile.TarInfo,
        told: PackedFile,
        write: Callable[[bytes], object],
        *,
        largest: int | None = None,
    ) -> None:
        if largest is not None and told.size > largest:
            raise self._bad(f"`{told.path}` is too large")
        source = cast("IO[bytes]", self._read(lambda: self._tar.extractfile(member)))
        digest = hashlib.sha256()
        while data := self._read(lambda: source.read(_PIECE)):
            if self._cancel.is_set:
                msg = "Unpacking was interrupted."
                raise Interrupted(msg)
            digest.update(data)
            write(data)
        if digest.hexdigest() != told.sha256:
            raise self._bad(f"the checksum of `{told.path}` is wrong")

    @contextlib.contextmanager
    def _created(self, root: Path, inside: str, told: PackedFile) -> Iterator[IO[bytes]]:
        path = root / inside
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._make(path.parent, root, told)
            descriptor = os.open(path, flags, 0o777 if told.executable else 0o666)
        except OSError as error:
            if error.errno in _COLLISIONS:
                raise self._bad(f"`{told.path}` cannot stand beside what else is there") from error
            with explained(path):
                raise
        # What is small is written when it is closed: a full disk shows itself there.
        with explained(path), os.fdopen(descriptor, "wb") as file:
            yield file

    def _make(self, folder: Path, root: Path, told: PackedFile) -> None:
        """Make a folder below *root*, if this has not been done, through no link."""
        if folder == root or folder in self._made:
            return
        self._make(folder.parent, root, told)
        # `lib64` of a virtual environment is one.
        if folder.is_symlink():
            raise self._bad(f"`{told.path}` would be written through a link")
        folder.mkdir(exist_ok=True)
        self._made.add(folder)

    def _read(self, act: Callable[[], Any]) -> Any:
        with _readable(self.path):
            return act()

    def _bad(self, reason: str) -> BadArchive:
        return _bad(self.path, reason)


@contextlib.contextmanager
def opened(path: Path, *, cancel: Cancel) -> Iterator[Opened]:
    """Open an archive and read its manifest; nothing is written.

    :param cancel: ends what is read later
    :raises NotFound: if there is no such file
    :raises BadArchive: if it is none of ours, or damaged
    :raises NewerSchema: if a newer version wrote it
    """
    if not path.is_file():
        raise NotFound(f"`{path}` does not exist, or is no file.")
    with contextlib.ExitStack() as stack:
        with explained(path):
            file = stack.enter_context(path.open("rb"))
        with _readable(path):
            stream = _Limited(stack.enter_context(_decompressed(file)))
            archive = cast("Any", stream)  # it has what tarfile needs of a file: `read`
            tar = stack.enter_context(tarfile.open(fileobj=archive, mode="r|", tarinfo=_Member))
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.issparse():
                raise ValueError("it does not begin with a manifest")
            if first.size > _LARGEST_MANIFEST:
                raise ValueError("its manifest is too large")
            text = cast("IO[bytes]", tar.extractfile(first)).read().decode()
            manifest = Manifest.from_json(text)
        yield Opened(path=path, manifest=manifest, _tar=tar, _stream=stream, _cancel=cancel)


@contextlib.contextmanager
def _decompressed(file: IO[bytes]) -> Iterator[Any]:
    """Read through what an archive was compressed with, by its first bytes."""
    begin = file.read(4)
    file.seek(0)
    if begin == b"\x28\xb5\x2f\xfd":
        with zstd.ZstdFile(file, "rb") as stream:
            yield stream
    elif begin[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file, mode="rb") as packed:
            yield packed
    else:
        yield file


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tell whatever is wrong with an archive in one sentence that names it."""
    damaged = (OSError, EOFError, ValueError, OverflowError, zlib.error, zstd.ZstdError)
    try:
        yield
    except (*damaged, tarfile.TarError, MemoryError) as error:
        raise _bad(path, str(error) or "it is damaged") from error


def _bad(path: Path, reason: str) -> BadArchive:
    return BadArchive(f"`{path}` cannot be unpacked: {_shown(reason)}.")


def _shown(text: str) -> str:
    return text[:200].rstrip(".")
