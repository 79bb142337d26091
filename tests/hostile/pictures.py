"""Pictures of folders: names, sizes, times and content, compared before and after."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Picture", "changed", "content_of", "picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, folder or link; links are not followed.

    :param size: in bytes; 0 for a folder
    :param changed: nanoseconds; 0 for a folder, whose time tells what its entries tell too
    :param content: digest of a file, target of a link
    """

    mode: int
    size: int
    changed: int
    content: str


Picture = dict[str, Entry]
"""What stands, by its path."""


def picture(*folders: Path, without: Iterable[Path] = ()) -> Picture:
    """Look at everything in and under some folders; what is not there is not in the picture.

    :param without: folders of which nothing but the names, sizes and times is taken
    """
    shallow = tuple(f"{folder}{os.sep}" for folder in without)
    found: Picture = {}
    for folder in folders:
        if folder.is_symlink() or not folder.is_dir():
            if os.path.lexists(folder):
                found[str(folder)] = _entry(str(folder), shallow)
            continue
        for place, names, files in os.walk(folder):
            for name in (*names, *files):
                path = os.path.join(place, name)  # noqa: PTH118 - thousands of them
                # A kernel that runs may take a file of its own away at this moment.
                with suppress(FileNotFoundError):
                    found[path] = _entry(path, shallow)
    return found


def changed(
    before: Picture, after: Picture, allowed: Callable[[str], bool] = lambda _path: False
) -> list[str]:
    """Name what came, went or is otherwise, but for what is allowed."""
    paths = sorted({*before, *after})
    return [path for path in paths if before.get(path) != after.get(path) and not allowed(path)]


def content_of(*folders: Path) -> bytes:
    """Give the names and the content of all files in and under some folders, in one."""
    parts = []
    for folder in folders:
        for place, names, files in os.walk(folder):
            parts += [os.fsencode(Path(place, name)) for name in (*names, *files)]
            for path in (Path(place, name) for name in files):
                # As above.
                with suppress(FileNotFoundError):
                    if path.is_file() and not path.is_symlink():
                        parts.append(path.read_bytes())
    return b"\n".join(parts)


def _entry(path: str, shallow: tuple[str, ...]) -> Entry:
    found = os.lstat(path)
    content = ""
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)  # noqa: PTH115 - thousands of them
    elif stat.S_ISREG(found.st_mode) and not path.startswith(shallow):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if stat.S_ISDIR(found.st_mode):
        return Entry(mode=found.st_mode, size=0, changed=0, content="")
    return Entry(mode=found.st_mode, size=found.st_size, changed=found.st_mtime_ns, content=content)
