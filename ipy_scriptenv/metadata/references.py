"""Local references in a block's settings: what they point to, seen from the source's folder.

uv's own rules, as tried with uv 0.13: in a direct reference (``name @ reference``) what has no
scheme is a path, ``file:`` is one with percent-encoding, and ``${VARIABLE}`` is expanded; elsewhere
a path stands as it is. ``..`` is resolved by the text alone.
"""

from __future__ import annotations

import ntpath
import posixpath
import re
from pathlib import PurePath, PureWindowsPath
from urllib.parse import quote, unquote

__all__ = ["absolute_location", "absolute_path", "absolute_requirement", "joined", "referred_path"]

# One letter before the colon is a drive of Windows.
_SCHEME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9+.-]+):")
_NAME = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\]\s*)?@\s*")
_TAIL = re.compile(r"\s[;#]")


def joined(path: str, folder: PurePath) -> PurePath:
    """Give *path* as seen from *folder*, absolute if that is, without ``..``."""
    flavour = ntpath if isinstance(folder, PureWindowsPath) else posixpath
    return type(folder)(flavour.normpath(folder / path))


def absolute_path(path: str, folder: PurePath) -> str:
    """Give *path* as it is if it is absolute, otherwise seen from *folder*."""
    return path if type(folder)(path).is_absolute() else str(joined(path, folder))


def absolute_location(location: str, folder: PurePath) -> str:
    """Give the place of an index, a URL or a path; as :func:`absolute_path` if it is a path."""
    return location if _SCHEME.match(location) else absolute_path(location, folder)


def absolute_requirement(text: str, folder: PurePath) -> str:
    """Give a requirement with its relative direct reference, if it has one, as a ``file:`` URL."""
    head, reference, tail = _split(text)
    path = _path_text(reference, folder)
    if path is None or type(folder)(path).is_absolute():
        return text
    mark, fragment = reference.partition("#")[1:]
    return f"{head}{_file_url(joined(path, folder))}{mark}{fragment}{tail}"


def referred_path(text: str, folder: PurePath) -> PurePath | None:
    """Give the path that a requirement refers to; ``None`` for all but local direct references."""
    path = _path_text(_split(text)[1], folder)
    return None if path is None else joined(path, folder)


def _split(text: str) -> tuple[str, str, str]:
    """Split a requirement before and behind its direct reference, which is empty without one."""
    name = _NAME.match(text)
    if name is None:
        return text, "", ""
    rest = text[name.end() :]
    tail = _TAIL.search(rest)
    reference = (rest if tail is None else rest[: tail.start()]).rstrip()
    return name[0], reference, rest[len(reference) :]


def _path_text(reference: str, folder: PurePath) -> str | None:
    path = reference.partition("#")[0]
    scheme = _SCHEME.match(path)
    if scheme is not None:
        if scheme["name"] != "file":
            return None
        path = unquote(path[scheme.end() :], errors="surrogateescape")
        path = path.removeprefix("//localhost" if path.startswith("//localhost/") else "//")
        if isinstance(folder, PureWindowsPath) and re.match(r"/[A-Za-z]:", path):
            path = path[1:]
    # A variable's value is uv's to know; it must make the path absolute.
    return None if not path or "${" in path else path


def _file_url(path: PurePath) -> str:
    posix = quote(path.as_posix(), safe="/:", errors="surrogateescape")
    if posix.startswith("//"):
        return f"file:{posix}"
    return f"file://{posix}" if posix.startswith("/") else f"file:///{posix}"
