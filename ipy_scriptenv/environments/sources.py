"""Find and read sources: from what a person or client names to a :class:`Source` and its block."""

from __future__ import annotations

import codecs
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.errors import NotASource, NotFound, Unclosed, WrongCall
from ipy_scriptenv.files import explained, read_regular, stat_of
from ipy_scriptenv.identity import (
    EnvironmentName,
    file_environment_name,
    text_environment_name,
    url_environment_name,
)
from ipy_scriptenv.metadata import Document, embedded_lock, read_document, shown
from ipy_scriptenv.record import FileStat, Source, SourceKind

__all__ = [
    "Lock",
    "Reading",
    "address",
    "can_be_source",
    "check",
    "locate",
    "locate_or_gone",
    "lock_of",
    "name_of",
    "read_lock",
    "read_source",
]

_LARGEST = 2 * 2**30
"""Bytes of the largest source that is read."""

_LARGEST_LOCK = 64 * 2**20
"""Bytes of the largest lock that is read."""

_URL_SCHEMES = ("https://", "http://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A source's document, with the file's stat from before it was read."""

    document: Document
    stat: FileStat


def locate(text: str | os.PathLike[str]) -> Source:
    """Find the source that a person names.

    Symbolic links, ``..``, relative paths and, on a file system that is blind to case, other
    spellings lead to the same source.

    :raises NotFound: if there is no such file
    :raises NotASource: if it is a folder, a device, or a URL
    """
    given = os.fspath(text)
    if given.startswith(_URL_SCHEMES):
        msg = f"`{shown(given)}` is a URL; only files are read."
        hint = "Download the script and name the file, or run it: `jupyter scriptenv run URL`."
        raise NotASource(msg, hint=hint)
    if not given or "\0" in given:
        msg = "The source's path is empty or holds a NUL."
        raise WrongCall(msg)
    path = Path(given)
    with explained(path):
        try:
            resolved = path.resolve(strict=True)
        except FileNotFoundError as error:
            msg = f"`{path}` does not exist."
            raise NotFound(msg) from error
        except (RuntimeError, OSError) as error:
            if isinstance(error, (PermissionError,)):
                raise
            msg = f"`{path}` cannot be found: {error}."
            raise NotFound(msg) from error
        if not resolved.is_file():
            msg = f"`{path}` is no file."
            raise NotASource(msg)
        return Source(kind=SourceKind.FILE, path=str(_true_case(resolved)))


def address(url: str) -> Source:
    """Give the source at an address; nothing is fetched.

    :raises WrongCall: if it cannot be read as one
    """
    try:
        url_environment_name(url)
    except ValueError:
        raise WrongCall(f"`{shown(url)}` is no address that can be read.") from None
    return Source(kind=SourceKind.URL, url=url)


def locate_gone(text: str) -> Source:
    """Give the source that a kernelspec names although its file is gone, or is at an address.

    :raises NotFound: if it can name no file
    """
    if text.startswith(_URL_SCHEMES):
        return address(text)
    path = Path(text)
    if path.is_absolute() and ".." not in path.parts:
        return Source(kind=SourceKind.FILE, path=text)
    msg = f"`{text}` does not exist."
    raise NotFound(msg)


def can_be_source(path: str) -> bool:
    """Say whether a path that a client passed names an existing file that can be a source."""
    try:
        given = Path(path)
        return given.is_absolute() and given.is_file() and _begins_as_text(given)
    except (OSError, ValueError):
        return False


def name_of(source: Source, *, block: str | None = None) -> EnvironmentName:
    """Name the environment of a source; a text is named by its block."""
    if source.path is not None:
        return file_environment_name(Path(source.path))
    if source.url is not None:
        return url_environment_name(source.url)
    return text_environment_name(block or "")


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
    with explained(path):
        data = read_regular(path, limit=_LARGEST)
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


def _begins_as_text(path: Path) -> bool:
    """Say whether a file may be text, by its first kilobytes; a picture, for one, is not."""
    with path.open("rb") as file:
        begun = file.read(4096)
    if b"\0" in begun:
        return False
    # The last character may be cut in the middle.
    codecs.getincrementaldecoder("utf-8")().decode(begun)
    return True


def _true_case(path: Path) -> Path:
    """Spell a path as the disk does, where the file system takes other spellings for it too."""
    swapped = Path(str(path).swapcase())
    try:
        if swapped == path or not swapped.samefile(path):
            return path
    except OSError:
        return path
    true = Path(path.anchor)
    for part in path.parts[1:]:
        true /= _spelling(true, part)
    return true


def _spelling(folder: Path, part: str) -> str:
    try:
        names = os.listdir(folder)
    except OSError:
        return part
    if part in names:
        return part
    return next((name for name in names if name.casefold() == part.casefold()), part)


def check(source: Source) -> None:
    """Check that a file can be read as a source, with one block at most.

    A block that is never closed is the affair of its cell.

    :raises Duplicate: if there are several; each cell alone would run
    :raises ScriptEnvError: if it cannot be read
    """
    path = Path(source.path or "")
    with explained(path):
        data = read_regular(path, limit=_LARGEST)
    with contextlib.suppress(Unclosed):
        read_document(data, name=path.name)


def locate_or_gone(text: str | os.PathLike[str]) -> Source:
    """Find the source that a person names; one that is gone is named by its path alone.

    An address names the source that was run from there.

    :raises ScriptEnvError: as :func:`locate`, but for a file that is not there
    """
    if os.fspath(text).startswith(_URL_SCHEMES):
        return address(os.fspath(text))
    try:
        return locate(text)
    except NotFound:
        given = os.fspath(text)
        path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - as text
        # The folder may be there and be reached through links.
        with contextlib.suppress(OSError, RuntimeError):
            path = path.parent.resolve(strict=True) / path.name
        return Source(kind=SourceKind.FILE, path=str(path))
