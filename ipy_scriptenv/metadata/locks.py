"""Locks as text: the one in a notebook's metadata, and one for a place other than its source's.

A notebook carries its lock as juv, uvkernel and pep723widget do: as a text, in its metadata, under
the key ``uv.lock``. Writing it changes that value and nothing else of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import tomli_w

from ipy_scriptenv.errors import BadBlock, NotANotebook
from ipy_scriptenv.metadata.declaration import read_toml
from ipy_scriptenv.metadata.json_places import Json, Span, layout_of
from ipy_scriptenv.metadata.quoting import shown

__all__ = [
    "EMBEDDED_KEY",
    "embedded_lock",
    "locked_before",
    "locked_packages",
    "machine_paths",
    "portable_lock",
    "rebased_lock",
    "with_embedded_lock",
]

EMBEDDED_KEY = "uv.lock"
"""The key in a notebook's metadata."""

_BOM = b"\xef\xbb\xbf"
_PLACES = frozenset({"directory", "editable", "path", "registry", "virtual"})
_ADDRESSES = _PLACES | {"git", "index", "url"}
_BELOW_THEIR_REGISTRY = frozenset({"sdist", "wheels"})
"""Files of a package: their paths are relative to its registry, which is made absolute."""


def embedded_lock(data: bytes) -> str | None:
    """Give the lock in a notebook's metadata; ``None`` where there is none.

    :param data: the whole file; one that is no notebook holds no lock
    """
    # Most notebooks hold none, and may be large.
    if EMBEDDED_KEY.encode() not in data:
        return None
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
        lock = notebook["metadata"][EMBEDDED_KEY]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return lock if isinstance(lock, str) and lock else None


def with_embedded_lock(data: bytes, lock: str, *, name: str) -> bytes:
    """Give a notebook with *lock* in its metadata; every other byte stays.

    :param data: the whole file
    :param name: the file's, for errors
    :raises NotANotebook: if it is no notebook that can be read
    """
    begin = len(_BOM) if data.startswith(_BOM) else 0
    try:
        text = data[begin:].decode()
        value = json.dumps(lock, ensure_ascii=text.isascii())
        edited = _edited(text, value)
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        msg = f"`{shown(name)}` is no notebook that can be edited."
        raise NotANotebook(msg) from error
    return data[:begin] + edited.encode()


def rebased_lock(lock: bytes, *, folder: PurePath) -> bytes:
    """Give a lock as uv is to read it in another folder: its relative paths made absolute.

    One without such a path is given back as it is.

    :param folder: the source's, absolute
    :raises BadBlock: if it is no TOML
    """
    tables = _tables(lock)
    rebased = _rebased(tables, folder)
    return lock if rebased == tables else tomli_w.dumps(rebased).encode()


def portable_lock(lock: bytes, *, written: Mapping[str, str]) -> bytes:
    """Give a lock with paths as the block has them, where uv was given them as absolute ones.

    :param written: how the block writes each of these paths
    """
    text = lock.decode("utf-8", "replace")
    for place in sorted(written, key=len, reverse=True):
        # A file in such a folder is told by the whole path; elsewhere relative to its registry.
        text = text.replace(f'path = "{place}/', 'path = "')
        text = text.replace(f'registry = "{place}"', f'registry = "{written[place]}"')
    return text.encode() if written else lock


def locked_before(lock: bytes) -> str | None:
    """Give the date that a lock was made for (``exclude-newer``); ``None`` where it has none.

    :raises BadBlock: if it is no TOML
    """
    options = _tables(lock).get("options")
    date = options.get("exclude-newer") if isinstance(options, dict) else None
    return None if date is None else str(date)


def locked_packages(lock: bytes) -> tuple[tuple[str, str], ...]:
    """Give name and version of each package in a lock; a version is empty where it has none.

    :raises BadBlock: if it is no TOML
    """
    packages = _tables(lock).get("package")
    return tuple(
        (str(package.get("name")), str(package.get("version", "")))
        for package in (packages if isinstance(packages, list) else ())
        if isinstance(package, dict)
    )


def machine_paths(lock: bytes) -> tuple[str, ...]:
    """Name the absolute paths in a lock, each once: it is of use only where these are there too.

    Of a folder with files that are locked, the folder alone is named.

    :returns: as the lock has them: paths and ``file:`` addresses
    :raises BadBlock: if it is no TOML
    """
    found = dict.fromkeys(_absolute(_tables(lock)))
    return tuple(path for path in found if not any(_is_below(path, other) for other in found))


def _absolute(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _absolute(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _ADDRESSES and isinstance(item, str) and _is_of_a_machine(item):
                yield item
            else:
                yield from _absolute(item)


def _is_of_a_machine(text: str) -> bool:
    """Say whether a path is absolute on any system, or the same as an address."""
    if "://" in text:
        return text.lower().startswith(("file:", "git+file:"))
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def _is_below(path: str, other: str) -> bool:
    """Say whether a path leads below another one, however both are written."""
    inner, outer = (_plain(text) for text in (path, other))
    return inner.startswith(f"{outer}/") or (inner == outer and len(path) > len(other))


def _plain(text: str) -> str:
    _, is_address, path = text.partition("://")
    plain = unquote(path) if is_address else text
    return plain.replace("\\", "/").lstrip("/").rstrip("/")


def _tables(lock: bytes) -> dict[str, Any]:
    try:
        return read_toml(lock.decode(), most_bytes=None)
    except (BadBlock, UnicodeDecodeError) as error:
        msg = "The lock is no TOML."
        hint = "Take it from where it was whole, or remove it and lock anew."
        raise BadBlock(msg, hint=hint, problems=getattr(error, "problems", ())) from error


def _rebased(value: Any, folder: PurePath) -> Any:
    if isinstance(value, list):
        return [_rebased(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        if key in _BELOW_THEIR_REGISTRY:
            found[key] = item
        elif key in _PLACES and isinstance(item, str):
            found[key] = item if "://" in item else str(folder / item)
        else:
            found[key] = _rebased(item, folder)
    return found


def _edited(text: str, value: str) -> str:
    whole = json.loads(text)
    if not isinstance(whole, dict) or not isinstance(whole.get("metadata", {}), dict):
        raise TypeError("no notebook")
    notebook = Json(text=text)
    top = notebook.all
    layout = layout_of(text, top, notebook.entries(top.start))
    members = notebook.members(top.start)
    colon = notebook.colon(next(iter(members.values())))
    alone = f"{{{layout.inside().around([_member(EMBEDDED_KEY, colon, value)])}}}"
    metadata = members.get("metadata")
    if metadata is None:
        return _inserted(notebook, top, "metadata", alone)
    span = metadata.value
    old = notebook.members(span.start).get(EMBEDDED_KEY)
    if old is not None:
        return f"{text[: old.value.start]}{value}{text[old.value.end :]}"
    if whole["metadata"]:
        return _inserted(notebook, span, EMBEDDED_KEY, value)
    return f"{text[: span.start]}{alone}{text[span.end :]}"


def _inserted(notebook: Json, outer: Span, key: str, value: str) -> str:
    """Add a member to an object that has some: in its place if they are sorted, else at the end."""
    text, members = notebook.text, notebook.members(outer.start)
    entries = notebook.entries(outer.start)
    between = layout_of(text, outer, entries).between
    written = _member(key, notebook.colon(next(iter(members.values()))), value)
    later = [member for name, member in members.items() if name > key]
    if later and list(members) == sorted(members):
        place = later[0].key
        return f"{text[:place]}{written}{between}{text[place:]}"
    place = entries[-1].end
    return f"{text[:place]}{between}{written}{text[place:]}"


def _member(key: str, colon: str, value: str) -> str:
    return f'"{key}"{colon}{value}'
