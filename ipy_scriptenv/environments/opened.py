"""What is asked for a document that an editor has open: its text is the editor's to change.

Nothing is written into the document's file. What it is to say, the block's cell and the lock in a
notebook's metadata, is given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomli_w
from packaging.utils import canonicalize_name

from ipy_scriptenv.environments.condition import inspect, installed_packages, whereabouts
from ipy_scriptenv.environments.declaring import cell_with
from ipy_scriptenv.environments.edits import Edit, Edited, Verb, edit_given
from ipy_scriptenv.environments.job import Choosing
from ipy_scriptenv.environments.locking import Locked, lock
from ipy_scriptenv.environments.relocking import path_warnings, relocked
from ipy_scriptenv.environments.resolving import folder_of
from ipy_scriptenv.environments.sources import lock_in, read_lock
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.syncing import Synced, sync
from ipy_scriptenv.environments.unrecorded import places
from ipy_scriptenv.environments.wanted import Wanted, wanted_at_start, wanted_python
from ipy_scriptenv.errors import Duplicate, NoEnvironment, ResolutionFailed, Unclosed, WrongCall
from ipy_scriptenv.kernel_side.block import BlockError, block_of_cell
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.metadata import read_declaration, read_toml
from ipy_scriptenv.metadata.editing import edited_toml
from ipy_scriptenv.record import Source
from ipy_scriptenv.venvs import site_packages

__all__ = [
    "EditedCell",
    "SyncedOpen",
    "change_requirement",
    "edit_cell",
    "lock_opened",
    "recording",
    "sync_opened",
    "waits_for_start",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedOpen:
    """What a sync did.

    :param lock: what the lock in the notebook's metadata is to be; ``None``: it stays
    """

    synced: Synced
    lock: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedCell:
    """What the cell of a block is to be.

    :param cell: its text
    :param before: its text before; ``None``: there was no such cell
    :param had_block: whether it had a block
    :param block: the block's TOML
    :param lock: as :class:`SyncedOpen` has it
    """

    cell: str
    before: str | None
    had_block: bool
    block: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    lock: str | None
    warnings: tuple[str, ...]


def sync_opened(
    source: Source,
    *,
    context: Context,
    block: str | None = None,
    given: bool = False,
    lock_text: str | None = None,
    choosing: Choosing | None = None,
    rebuild: bool = False,
) -> SyncedOpen:
    """Bring an environment to what an open document declares.

    A lock beside the file is kept in step. One in the notebook is installed as it is to be.

    :param block: TOML of the document, if *given*; otherwise the source's own
    :param lock_text: the lock that the document's metadata hold; ``None``: the source's own
    :param rebuild: whether to build anew what may be sound
    :raises ScriptEnvError: as :func:`sync`
    """
    context.store.prepare()
    old, made, text = lock_in(source, lock_text) or read_lock(source), None, None
    if old is not None and old.embedded:
        made = lock(
            source,
            context=context,
            block=block if given else _own_block(source, context),
            given=True,
            opened=True,
            choosing=choosing,
            before=old,
        ).content
        text = None if made == old.content else made.decode()
    synced = sync(
        source,
        context=context,
        block=block,
        given=given,
        choosing=choosing,
        rebuild=rebuild,
        lock=made,
    )
    return SyncedOpen(synced=synced, lock=text)


def lock_opened(
    source: Source,
    *,
    context: Context,
    block: str | None = None,
    given: bool = False,
    lock_text: str | None = None,
    embed: bool = False,
) -> Locked:
    """Pin what an open document declares; a lock in its metadata is the editor's to write.

    :param block: as :func:`sync_opened` has it, and *lock_text* too
    :param embed: whether the lock is to stand in the notebook's metadata
    :raises ScriptEnvError: nothing is written then
    """
    return lock(
        source,
        context=context,
        embed=embed,
        block=block,
        given=given,
        opened=True,
        before=lock_in(source, lock_text),
    )


def edit_cell(
    source: Source,
    edit: Edit,
    *,
    context: Context,
    cell: str | None,
    lock_text: str | None = None,
) -> EditedCell:
    """Say what the cell of an open document's block is to be; nothing is written or installed.

    :param cell: its text, or the whole of a script; ``None``: the document has no block
    :param lock_text: the lock that the document's metadata hold; ``None``: the source's own
    :raises ScriptEnvError: if it cannot be changed so, or uv finds no solution
    """
    edited = edit_given(
        source,
        edit,
        context=context,
        block=None if cell is None else _block_in(cell),
        folder=folder_of(source),
        lock=lock_in(source, lock_text),
    )
    return _edited_cell(cell, edited)


def change_requirement(
    source: Source,
    old: str,
    new: str,
    *,
    context: Context,
    cell: str,
    lock_text: str | None = None,
) -> EditedCell:
    """Say what the cell is to be with another requirement in the place of one, word for word.

    ``uv add`` would keep extras and ranges that the new one has not.

    :param old: as ``status`` shows it
    :param cell: as :func:`edit_cell` has it, and *lock_text* too
    :raises WrongCall: if the block does not declare *old*, or it holds a password
    :raises ScriptEnvError: if the new one cannot be read, or uv finds no solution
    """
    context.store.prepare()
    toml = _block_in(cell) or ""
    written = [*read_declaration(toml).dependencies]
    if old not in written:
        hidden = old in map(without_credentials, written)
        msg = f"The block does not declare `{old}`."
        hint = "It holds a password: change it in the block itself." if hidden else ""
        raise WrongCall(msg, hint=hint)
    written[written.index(old)] = new
    tables = {**read_toml(toml), "dependencies": written}
    after = edited_toml(toml, tomli_w.dumps(tables))
    lock = lock_in(source, lock_text) or read_lock(source)
    wanted = Wanted(block=after, declaration=read_declaration(after), stat=None)
    standing = inspect(context.store, whereabouts(context.store, source), source)
    python = Path(wanted_python(context, standing, wanted, fetch=True).base)
    try:
        # Without a lock too: what has no solution is not to be written.
        made = relocked(
            context, source, after, None if lock is None else lock.content, python=python
        )
    except ResolutionFailed as error:
        error.hint = "Nothing was changed. Name another package, or other versions of it."
        raise
    new_lock = None if lock is None else made
    return _edited_cell(cell, Edited(before=toml, toml=after, lock=lock, new_lock=new_lock))


def _edited_cell(cell: str | None, edited: Edited) -> EditedCell:
    texts = (edited.before or "", edited.toml)
    old, new = (read_declaration(text).dependencies for text in texts)
    embedded = edited.lock is not None and edited.lock.embedded
    return EditedCell(
        cell=cell_with(cell or "", edited.toml),
        before=cell,
        had_block=edited.before is not None,
        block=edited.toml,
        added=tuple(each for each in new if each not in old),
        removed=tuple(each for each in old if each not in new),
        lock=edited.new_lock.decode() if embedded and edited.new_lock is not None else None,
        warnings=() if edited.new_lock is None else path_warnings(edited.new_lock),
    )


def recording(source: Source, name: str, *, context: Context) -> Edit:
    """Give the edit that declares what is installed already: that version or a newer one.

    What came from a place of its own is declared with that place.

    :raises NoEnvironment: if the source has no environment
    :raises WrongCall: if no such distribution is installed
    """
    standing = inspect(context.store, whereabouts(context.store, source), source)
    if standing.record is None:
        msg = f"`{source}` has no environment."
        raise NoEnvironment(msg)
    wanted, python = canonicalize_name(name), standing.record.python
    found = [each for each in installed_packages(standing.path, python) if each.name == wanted]
    if not found:
        msg = f"`{name}` is not installed in the environment of `{source}`."
        raise WrongCall(msg)
    where = places(site_packages(standing.path, python)).get(wanted)
    folder = folder_of(source)
    if where is None:
        # A range cannot name a local version (PEP 440), such as `2.4.0+cpu`.
        word = f"{wanted}>={found[0].version.partition('+')[0]}"
        return Edit(verb=Verb.ADD, words=(word,), folder=folder)
    place, editable = where
    options = ("--editable",) if editable else ()
    return Edit(verb=Verb.ADD, words=(place,), options=options, folder=folder)


def waits_for_start(source: Source, *, context: Context) -> bool:
    """Say whether a change that was refused because of a kernel is taken over by its next start."""
    record = context.store.record_of(whereabouts(context.store, source))
    return record is not None and (record.pending is not None or record.fingerprint is None)


def _own_block(source: Source, context: Context) -> str | None:
    """Give the block that a sync without a given one would take.

    :raises ScriptEnvError: if it cannot be read
    """
    standing = inspect(context.store, whereabouts(context.store, source), source)
    wanted = wanted_at_start(source, standing.record)
    if wanted.error is not None:
        raise wanted.error
    return wanted.block


def _block_in(cell: str) -> str | None:
    """Give the TOML of a cell's block.

    :raises Unclosed: if it is never closed
    :raises Duplicate: if there are several
    """
    try:
        found = block_of_cell(cell)
    except BlockError as error:
        if error.code == "unclosed":
            msg = "The cell has a block that is never closed."
            raise Unclosed(msg) from None
        msg = "The cell has more than one block."
        raise Duplicate(msg) from None
    return None if found is None else found.toml
