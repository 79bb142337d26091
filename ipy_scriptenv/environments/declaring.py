"""Change what a source declares: the verbs ``add``, ``remove``, ``python`` and ``init``.

A change is whole or not at all: nothing is written if resolving fails, and what was written is
taken back if installing does.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ipy_scriptenv.environments.condition import inspect, whereabouts
from ipy_scriptenv.environments.edits import Edit, Edited, edit_given, specifier_of
from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.locating import locate, locate_or_gone
from ipy_scriptenv.environments.relocking import path_warnings
from ipy_scriptenv.environments.resolving import folder_of
from ipy_scriptenv.environments.sources import Lock, read_file
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.syncing import Synced, sync
from ipy_scriptenv.environments.wanted import Wanted, wanted_python
from ipy_scriptenv.errors import (
    Displaced,
    EnvironmentInUse,
    PermissionRefused,
    RestartNeeded,
    ScriptEnvError,
    WrongCall,
)
from ipy_scriptenv.files import is_gone, rewrite
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.metadata import read_declaration, read_document, with_embedded_lock
from ipy_scriptenv.metadata.editing import edited_source, new_notebook, new_script, with_block
from ipy_scriptenv.record import Source

__all__ = [
    "Declared",
    "cell_of_block",
    "cell_with",
    "declare",
    "declare_given",
    "init",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A block that says something else now.

    :param before: its TOML before; ``None``: there was no block
    :param toml: its TOML now
    :param added: requirements as they stand in it now and did not before
    :param removed: those that went
    :param synced: what became of the environment
    """

    source: Source
    before: str | None
    toml: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    synced: Synced


def declare(source: Source, edit: Edit, *, context: Context) -> Declared:
    """Change the block in a source's file, its lock too, and the environment.

    :raises SourceChanged: if somebody else changed the file meanwhile
    :raises ScriptEnvError: nothing is written then, and nothing installed
    """
    folder, path = folder_of(source), Path(source.path or "")
    data = read_file(path)
    if not _may_write(path):
        msg = f"`{path}` cannot be written, and nothing was installed."
        raise PermissionRefused(msg)
    found = read_document(data, name=path.name).block
    block = None if found is None else found.toml
    edited = edit_given(source, edit, context=context, block=block, folder=folder)
    new = edited_source(data, edited.toml, name=path.name)
    with _written(path, data, new, edited.lock, edited.new_lock):
        synced = sync(source, context=context, choosing=edited.choosing, keep_refused=False)
    if edited.new_lock is not None:
        warnings = (*synced.warnings, *path_warnings(edited.new_lock))
        synced = replace(synced, warnings=warnings)
    return _declared(source, edited, synced)


def declare_given(
    source: Source,
    edited: Edited,
    *,
    context: Context,
    asker: Asker | None,
    name: EnvironmentName | None = None,
    folder: Path,
) -> Declared:
    """Bring the environment to an edited block; who asks shows it, and the file stays as it is.

    A lock beside the file is kept in step. An embedded one is the open document's, as the block is.
    """
    embedded = edited.lock is not None and edited.lock.embedded
    lock = None if embedded else edited.lock
    with _lock_written(lock, edited.new_lock, waits=asker is not None):
        if not embedded and edited.new_lock is not None and path_warnings(edited.new_lock):
            # Named nowhere here: what a cell shows is kept in a notebook that may be shared.
            text = "The lock holds a path of this machine; `lock --check` names it."
            context.on_event({"event": "warning", "text": text})
        synced = sync(
            source,
            context=context,
            block=edited.toml,
            given=True,
            asker=asker,
            name=name,
            folder=folder,
            choosing=edited.choosing,
        )
    return _declared(source, edited, synced)


def init(path: Path, *, context: Context, python: str | None = None) -> Source:
    """Make a notebook or a script with an empty block; a notebook is for the generic kernel.

    :param path: ends in ``.ipynb`` or ``.py``; nothing stands there
    :param python: what its ``requires-python`` is to say; ``None``: the minor version that it
        begins with, or a newer one, as ``uv init --script`` writes it
    :raises WrongCall: if something stands there, or it would be no source
    :raises NoPython: if there is no interpreter to begin with
    """
    suffix = path.suffix.lower()
    if suffix not in (".ipynb", ".py"):
        msg = f"`{path}` is neither a notebook (.ipynb) nor a script (.py) by its name."
        raise WrongCall(msg)
    if not is_gone(path):
        msg = f"`{path}` is there already."
        hint = f"`jupyter scriptenv add {path.name} NAME` writes a block into it."
        raise WrongCall(msg, hint=hint)
    requires = f">={_first_python(path, context)}" if python is None else specifier_of(python)
    toml = f'requires-python = "{requires}"\ndependencies = []\n'
    data = new_notebook(toml) if suffix == ".ipynb" else new_script(toml)
    rewrite(path, data, expected=None)
    return locate(path)


def _first_python(path: Path, context: Context) -> str:
    """Give the minor version of the Python that a new source's environment is made from."""
    context.store.prepare()
    source = locate_or_gone(path)
    standing = inspect(context.store, whereabouts(context.store, source), source)
    wanted = Wanted(block=None, declaration=None, stat=None)
    return wanted_python(context, standing, wanted, fetch=True).minor


def cell_of_block(source: Source) -> tuple[str | None, int | None]:
    """Give the text of the cell in a source's file that holds its block, and its number.

    Of a file without cells it is the block's own lines, without a number. Both are ``None``
    without a block or a file.

    :raises ScriptEnvError: if the file cannot be read
    """
    if source.path is None or is_gone(source.path):
        return None, None
    path = Path(source.path)
    data = read_file(path)
    document = read_document(data, name=path.name)
    if document.block is None:
        return None, None
    if document.cell is None:
        # As blocks are read: lines end in LF or CRLF alone.
        lines = data.decode("utf-8-sig").split("\n")
        own = lines[document.block.line - 1 : document.block.end_line]
        return "\n".join(own).removesuffix("\r"), None
    text = json.loads(data.decode("utf-8-sig"))["cells"][document.cell - 1]["source"]
    return (text if isinstance(text, str) else "".join(text)), document.cell


def cell_with(text: str, toml: str) -> str:
    """Give the text of a cell with another block; a cell ends without a line end."""
    edited = with_block(text, toml)
    return edited if text.endswith("\n") else edited.rstrip("\n")


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


@contextlib.contextmanager
def _written(
    path: Path, data: bytes, new: bytes, lock: Lock | None, new_lock: bytes | None
) -> Iterator[None]:
    """Write a source and its lock; take both back if what follows fails."""
    if lock is not None and lock.embedded and new_lock is not None:
        new = with_embedded_lock(new, new_lock.decode(), name=path.name)
        lock = None
    if new == data:
        with _lock_written(lock, new_lock):
            yield
        return
    rewrite(path, new, expected=data)
    try:
        with _lock_written(lock, new_lock):
            yield
    except BaseException:
        with contextlib.suppress(ScriptEnvError):
            rewrite(path, data, expected=new)
        raise


@contextlib.contextmanager
def _lock_written(lock: Lock | None, new: bytes | None, *, waits: bool = False) -> Iterator[None]:
    """Write a lock that stands beside its source; take it back if what follows fails.

    :param waits: whether a change that running kernels cannot bear waits for the next start, and
        so does what it locks
    """
    if lock is None or new is None or new == lock.data:
        yield
        return
    rewrite(lock.path, new, expected=lock.data)
    try:
        yield
    except BaseException as error:
        is_refused = isinstance(error, RestartNeeded | EnvironmentInUse)
        if not (waits and is_refused) or isinstance(error, Displaced):
            with contextlib.suppress(ScriptEnvError):
                rewrite(lock.path, lock.data, expected=new)
        raise


def _declared(source: Source, edited: Edited, synced: Synced) -> Declared:
    old, new = (read_declaration(text).dependencies for text in (edited.before or "", edited.toml))
    return Declared(
        source=source,
        before=edited.before,
        toml=edited.toml,
        added=tuple(each for each in new if each not in old),
        removed=tuple(each for each in old if each not in new),
        synced=synced,
    )
