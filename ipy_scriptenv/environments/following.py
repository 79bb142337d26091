"""Environments follow a file or a folder that was renamed, as Jupyter's server tells of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from ipy_scriptenv.environments.condition import is_for, whereabouts
from ipy_scriptenv.environments.locating import locate
from ipy_scriptenv.environments.moving import Moved, move
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import NewerSchema, ScriptEnvError
from ipy_scriptenv.record import Source, SourceKind
from ipy_scriptenv.store import Store

__all__ = ["adopt"]


def adopt(
    old: Path,
    new: Path,
    *,
    context: Context,
    on_error: Callable[[Source, Exception], None] = lambda _source, _error: None,
) -> list[Moved]:
    """Let environments follow a renamed file, or all those of a renamed folder.

    What is on the disk by now does not count: it may have been renamed again.

    :param old: absolute path of what was renamed
    :param new: its absolute path after that
    :param on_error: told of each environment that could not follow, and stays where it is
    """
    moved = []
    for source, target in list(_followers(context.store, old, new)):
        try:
            moved.append(move(source, target, context=context, replacing=True))
        except (ScriptEnvError, OSError) as error:
            on_error(source, error)
    return moved


def _followers(store: Store, old: Path, new: Path) -> Iterator[tuple[Source, Source]]:
    """Pair each source at or under *old* that has an environment with its new path."""
    source = Source(kind=SourceKind.FILE, path=str(old))
    if is_for(store, whereabouts(store, source), source):
        yield source, _file(new)
        return
    if new.is_file():
        return
    for name in store.names():
        try:
            glance = store.glance(name)
        except NewerSchema:
            continue
        if glance is None or glance.source.path is None:
            continue
        path = PurePath(glance.source.path)
        if path.is_relative_to(old):
            yield glance.source, _file(new / path.relative_to(old))


def _file(path: Path) -> Source:
    """Name a file as a start would name it, also where it is gone again."""
    with contextlib.suppress(ScriptEnvError):
        return locate(path)
    return Source(kind=SourceKind.FILE, path=str(path))
