"""What crashes leave: builds, halves of swaps, staged files."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.files import entries, explained, remove_tree
from ipy_scriptenv.identity import EnvironmentName, is_environment_name
from ipy_scriptenv.layout import CHANGING, LAUNCHER, RECORD, bytecode_lock
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.store import FENCE, KERNEL_SIDE, WANTED, Store

__all__ = ["Leftover", "leftovers", "remove_leftover", "scratch_folder", "sweep"]

_SCRATCH = "scratch."
"""Begins the names of scratch folders and their locks; no name of an environment has a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What a crash left.

    :param guard: name of the lock that who made it held; ``None``: nobody can hold one
    """

    path: Path
    guard: str | None


def sweep(store: Store, name: EnvironmentName) -> None:
    """Remove what a crash left of builds of *name*; the caller holds its exclusive lock.

    So goes what was thrown away already, and what is left of others, whose next start may never
    come, and of parts that environments share, unless somebody is at work on it.
    """
    put_back(store, name)
    for folder, mine in (
        (store.building, f".building-{name}-"),
        (store.building, f".replaced-{name}-"),
        (store.building, f"..moved-{name}-"),
        (store.environments / name, f".{RECORD}-"),
        (store.environments / name, f".{LAUNCHER}-"),
        (store.environments / name, f".{CHANGING}-"),
        (store.work, f".{FENCE}-"),
        (store.work, f".{name}.py"),
        (store.work, f"{name}.py"),
    ):
        for entry in entries(folder):
            if entry.name.startswith(mine):
                _remove(Path(entry.path))
    trash = [Path(entry.path) for entry in entries(store.building) if entry.name[:9] == ".removed-"]
    if trash:
        # It may be large, and another process may be at it: nobody waits for it.
        threading.Thread(target=_remove_all, args=(trash,)).start()
    temporary = (".building-", ".replaced-", f".{_SCRATCH}")
    for folder in (*_made_in(store), store.work):
        for entry in entries(folder):
            guard = _guard(entry.name)
            if entry.name.startswith(temporary) and guard not in (None, name):
                with (
                    contextlib.suppress(ScriptEnvError, OSError),
                    exclusive(store.lock(str(guard)), timeout=0),
                ):
                    remove_leftover(store, Leftover(path=Path(entry.path), guard=guard))


def _made_in(store: Store) -> tuple[Path, ...]:
    """Give the folders in which environments and what they share are made."""
    return (store.building, store.layers, store.kernel_sides)


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            _remove(path)


def put_back(store: Store, name: EnvironmentName) -> None:
    """Give an environment its name again that a kill took it between two renames."""
    if os.path.lexists(store.environment(name)):
        return
    for entry in entries(store.building):
        if entry.name.startswith(f".replaced-{name}-"):
            with contextlib.suppress(OSError):
                Path(entry.path).rename(store.environment(name))
                return


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """Give an empty folder in ours for as long as the block lasts; a lock of its name guards it."""
    guard = f"{_SCRATCH}{secrets.token_hex(8)}"
    folder = store.work / f".{guard}"
    with exclusive(store.lock(guard), timeout=0):
        try:
            with explained(folder):
                folder.mkdir(mode=0o700)
            yield folder
        finally:
            _remove_scratch(store, folder, guard)


def _remove_scratch(store: Store, folder: Path, guard: str) -> None:
    remove_tree(folder)
    with contextlib.suppress(OSError):
        store.lock(guard).unlink()


def leftovers(store: Store) -> list[Leftover]:
    """List what crashes left, and builds that go on: who removes one takes its guard first."""
    return [
        Leftover(path=Path(entry.path), guard=_guard(entry.name))
        for folder in (*_made_in(store), store.bytecode, store.work)
        for entry in entries(folder)
        if entry.name.startswith((".building-", ".replaced-", ".removed-", WANTED))
        or (folder == store.work and entry.name != FENCE)
    ]


def remove_leftover(store: Store, left: Leftover) -> bool:
    """Remove what a crash left; the caller holds its guard. Say whether it is gone.

    An environment that was taken its name in the middle of a swap gets it again.
    """
    is_environment = left.guard is not None and is_environment_name(left.guard)
    if is_environment and left.path.name.startswith(".replaced-"):
        put_back(store, EnvironmentName(str(left.guard)))
    if left.guard is not None and left.guard.startswith(_SCRATCH):
        _remove_scratch(store, left.path, left.guard)
    elif os.path.lexists(left.path):
        _remove(left.path)
    return not os.path.lexists(left.path)


def _guard(name: str) -> str | None:
    """Give the lock that guards a temporary file or folder, by its name."""
    if "+" in name:
        return bytecode_lock(name.partition("-")[2].partition("+")[0])
    if name.startswith((".building-", ".replaced-")):
        guarded = name.partition("-")[2].rpartition("-")[0]
        if is_environment_name(guarded) or guarded == KERNEL_SIDE:
            return guarded
        return f"layer-{guarded}"
    if name.startswith(f".{_SCRATCH}"):
        return name.removeprefix(".")
    stem = name.removeprefix(".").partition(".py")[0]
    return stem if is_environment_name(stem) else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
