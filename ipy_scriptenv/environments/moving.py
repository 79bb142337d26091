"""Carry environments along when their sources are renamed.

A move has two halves. The record gets the new source at once, so that a new file at the old path
never gets this environment. The folder gets the new name as soon as no kernel runs in it; until
then a note under the new name says where it stands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ipy_scriptenv.environments.building import publish
from ipy_scriptenv.environments.condition import Condition, Standing, inspect, is_for, whereabouts
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.standing import Context, deciding, is_at_home
from ipy_scriptenv.errors import (
    Displaced,
    EnvironmentInUse,
    Foreign,
    NoEnvironment,
    ScriptEnvError,
)
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.leftovers import sweep
from ipy_scriptenv.locks import Held, exclusive
from ipy_scriptenv.record import Record, Source, SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.store import Store

__all__ = [
    "Moved",
    "finish_moves",
    "holding",
    "move",
]

_BUSY = 5.0
"""Seconds to wait for who is at work on an environment that stands in another's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a move did.

    :param waiting: kernels run in the environment, so it keeps its old path until they have ended
    """

    old: Source
    new: Source
    name: EnvironmentName
    path: Path
    kernelspec: str
    waiting: bool


def finish_moves(context: Context, source: Source, *, wait: float = 0) -> EnvironmentName:
    """Finish the moves that concern a source as far as they can be; give its environment's name.

    :param wait: seconds to wait for others that are at work on them
    :raises Displaced: if a renamed source's environment still stands in its place
    """
    store = context.store
    own = name_of(source)
    name = whereabouts(store, source)
    if name != own:
        occupant = _occupant(store, own, source)
        is_free = occupant is None or _finish(context, own, occupant, wait=wait)
        return own if is_free and _finish(context, name, source, wait=wait) else name
    if source.path is not None and store.moved_from(own) is not None:
        _tidy(context, own, source)
    occupant = _occupant(store, own, source)
    if occupant is not None and not _finish(context, own, occupant, wait=max(wait, _BUSY)):
        msg = (
            f"The environment at the place of `{source}` belongs to `{occupant}`, as the file is "
            "called now, and a kernel runs in it."
        )
        raise Displaced(msg, hint="Shut down that kernel.")
    return own


@contextlib.contextmanager
def holding(
    context: Context,
    source: Source,
    name: EnvironmentName | None,
    *,
    timeout: float,
    on_wait: Callable[[], None],
) -> Iterator[tuple[EnvironmentName, Held]]:
    """Hold the lock of a source's environment, under the name that it has by then.

    :param name: its name, where the source does not give it; then nothing moves it
    :raises Displaced: as :func:`finish_moves`
    """
    store, given = context.store, name
    while True:
        name = given or finish_moves(context, source)
        with exclusive(
            store.lock(name),
            timeout=timeout,
            on_wait=on_wait,
            cancelled=lambda: context.cancel.is_set,
        ) as held:
            settled = given is not None or (
                whereabouts(store, source) == name and _occupant(store, name, source) is None
            )
            if settled:
                yield name, held
                return
        # Somebody has moved it meanwhile.


def move(old: Source, new: Source, *, context: Context, replacing: bool = False) -> Moved:
    """Give the environment of *old* to *new*: folder, record and kernelspec.

    Nothing is installed: an environment can stand anywhere.

    :param replacing: whether an environment that *new* has may go
    :raises NoEnvironment: if *old* has none
    :raises EnvironmentInUse: if *new* has one that may not go
    """
    store = context.store
    store.prepare()
    name, target = whereabouts(store, old), name_of(new)
    with _both(context, name, target):
        sweep(store, name)
        standing = inspect(store, name, old)
        record = standing.record
        if record is None or standing.condition is Condition.MISSING:
            msg = f"`{old}` has no environment to move."
            raise NoEnvironment(msg)
        if name != target:
            _require_free(store, target, new, replacing=replacing)
            store.note_move(name, target)
        renamed = _renamed(record, new)
        store.write_record(standing.path, renamed)
        _forget(store, old, name)
        with contextlib.suppress(EnvironmentInUse):
            if name == target or not is_at_home(store, name):
                return _place(context, name, renamed, old)
        publish(context, _standing(store, name, renamed), renamed)
        return _moved(store, name, renamed, old, waiting=True)


def _finish(context: Context, name: EnvironmentName, source: Source, *, wait: float) -> bool:
    """Give an environment the name of its source, if nobody uses it; say whether it has it."""
    store = context.store
    target = name_of(source)
    try:
        with _both(context, name, target, wait=wait):
            record = store.record_of(name)
            if record is None or record.source != source:
                store.forget_move(target)
                return True
            if is_at_home(store, name) or is_at_home(store, target):
                return False
            _require_free(store, target, source, replacing=True)
            _place(context, name, record, None)
    except (ScriptEnvError, OSError):
        return False
    return True


def _tidy(context: Context, name: EnvironmentName, source: Source) -> None:
    """Finish what a kill left of a move whose folder has its new name, or that never began."""
    store = context.store
    old = store.moved_from(name)
    if old is None:
        return
    with contextlib.suppress(ScriptEnvError, OSError), _both(context, old, name, wait=0):
        sweep(store, old)
        record = store.record_of(name)
        if record is not None and record.source == source and not is_for(store, old, source):
            standing = _standing(store, name, record)
            publish(context, standing, record)
            specs.leave_alias(old, name, source, standing.path, trash=context.store.building)
        if not is_for(store, old, source):
            store.forget_move(name)


def _place(context: Context, name: EnvironmentName, record: Record, old: Source | None) -> Moved:
    """Rename the folder; the caller holds both locks, and no kernel runs."""
    store = context.store
    target = name_of(record.source)
    if name != target:
        sweep(store, target)
        store.place(store.environment(name), store.environment(target))
        if store.is_starting(name):
            # A start has not waited for the lock, and has not seen that it is gone.
            store.environment(target).rename(store.environment(name))
            msg = f"A kernel is being started in the environment of `{record.source}`."
            raise EnvironmentInUse(msg)
    standing = _standing(store, target, record)
    publish(context, standing, record)
    if name != target:
        # The environment has moved, whatever becomes of the picker.
        with contextlib.suppress(ScriptEnvError, OSError):
            specs.leave_alias(
                name, target, record.source, standing.path, trash=context.store.building
            )
        store.forget_move(target)
    return _moved(store, target, record, old or record.source, waiting=False)


def _moved(
    store: Store, name: EnvironmentName, record: Record, old: Source, *, waiting: bool
) -> Moved:
    return Moved(
        old=old,
        new=record.source,
        name=name,
        path=store.environment(name),
        kernelspec=kernelspec_name(name),
        waiting=waiting,
    )


def _standing(store: Store, name: EnvironmentName, record: Record) -> Standing:
    path = store.environment(name)
    return Standing(name=name, path=path, condition=Condition.SOUND, record=record)


def _renamed(record: Record, new: Source) -> Record:
    """Give the record with its new source.

    What is installed stays. Where the block means something else in the new folder, the first cell
    has to look.
    """
    decides = deciding(new, record.block, python=record.python)
    same = decides.fingerprint == record.fingerprint
    fingerprint = record.fingerprint if same else None
    return replace(record, source=new, watch=decides.watch, fingerprint=fingerprint)


def _require_free(store: Store, target: EnvironmentName, new: Source, *, replacing: bool) -> None:
    """Check that what stands under the new name, if anything, may go.

    :raises NewerSchema: if a newer version made it
    """
    path = store.environment(target)
    if not os.path.lexists(path):
        return
    occupant = store.read_record(path)
    if is_at_home(store, target):
        msg = f"A kernel runs in the environment that `{new}` has."
        raise EnvironmentInUse(msg)
    if occupant is not None and occupant.source != new:
        msg = f"The environment in the place of `{new}` is for `{occupant.source}`."
        raise Foreign(msg)
    if not replacing:
        msg = f"`{new}` has an environment already."
        raise EnvironmentInUse(msg, hint="Delete it first: `jupyter scriptenv delete SOURCE`.")


def _forget(store: Store, old: Source, name: EnvironmentName) -> None:
    """Take back the note of an earlier move that was not finished."""
    if name_of(old) != name:
        store.forget_move(name_of(old))


def _occupant(store: Store, name: EnvironmentName, source: Source) -> Source | None:
    """Give the renamed source whose environment still stands under another's name."""
    record = store.record_of(name)
    if record is None or record.source == source or record.source.kind is not SourceKind.FILE:
        return None
    return record.source if store.moved_from(name_of(record.source)) == name else None


@contextlib.contextmanager
def _both(
    context: Context, one: EnvironmentName, other: EnvironmentName, *, wait: float | None = None
) -> Iterator[None]:
    """Hold two environments' locks, always in the same order."""
    with contextlib.ExitStack() as stack:
        for name in sorted({one, other}):
            stack.enter_context(
                exclusive(
                    context.store.lock(name),
                    timeout=lock_timeout() if wait is None else wait,
                    cancelled=lambda: context.cancel.is_set,
                )
            )
        yield
