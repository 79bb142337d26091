"""Link byte code of the store into an environment, and ask for what is missing.

What a folder has that the machine's users share is copied into the store once, then linked too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ipy_scriptenv import processes, settings
from ipy_scriptenv.bytecode import compiling
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.files import entries, remove_tree, stat_of, write_atomically
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.layout import bytecode_lock
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import Python
from ipy_scriptenv.shared import SharedFolder, shared_folder
from ipy_scriptenv.store import WANTED, Store

__all__ = ["Wheel", "fill", "kept", "link", "request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """An installed wheel whose byte code can be shared.

    :param name: its folder's name in the store
    :param info: its metadata folder's name
    :param linked: whether its files have their times from uv's cache, as in every environment
    """

    name: str
    info: str
    linked: bool


def link(
    store: Store,
    name: EnvironmentName,
    site: Path,
    python: Python,
    *,
    among: Collection[str] | None = None,
) -> tuple[Wheel, ...]:
    """Link byte code into a folder of packages; give the wheels that the store has none for.

    It is never an error: what is not linked is compiled at its first import, as always.

    :param name: the environment, whose lock the caller holds
    :param site: nobody else changes it meanwhile
    :param among: names of the distributions that have just been installed; ``None``: all of them
    """
    if not settings.shares_bytecode():
        return ()
    shared, lacking = shared_folder(), []
    for wheel in _wheels(site, python, among):
        content = _content(store, wheel, site)
        if content is None and shared is not None and _take(shared, store, name, wheel, site):
            content = _content(store, wheel, site)
        if content is None:
            lacking += [wheel] if wheel.linked else []
            continue
        folder = store.bytecode / wheel.name
        _link_all(folder, site, content["files"])
        with contextlib.suppress(OSError):
            os.utime(folder)
    return tuple(lacking)


def _content(store: Store, wheel: Wheel, site: Path) -> dict[str, Any] | None:
    """Read what a store has for the very files of a wheel that stand in *site*."""
    content = compiling.read_content(store.bytecode / wheel.name)
    return content if content is not None and compiling.applies(content, site) else None


def _take(
    shared: SharedFolder, store: Store, name: EnvironmentName, wheel: Wheel, site: Path
) -> bool:
    """Copy a wheel's byte code out of a shared folder into the user's own store, whole or not."""
    folder = shared.store.bytecode / wheel.name
    if shared.why_not(folder, whole=True) is not None:
        return False
    content = _content(shared.store, wheel, site)
    if content is None:
        return False
    build, target = store.new_build(name), store.bytecode / wheel.name
    try:
        build.mkdir(mode=0o700)
        _link_all(folder, build, [compiling.CONTENT, *content["files"]], strictly=True)
        if os.path.lexists(target):
            store.remove_folder(target)
        build.rename(target)
    except (OSError, ScriptEnvError):
        remove_tree(build)
        return False
    return True


def fill(
    shared: Store, work: Path, site: Path, python: Python, *, cancel: Cancel
) -> tuple[str, ...]:
    """Compile all wheels in *site* for others than this user; name those that are there then.

    :param shared: the folder that it goes to, which others only read
    :param work: a folder for a file that is gone afterwards
    """
    wheels = {wheel.name: wheel.info for wheel in _wheels(site, python, None)}
    listing = work / f".{compiling.CONTENT}-{secrets.token_hex(4)}"
    program = [python.base, "-I", "-S", compiling.__file__, "share"]
    argv = [*program, str(shared.bytecode), str(site), python.abi, str(listing)]
    try:
        write_atomically(listing, json.dumps(wheels).encode())
        processes.run(argv, cwd=work, env=settings.child_environment(), cancel=cancel)
    finally:
        with contextlib.suppress(OSError):
            listing.unlink()
    there = (name for name in wheels if compiling.read_content(shared.bytecode / name))
    return tuple(sorted(there))


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
        stat = stat_of(Path(entry.path))
        # Another process may be throwing it away.
        if content is not None and stat is not None:
            used = datetime.fromtimestamp(stat[1] / 1e9, UTC)
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
        told = _modules(site, info)
        first = next(filter(compiling.is_kept, map(_path, told)), None)
        if first is not None:
            digest = hashlib.sha256(b"\n".join(told)).hexdigest()[:16]
            name = f"{stem}-{digest}+{python.abi}"
            yield Wheel(name=name, info=info, linked=_is_linked(site / first))


def _modules(site: Path, info: str) -> list[bytes]:
    """Give what the record of a wheel says of its modules, each with its own digest."""
    try:
        lines = (site / info / "RECORD").read_bytes().splitlines()
    except OSError:
        return []
    return sorted(line for line in lines if b".py," in line)


def _path(line: bytes) -> str:
    return line.decode("utf-8", "replace").partition(".py,")[0].lstrip('"') + ".py"


def _is_linked(path: Path) -> bool:
    """Say whether a file has its time from uv's cache: as a hard link to it, or a clone of it.

    On macOS uv makes clones, which keep the time; copies get one of their own.
    """
    with contextlib.suppress(OSError):
        return sys.platform == "darwin" or path.stat().st_nlink > 1
    return False


def _link_all(folder: Path, site: Path, files: Iterable[str], *, strictly: bool = False) -> None:
    """Link files of the store under the same names into *site*; those that stand there stay.

    :param strictly: whether one that is missing is an error
    """
    made: set[str] = set()
    with contextlib.nullcontext() if strictly else contextlib.suppress(OSError):
        # Thousands of files: `Path` would take as long as the disk.
        for file in files:
            target = f"{site}{os.sep}{file}"
            parent = target.rpartition("/")[0]
            if parent not in made:
                made.add(parent)
                os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - see above
            with contextlib.suppress(FileExistsError):
                _link(f"{folder}{os.sep}{file}", target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # Another file system, one without hard links, a file that others may not link.
        try:
            shutil.copyfile(source, target)
        except OSError:
            # Python takes half of a module's byte code for the whole, and cannot import it.
            with contextlib.suppress(OSError):
                os.unlink(target)  # noqa: PTH108 - see above
            raise
