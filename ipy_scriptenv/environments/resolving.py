"""What a source resolves to is asked of uv here: its file, its lock, an interpreter, a script."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.environments.beside import script_beside
from ipy_scriptenv.environments.condition import inspect
from ipy_scriptenv.environments.job import Choosing
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.sources import Lock, read_file, read_lock
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.wanted import Wanted, wanted_python
from ipy_scriptenv.errors import NotASource
from ipy_scriptenv.files import stat_of
from ipy_scriptenv.kernel_side.block import render_block
from ipy_scriptenv.leftovers import scratch_folder
from ipy_scriptenv.metadata import (
    located_block,
    read_declaration,
    read_document,
    rebased_lock,
    staged_block,
)
from ipy_scriptenv.policy import Policy
from ipy_scriptenv.record import Python, Source

__all__ = ["Resolvable", "folder_of", "read_resolvable", "reading", "resolver_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolvable:
    """A source as its file says now, and what uv needs to resolve it.

    :param data: the whole file
    :param toml: the block's, empty without one
    :param python: the interpreter to resolve with
    """

    source: Source
    data: bytes
    toml: str
    lock: Lock | None
    python: Python

    @property
    def folder(self) -> Path:
        """Where relative paths in the block start."""
        return folder_of(self.source)


def folder_of(source: Source) -> Path:
    """Give the folder of a source that is a file.

    :raises NotASource: if it is none
    """
    if source.path is None:
        msg = f"`{source}` is no file: it has no lock."
        raise NotASource(msg)
    return Path(source.path).parent


def read_resolvable(
    source: Source,
    *,
    context: Context,
    python: str | None = None,
    block: str | None = None,
    given: bool = False,
) -> Resolvable:
    """Read a source's file, and choose the interpreter to resolve with.

    :param python: a request for it
    :param block: TOML to take instead of the file's, if *given*: that of an open document
    :raises ScriptEnvError: if the file or its block cannot be read, or there is no such interpreter
    """
    context.store.prepare()
    path = folder_of(source) / Path(source.path or "").name
    found_lock, stat = read_lock(source), stat_of(path)
    data = read_file(path)
    cell, line, toml = None, 0, block or ""
    if not given:
        document = read_document(data, name=path.name)
        cell = document.cell
        toml, line = (document.block.toml, document.block.line) if document.block else ("", 0)
    declaration = read_declaration(toml, cell=cell, line=line)
    standing = inspect(context.store, name_of(source), source)
    wanted = Wanted(block=toml, declaration=declaration, stat=stat)
    chosen = wanted_python(context, standing, wanted, request=python, fetch=True)
    return Resolvable(source=source, data=data, toml=toml, lock=found_lock, python=chosen)


def resolver_options(
    allowed: Policy, choosing: Choosing, *, toml: str, folder: Path, lock: bytes | None
) -> tuple[str, ...]:
    """Give the options of a resolution, held against the policy.

    :raises PolicyViolation: if what is declared, locked or asked for is not allowed
    """
    if not allowed.says_what_comes and not choosing.says_something:
        # A cell's sync, where there is no policy: it loads nothing that would hold one.
        return ()
    from ipy_scriptenv.environments.allowed import limits, refuse_forbidden

    refuse_forbidden(allowed, toml=toml, folder=folder, lock=lock, indexes=choosing.index)
    indexes = [word for each in choosing.index for word in ("--index", each)]
    return (*limits(allowed, toml=toml, exclude_newer=choosing.exclude_newer), *indexes)


@contextlib.contextmanager
def reading(found: Resolvable, context: Context, *, beside: bool = False) -> Iterator[Path]:
    """Give uv a script to read with its lock; what it makes of them is thrown away.

    :param beside: whether it stands in the source's folder, because paths are told relative to it
    """
    content = None if found.lock is None else found.lock.content
    if beside:
        located, _ = located_block(found.toml, folder=found.folder)
        with script_beside(found.folder, located, content) as script:
            yield script
        return
    with scratch_folder(context.store) as folder:
        script = folder / "script.py"
        text = render_block(staged_block(found.toml, folder=found.folder))
        script.write_bytes(text.encode())
        if content is not None:
            rebased = rebased_lock(content, folder=found.folder)
            script.with_name("script.py.lock").write_bytes(rebased)
        yield script
