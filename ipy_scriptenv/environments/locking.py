"""Locks: what a block resolves to, written down beside the source or in the notebook itself.

A lock is uv's own, and universal. It is made beside the source, so that its paths are relative and
no path of this machine enters it; it is read in a folder of ours.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.environments.job import Choosing, Pin
from ipy_scriptenv.environments.relocking import path_warnings, relocked, require_current
from ipy_scriptenv.environments.resolving import Resolvable, read_resolvable
from ipy_scriptenv.environments.sources import Lock, lock_of, read_lock
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.wanted import Wanted
from ipy_scriptenv.errors import NoLock, PolicyViolation, StaleLock, WrongCall
from ipy_scriptenv.files import rewrite, stat_of
from ipy_scriptenv.metadata import locked_before, locked_packages, with_embedded_lock
from ipy_scriptenv.policy import Policy
from ipy_scriptenv.record import Package, Python, Source

__all__ = ["Locked", "Outcome", "check_lock", "lock", "settle"]

_NOTEBOOK = ".ipynb"


class Outcome(enum.StrEnum):
    """What became of a lock."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A lock that is right for its source.

    :param path: the file that holds it
    :param embedded: whether that is the notebook itself
    :param outcome: what became of it
    :param content: the lock
    """

    source: Source
    path: Path
    embedded: bool
    outcome: Outcome
    packages: tuple[Package, ...]
    warnings: tuple[str, ...] = ()
    content: bytes = b""


def lock(
    source: Source,
    *,
    context: Context,
    python: str | None = None,
    embed: bool = False,
    choosing: Choosing | None = None,
    block: str | None = None,
    given: bool = False,
    opened: bool = False,
    before: Lock | None = None,
) -> Locked:
    """Pin everything that a source's block resolves to; what is pinned already stays as it is.

    The lock stays where it is. A new one goes beside the source, or into the notebook.

    :param python: a request for the interpreter to resolve with
    :param embed: whether it is to stand in the notebook's metadata
    :param block: TOML to lock instead of the file's, if *given*
    :param opened: whether an editor has the notebook: a lock in its metadata is the editor's to
        write, and the file stays as it is
    :param before: the lock that it has there; ``None``: the source's own
    :raises ScriptEnvError: nothing is written
    """
    choosing = choosing or Choosing()
    found = read_resolvable(source, context=context, python=python, block=block, given=given)
    if embed and not str(source.path).lower().endswith(_NOTEBOOK):
        msg = f"`{source}` is no notebook: its lock stands beside it."
        raise WrongCall(msg, hint="Leave out --embed.")
    old = before or found.lock
    content = relocked(
        context,
        source,
        found.toml,
        None if old is None else old.content,
        python=Path(found.python.base),
        upgrade=choosing.upgrade,
        exclude_newer=choosing.exclude_newer,
        index=choosing.index,
    )
    embedded = embed or (old is not None and old.embedded)
    stays = old is not None and old.embedded == embedded and old.content == content
    path = Path(source.path or "") if embedded else (lock_of(source) or Path())
    if not stays and not (embedded and opened):
        beside = None if old is None or old.embedded else old.data
        _write(path, content, expected=found.data if embedded else beside, embedded=embedded)
    created = Outcome.CREATED if old is None else Outcome.UPDATED
    return Locked(
        source=source,
        path=path,
        embedded=embedded,
        outcome=Outcome.KEPT if stays else created,
        packages=_packages(content),
        warnings=_warnings(source, content, embedded=embedded),
        content=content,
    )


def check_lock(
    source: Source,
    *,
    context: Context,
    python: str | None = None,
    choosing: Choosing | None = None,
) -> Locked:
    """Make sure that a source has a lock, and that it is for the block as it is; write nothing.

    :raises NoLock: if there is none
    :raises StaleLock: if it is for another block
    """
    found = read_resolvable(source, context=context, python=python)
    if found.lock is None:
        raise _no_lock(source)
    require_current(context, found, choosing or Choosing())
    return Locked(
        source=source,
        path=found.lock.path,
        embedded=found.lock.embedded,
        outcome=Outcome.KEPT,
        packages=_packages(found.lock.content),
        warnings=_warnings(source, found.lock.content, embedded=found.lock.embedded),
        content=found.lock.content,
    )


def settle(
    source: Source,
    wanted: Wanted,
    *,
    context: Context,
    python: Python,
    pin: Pin,
    choosing: Choosing,
) -> Wanted:
    """Have a sync find the lock that it is to install: check it, or bring it up to date.

    :returns: *wanted*, with the stat of a notebook whose lock was written
    :raises NoLock: if there must be one
    :raises StaleLock: if it must be up to date and is not
    """
    found = read_lock(source)
    if found is None:
        if pin is not Pin.UPDATE:
            raise _no_lock(source)
        return wanted
    path = Path(source.path or "")
    data = found.data if found.embedded else b""
    toml = wanted.block or ""
    resolvable = Resolvable(source=source, data=data, toml=toml, lock=found, python=python)
    if pin is Pin.FROZEN:
        _refuse_later(policy.current(), found.content)
        return wanted
    try:
        require_current(context, resolvable, choosing)
        if not choosing.upgrade:
            return wanted
    except StaleLock:
        if pin is Pin.LOCKED:
            raise
    content = relocked(
        context,
        source,
        toml,
        found.content,
        python=Path(python.base),
        upgrade=choosing.upgrade,
        exclude_newer=choosing.exclude_newer,
        index=choosing.index,
    )
    if content == found.content:
        return wanted
    is_seen = stat_of(path) == wanted.stat
    _write(found.path, content, expected=found.data, embedded=found.embedded)
    context.on_event({"event": "resolving", "text": f"Brought the lock up to date: {found.path}"})
    for warning in path_warnings(content):
        context.on_event({"event": "warning", "text": warning})
    return replace(wanted, stat=stat_of(path)) if found.embedded and is_seen else wanted


def _refuse_later(allowed: Policy, lock: bytes) -> None:
    """Refuse a lock that nothing is checked of, where the policy sets a date.

    :raises PolicyViolation: if it was not made for that date or an earlier one
    :raises BadBlock: if it is no TOML
    """
    if allowed.exclude_newer is None:
        return
    from ipy_scriptenv.environments.allowed import limits

    made_for = locked_before(lock)
    if made_for and limits(allowed, exclude_newer=made_for)[-1] == made_for:
        return
    msg = "The administrator's policy sets a date, and the lock was not made for it."
    raise PolicyViolation(msg, hint="Lock it anew: `jupyter scriptenv lock SOURCE`.")


def _no_lock(source: Source) -> NoLock:
    return NoLock(f"`{source}` has no lock.")


def _write(path: Path, content: bytes, *, expected: bytes | None, embedded: bool) -> None:
    """Write a lock where it belongs, if the file is still as it was read.

    :raises SourceChanged: if it is not
    """
    data = content
    if embedded:
        data = with_embedded_lock(expected or b"", content.decode(), name=path.name)
    rewrite(path, data, expected=expected)


def _packages(content: bytes) -> tuple[Package, ...]:
    return tuple(Package(name=name, version=version) for name, version in locked_packages(content))


def _warnings(source: Source, content: bytes, *, embedded: bool) -> tuple[str, ...]:
    warnings, beside = path_warnings(content), lock_of(source)
    if not embedded or beside is None or stat_of(beside) is None:
        return warnings
    unread = f"`{beside}` is not read: the notebook itself holds a lock. Delete the file."
    return (unread, *warnings)
