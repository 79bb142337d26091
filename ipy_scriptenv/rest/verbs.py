"""What tasks do: verbs of :mod:`ipy_scriptenv.environments`, and their results as JSON.

Called in threads. No document is written here: what it is to say goes back to the editor that has
it open, as ``cell``, ``block`` and ``lock``, and these alone may hold credentials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipy_scriptenv import environments, explaining, present, present_lists, present_locks
from ipy_scriptenv.environments import (
    ALL_PACKAGES,
    Choosing,
    Context,
    Edit,
    EditedCell,
    Item,
    Kept,
    Listed,
    Verb,
)
from ipy_scriptenv.errors import Displaced, EnvironmentInUse, NotFound
from ipy_scriptenv.record import Source
from ipy_scriptenv.rest.answers import listed
from ipy_scriptenv.rest.asking import Asked, TaskVerb
from ipy_scriptenv.rest.telling import told

__all__ = ["carry_out"]


class WaitsForRestart(EnvironmentInUse):
    """A kernel has imported what would change; its next start takes the change over."""

    def to_json(self) -> dict[str, Any]:
        """Give the ``error`` object, which says so."""
        return {**super().to_json(), "pending": True}


def carry_out(
    asked: Asked, *, path: str | None, new: str | None, context: Context
) -> dict[str, Any]:
    """Do what is asked for; give the verb's result.

    :param path: of the document, on the disk; ``None`` where an environment is named otherwise
    :param new: likewise, where it is moved to
    :raises ScriptEnvError: as the verbs
    """
    try:
        if asked.verb is TaskVerb.PRUNE:
            return _prune(asked, context)
        if path is None:
            return _of_listed(asked, listed(asked), new, context)
        source = environments.locate(path)
        return _of_source(asked, source, new, context)
    except OSError as error:
        raise explaining.from_os_error(error) from error


def _of_source(asked: Asked, source: Source, new: str | None, context: Context) -> dict[str, Any]:
    match asked.verb:
        case TaskVerb.SYNC | TaskVerb.UPGRADE | TaskVerb.REBUILD:
            return _sync(asked, source, context)
        case TaskVerb.LOCK:
            return _lock(asked, source, context)
        case TaskVerb.EDIT | TaskVerb.RECORD:
            return _edit(asked, source, context)
        case TaskVerb.REGISTER:
            name = environments.register(source, context=context)
            return told(present.register_json(source, name))
        case _:
            return _about_source(asked, source, new, context)


def _of_listed(asked: Asked, found: Listed, new: str | None, context: Context) -> dict[str, Any]:
    if asked.verb is TaskVerb.DELETE and asked.environment is not None:
        item = environments.delete_named(found.name, context=context)
        return told(present.delete_json(item))
    if found.source is None:
        msg = f"What the environment `{found.name}` is for is not known."
        raise NotFound(msg)
    return _about_source(asked, found.source, new, context)


def _about_source(
    asked: Asked, source: Source, new: str | None, context: Context
) -> dict[str, Any]:
    """Do what needs no document: it may be gone."""
    if asked.verb is TaskVerb.MOVE:
        target = environments.locate(new or "")
        return told(present.move_json(environments.move(source, target, context=context)))
    if asked.verb is TaskVerb.UNREGISTER:
        environments.unregister(source, context=context)
        return told(present.register_json(source, None))
    return told(present.delete_json(environments.delete(source, context=context)))


def _sync(asked: Asked, source: Source, context: Context) -> dict[str, Any]:
    upgrade = (asked.packages or ALL_PACKAGES) if asked.verb is TaskVerb.UPGRADE else ()
    try:
        done = environments.sync_opened(
            source,
            context=context,
            block=asked.block,
            given=asked.given,
            lock_text=asked.lock,
            choosing=Choosing(upgrade=upgrade),
            rebuild=asked.verb is TaskVerb.REBUILD,
        )
    except Displaced:
        raise
    except EnvironmentInUse as error:
        is_rebuild = asked.verb is TaskVerb.REBUILD
        if is_rebuild or not environments.waits_for_start(source, context=context):
            raise
        hint = "Restart the notebook's kernel: its first cell takes the change over."
        # To this process each kernel is another one; for who reads it, it is the notebook's own.
        msg = str(error).replace("another kernel", "a kernel")
        raise WaitsForRestart(msg, hint=hint) from error
    return {**told(present.sync_json(done.synced)), "lock": done.lock}


def _lock(asked: Asked, source: Source, context: Context) -> dict[str, Any]:
    locked = environments.lock_opened(
        source,
        context=context,
        embed=asked.embed,
        block=asked.block,
        given=asked.given,
        lock_text=asked.lock,
    )
    text = locked.content.decode() if locked.embedded else None
    return {**told(present_locks.lock_json(locked)), "text": text}


def _edit(asked: Asked, source: Source, context: Context) -> dict[str, Any]:
    edited = _edited(asked, source, context)
    return {
        "schema": 1,
        "cell": edited.cell,
        "before": edited.before,
        "had_block": edited.had_block,
        "block": edited.block,
        "added": [*told(edited.added)],
        "removed": [*told(edited.removed)],
        "lock": edited.lock,
        "warnings": [*told(edited.warnings)],
    }


def _edited(asked: Asked, source: Source, context: Context) -> EditedCell:
    if asked.verb is TaskVerb.EDIT and asked.edit == "change":
        old, new = asked.words
        return environments.change_requirement(
            source, old, new, context=context, cell=asked.cell or "", lock_text=asked.lock
        )
    if asked.verb is TaskVerb.RECORD:
        edit = environments.recording(source, asked.name or "", context=context)
    else:
        folder = Path(source.path or "").parent
        edit = Edit(verb=Verb(asked.edit or ""), words=asked.words, folder=folder)
    return environments.edit_cell(
        source, edit, context=context, cell=asked.cell, lock_text=asked.lock
    )


def _prune(asked: Asked, context: Context) -> dict[str, Any]:
    """Remove what nobody will miss; of what a dry run showed, what was chosen there."""
    from ipy_scriptenv.cli.lifecycle import read_duration

    unused = None if asked.unused_for is None else read_duration(asked.unused_for)
    items = environments.prunable(Kept(unused_for=unused), context=context)
    if asked.names is not None:
        items = [item for item in items if item.name in asked.names]
    kept: list[tuple[Item, str]] = []
    if not asked.dry_run:
        items, kept = environments.prune(items, context=context)
    answer = present_lists.prune_json(items, dry_run=asked.dry_run)
    answer["kept"] = [{"name": item.name, "reason": why} for item, why in kept]
    return told(answer)
