"""Find and read sources: from what a person or client names to a :class:`Source` and its block."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.errors import Unclosed
from ipy_scriptenv.files import explained, read_regular, stat_of
from ipy_scriptenv.metadata import Document, embedded_lock, read_document
from ipy_scriptenv.record import FileStat, Source

__all__ = [
    "Lock",
    "Reading",
    "check",
    "lock_in",
    "lock_of",
    "read_file",
    "read_lock",
    "read_source",
]

_LARGEST = 2 * 2**30
"""Bytes of the largest source that is read."""

_LARGEST_LOCK = 64 * 2**20
"""Bytes of the largest lock that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A source's document, with the file's stat from before it was read."""

    document: Document
    stat: FileStat


def read_file(path: Path) -> bytes:
    """Read the whole of a source's file.

    :raises ScriptEnvError: if it cannot be read, or is too large for a source
    """
    with explained(path):
        return read_regular(path, limit=_LARGEST)


def read_source(source: Source) -> Reading | None:
    """Read a file's document; ``None`` for a source without a file, or whose file is gone.

    :raises ScriptEnvError: if it cannot be read as a source
    """
    if source.path is None:
        return None
    path = Path(source.path)
    stat = stat_of(path)
    if stat is None:
        return None
    data = read_file(path)
    return Reading(document=read_document(data, name=path.name), stat=stat)


def lock_of(source: Source) -> Path | None:
    """Where the lock of a source is or would be: beside it, with ``.lock`` added."""
    return None if source.path is None else Path(source.path + ".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A source's lock, as it was read.

    :param content: in uv's format
    :param path: the file that holds it
    :param data: that whole file
    :param embedded: whether it stands in the notebook's metadata
    """

    content: bytes
    path: Path
    data: bytes
    embedded: bool


def lock_in(source: Source, text: str | None) -> Lock | None:
    """Give the lock that the metadata of an open notebook hold; ``None`` where they hold none."""
    if text is None or source.path is None:
        return None
    content = text.encode("utf-8", "replace")
    return Lock(content=content, path=Path(source.path), data=b"", embedded=True)


def read_lock(source: Source) -> Lock | None:
    """Read the lock of a source: the one in a notebook's metadata, else the one beside it."""
    path = lock_of(source)
    if source.path is None or path is None:
        return None
    if source.path.lower().endswith(".ipynb"):
        data = _content(Path(source.path), limit=_LARGEST)
        text = embedded_lock(data) if data is not None else None
        if data is not None and text is not None:
            content = text.encode("utf-8", "replace")
            return Lock(content=content, path=Path(source.path), data=data, embedded=True)
    beside = _content(path, limit=_LARGEST_LOCK)
    if beside is None:
        return None
    return Lock(content=beside, path=path, data=beside, embedded=False)


def _content(path: Path, *, limit: int) -> bytes | None:
    try:
        return read_regular(path, limit=limit)
    except OSError:
        return None


def check(source: Source) -> None:
    """Check that a file can be read as a source, with one block at most.

    A block that is never closed is the affair of its cell.

    :raises Duplicate: if there are several; each cell alone would run
    :raises ScriptEnvError: if it cannot be read
    """
    path = Path(source.path or "")
    data = read_file(path)
    with contextlib.suppress(Unclosed):
        read_document(data, name=path.name)
