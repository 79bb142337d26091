"""Which source a person or a client names, and what its environment is called."""

from __future__ import annotations

import codecs
import contextlib
import os
from pathlib import Path

from ipy_scriptenv.errors import NotASource, NotFound, WrongCall
from ipy_scriptenv.files import explained
from ipy_scriptenv.identity import (
    EnvironmentName,
    file_environment_name,
    text_environment_name,
    url_environment_name,
)
from ipy_scriptenv.record import Source, SourceKind

__all__ = [
    "address",
    "can_be_source",
    "locate",
    "locate_gone",
    "locate_or_gone",
    "name_of",
]

_URL_SCHEMES = ("https://", "http://")


def locate(text: str | os.PathLike[str]) -> Source:
    """Find the source that a person names.

    Symbolic links, ``..``, relative paths and, on a file system that is blind to case, other
    spellings lead to the same source.

    :raises NotFound: if there is no such file
    :raises NotASource: if it is a folder, a device, or a URL
    """
    given = os.fspath(text)
    if given.startswith(_URL_SCHEMES):
        from ipy_scriptenv.metadata import shown

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
        from ipy_scriptenv.metadata import shown

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
