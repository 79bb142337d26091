"""What an environment should be for: which block counts, and which interpreter."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from ipy_scriptenv import interpreters, plan
from ipy_scriptenv.environments.condition import Standing
from ipy_scriptenv.environments.sources import Reading, read_source
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import NoPython, NotANotebook, ScriptEnvError
from ipy_scriptenv.files import explained, stat_of
from ipy_scriptenv.kernel_side.credentials import HIDDEN, without_credentials
from ipy_scriptenv.metadata import EMPTY, Declaration, read_declaration
from ipy_scriptenv.plan import Selected
from ipy_scriptenv.record import FileStat, Python, Record, Source

__all__ = [
    "Wanted",
    "wanted_at_start",
    "wanted_python",
    "wanted_record",
    "wanted_text",
]

_WRITING = 0.4
"""Seconds after a change in which a notebook that is no JSON may be half written."""
_READS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the environment should be for.

    :param block: TOML of the block, ``None`` without one
    :param declaration: what it says; ``None`` where it cannot be read
    :param stat: of the file it came from or was compared with, to be recorded
    :param error: why it cannot be read
    """

    block: str | None
    declaration: Declaration | None
    stat: FileStat | None
    error: ScriptEnvError | None = None

    @property
    def recorded(self) -> str | None:
        """The block as a record may hold it: without the credentials of URLs."""
        return None if self.block is None else without_credentials(self.block)

    @property
    def requires_nothing(self) -> bool:
        """Whether an empty environment is all that is wanted."""
        return self.declaration is not None and not self.declaration.dependencies


def wanted_text(block: str | None, stat: FileStat | None, *, line: int = 0) -> Wanted:
    """Read the text of a block that is given, such as a running cell's.

    :raises ScriptEnvError: if it cannot be read
    """
    declaration = EMPTY if block is None else read_declaration(block, line=line)
    return Wanted(block=block, declaration=declaration, stat=stat)


def wanted_record(record: Record) -> Wanted:
    """Read the block of a record.

    :raises ScriptEnvError: if it cannot be read
    """
    return wanted_text(_with_credentials(record.block, record.source), record.source_stat)


def wanted_at_start(source: Source, record: Record | None) -> Wanted:
    """Choose and read the text that decides at a start; nothing is raised for one that is bad."""
    found_stat = stat_of(Path(source.path)) if source.path is not None else None
    selection = plan.select_block(
        recorded_stat=record.source_stat if record else None,
        found_stat=found_stat,
        block=record.block if record else None,
        pending=record.pending if record else None,
        has_record=record is not None,
    )
    cell, line, stat, block = None, 0, found_stat, selection.block
    try:
        if selection.source is Selected.FILE:
            reading = _read_when_written(source)
            if reading is not None:
                document, stat = reading.document, reading.stat
                if document.block is not None:
                    block, cell, line = document.block.toml, document.cell, document.block.line
        elif record is not None:
            stat = record.source_stat
            block = _with_credentials(block, source)
        declaration = EMPTY if block is None else read_declaration(block, cell=cell, line=line)
    except ScriptEnvError as error:
        return Wanted(block=block, declaration=None, stat=None, error=error)
    return Wanted(block=block, declaration=declaration, stat=stat)


def _read_when_written(source: Source) -> Reading | None:
    """Read a source's file; a notebook that is being written just now, when that has ended.

    Jupyter's server writes in place, and a new notebook is saved while its kernel starts.

    :raises ScriptEnvError: if it cannot be read as a source
    """
    for _ in range(_READS):
        try:
            return read_source(source)
        except NotANotebook:
            with explained(path := Path(str(source.path))):
                age = time.time() - path.stat().st_mtime
            if not 0 <= age < _WRITING:
                raise
            time.sleep(_WRITING / _READS)
    return read_source(source)


def _with_credentials(block: str | None, source: Source) -> str | None:
    """Give a record's block with the credentials that stand in the file's, if that is the same."""
    if block is None or HIDDEN not in block:
        return block
    reading = read_source(source)
    found = reading.document.block if reading is not None else None
    return found.toml if found and without_credentials(found.toml) == block else block


def wanted_python(
    context: Context,
    standing: Standing,
    wanted: Wanted,
    *,
    request: str | None = None,
    fetch: bool = False,
) -> Python:
    """Choose the interpreter (``docs/contract.md``, *Which Python?*).

    :param request: the ``--python`` of this call
    :param fetch: whether a user has run a cell or a command: then the user's uv configuration
        counts, and uv may fetch an interpreter that is not there
    :raises NoPython: if none satisfies
    """
    requires = wanted.declaration.requires_python if wanted.declaration else None
    record = standing.record
    there = _still_usable(record, requires)
    if there is not None and request in (None, there.request):
        return there
    recorded = record.python.request if record else None
    uv = context.uv()
    if request is None and recorded is not None:
        # An earlier request holds until it contradicts what the source requires.
        if interpreters.fetchable(recorded, requires) is not None:
            request = recorded
        else:
            # A path or a name cannot be fetched: it holds as long as it is there.
            with contextlib.suppress(NoPython):
                return interpreters.choose(
                    uv, request=recorded, requires_python=requires, configured=fetch
                )
    try:
        return interpreters.choose(uv, request=request, requires_python=requires, configured=fetch)
    except NoPython:
        if not fetch or interpreters.fetchable(request, requires) is None:
            raise
        return interpreters.fetch(uv, request=request, requires_python=requires)


def _still_usable(record: Record | None, requires: SpecifierSet | None) -> Python | None:
    """Give the recorded interpreter as it is now, if it is there and satisfies; else ``None``.

    One that was upgraded in place is asked again; uv would make the environment anew for it.
    """
    if record is None or not os.access(record.python.base, os.X_OK):
        return None
    python = record.python
    if stat_of(Path(python.base)) != record.watch.get(python.base):
        try:
            python = interpreters.inspect_python(Path(python.base), request=python.request)
        except NoPython:
            return None
    return python if interpreters.satisfies(python.version, requires) else None
