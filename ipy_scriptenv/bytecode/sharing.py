"""Link byte code of the store into an environment, and ask for what is missing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from ipy_scriptenv import processes, settings
from ipy_scriptenv.bytecode import compiling
from ipy_scriptenv.files import entries, write_atomically
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Python
from ipy_scriptenv.store import WANTED, Store, bytecode_lock

__all__ = ["Wheel", "kept", "link", "request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """An installed wheel whose byte code can be shared.

    :param name: its folder's name in the store
    :param info: its metadata folder's name
    """

    name: str
    info: str


def link(
    store: Store, site: Path, python: Python, *, among: Collection[str] | None = None
) -> tuple[Wheel, ...]:
    """Link byte code into a folder of packages; give the wheels that the store has none for.

    It is never an error: what is not linked is compiled at its first import, as always.

    :param site: nobody else changes it meanwhile
    :param among: names of the distributions that have just been installed; ``None``: all of them
    """
    if not settings.shares_bytecode():
        return ()
    lacking = []
    for wheel in _wheels(site, python, among):
        folder = store.bytecode / wheel.name
        content = compiling.read_content(folder)
        if content is None or not compiling.applies(content, site):
            lacking.append(wheel)
            continue
        _link_all(folder, site, content["files"])
        with contextlib.suppress(OSError):
            os.utime(folder)
    return tuple(lacking)


def request(
    store: Store, name: EnvironmentName, site: Path, python: Python, wheels: Iterable[Wheel]
) -> None:
    """Have the byte code of *wheels* made in the background, from the files in *site*."""
    wanted = {wheel.name: wheel.info for wheel in wheels}
    if not wanted:
        return
    path = store.bytecode / f"{WANTED}{python.abi}+{name}"
    lock = store.lock(bytecode_lock(python.abi))
    argv = [python.base, "-I", "-S", compiling.__file__, str(store.bytecode), str(lock), python.abi]
    # A full disk costs the next environment some time at its first imports, nothing else.
    with contextlib.suppress(OSError):
        write_atomically(path, json.dumps({"site": str(site), "wheels": wanted}).encode())
        processes.start_idle(argv, cwd=store.work, env=settings.child_environment())


def kept(store: Store) -> list[tuple[datetime, Path, int]]:
    """List what is in the store: when it was last made or linked, its folder, its bytes."""
    found = []
    for entry in entries(store.bytecode):
        content = None if entry.name[0] == "." else compiling.read_content(Path(entry.path))
        if content is not None:
            used = datetime.fromtimestamp(entry.stat(follow_symlinks=False).st_mtime, UTC)
            found.append((used, Path(entry.path), int(content["bytes"])))
    return found


def _wheels(site: Path, python: Python, among: Collection[str] | None) -> Iterable[Wheel]:
    try:
        infos = [name for name in os.listdir(site) if name.endswith(".dist-info")]
    except OSError:
        return
    for info in sorted(infos):
        stem = info.removesuffix(".dist-info")
        if among is not None and canonicalize_name(stem.partition("-")[0]) not in among:
            continue
        digest = _digest(site, info)
        if digest is not None:
            yield Wheel(name=f"{stem}-{digest}+{python.abi}", info=info)


def _digest(site: Path, info: str) -> str | None:
    """Digest what the record of a wheel says of its modules; ``None``: they cannot be shared.

    Those can that come from uv's cache as they are: their times are the same in each environment.
    """
    try:
        lines = (site / info / "RECORD").read_bytes().splitlines()
    except OSError:
        return None
    told = sorted(line for line in lines if b".py," in line)
    if not told:
        return None
    first = next(filter(compiling.is_kept, (_path(line) for line in told)), None)
    if first is None or not _is_linked(site / first):
        return None
    return hashlib.sha256(b"\n".join(told)).hexdigest()[:16]


def _path(line: bytes) -> str:
    return line.decode("utf-8", "replace").partition(".py,")[0].lstrip('"') + ".py"


def _is_linked(path: Path) -> bool:
    """Say whether a file has its time from uv's cache: as a hard link to it, or a clone of it.

    On macOS uv makes clones, which keep the time; copies get one of their own.
    """
    with contextlib.suppress(OSError):
        return sys.platform == "darwin" or path.stat().st_nlink > 1
    return False


def _link_all(folder: Path, site: Path, files: Iterable[str]) -> None:
    """Link files of the store under the same names into *site*; those that stand there stay."""
    made: set[str] = set()
    with contextlib.suppress(OSError):
        # Thousands of files: `Path` would take as long as the disk.
        for file in files:
            target = f"{site}{os.sep}{file}"
            parent = target.rpartition("/")[0]
            if parent not in made:
                made.add(parent)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parent)  # noqa: PTH102 - see above
            with contextlib.suppress(FileExistsError):
                _link(f"{folder}{os.sep}{file}", target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except (PermissionError, NotImplementedError):
        # Not every file system has hard links.
        shutil.copyfile(source, target)
