"""Bring an environment to what its source declares.

With no kernel running, new content is built beside and renamed into place; with one running it
goes in place, marked before and unmarked after. What would change or remove a distribution that a
running kernel has imported is refused before anything is changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ipy_scriptenv.environments.building import in_use
from ipy_scriptenv.environments.changing import Action, Synced, build_anew, change_in_place, keep
from ipy_scriptenv.environments.condition import Condition, inspect, installed_packages
from ipy_scriptenv.environments.installing import run_uv, tell_what_goes
from ipy_scriptenv.environments.job import Asker, Choosing, Job, Pin
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.moving import holding
from ipy_scriptenv.environments.refusing import replacement_reason
from ipy_scriptenv.environments.sources import read_source
from ipy_scriptenv.environments.standing import Context, deciding
from ipy_scriptenv.environments.wanted import (
    wanted_at_start,
    wanted_python,
    wanted_record,
    wanted_text,
)
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    InstallFailed,
    ResolutionFailed,
    RestartNeeded,
    ScriptEnvError,
)
from ipy_scriptenv.files import stat_of
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.leftovers import sweep
from ipy_scriptenv.locks import running_kernels
from ipy_scriptenv.record import OWN, FileStat, Record, Source
from ipy_scriptenv.settings import lock_timeout

__all__ = ["Action", "Synced", "sync"]


def sync(
    source: Source,
    *,
    context: Context,
    python: str | None = None,
    block: str | None = None,
    given: bool = False,
    line: int = 0,
    asker: Asker | None = None,
    exact: bool = True,
    settle: bool = False,
    rebuild: bool = False,
    name: EnvironmentName | None = None,
    folder: Path | None = None,
    pin: Pin = Pin.UPDATE,
    choosing: Choosing | None = None,
    keep_refused: bool = True,
    lock: bytes | None = None,
) -> Synced:
    """Make the environment of *source* hold exactly what is declared; make it if it is missing.

    :param python: a request for the interpreter, kept in the record
    :param block: TOML to sync to instead of the source's, if *given*
    :param line: where that block opens in its cell, for the places of its problems
    :param asker: the kernel that asks; its imports are safe from change
    :param exact: whether packages that were installed by hand go, although nothing else changed
    :param settle: take the record's block, whatever the source says by now: only finish what was
        begun, and look whether the asking kernel is the right one
    :param rebuild: whether to build anew what may be sound
    :param name: the environment's name where the source does not give it (ephemeral ones)
    :param folder: where relative paths in the block start, for a source without a file
    :param pin: what the source's lock means; without an asker, one that is out of date is written
        anew, or this is refused
    :param choosing: how versions are chosen in this call alone
    :param keep_refused: whether what is refused because of a running kernel waits for the next
        start
    :param lock: what the lock in an open notebook is to be, right for the block: it is installed
        and not written; ``None``: the source's own
    :raises ScriptEnvError: nothing that stood is changed, or the environment is marked for a
        rebuild
    """
    store = context.store
    store.prepare()
    if name is None and source.path is None:
        name = name_of(source, block=block)

    def tell() -> None:
        context.on_event({"event": "waiting", "for": "another change of this environment"})

    home = holding(context, source, name, timeout=lock_timeout(), on_wait=tell)
    with home as (name, held):
        sweep(store, name)
        standing = inspect(store, name, source)
        record = standing.record
        if given:
            wanted = wanted_text(block, _stat_to_record(source, record, block), line=line)
        elif settle and record is not None:
            wanted = wanted_record(record)
        else:
            wanted = wanted_at_start(source, record)
        if wanted.error is not None:
            raise wanted.error
        found = wanted_python(context, standing, wanted, request=python, fetch=True)
        chosen = choosing or Choosing()
        if lock is None and (asker is None or pin is not Pin.UPDATE):
            # A cell, which is waited for, neither does that nor loads it.
            from ipy_scriptenv.environments.locking import settle as settle_lock

            wanted = settle_lock(
                source, wanted, context=context, python=found, pin=pin, choosing=chosen
            )
        job = Job(
            context=context,
            source=source,
            standing=standing,
            wanted=wanted,
            python=found,
            decides=deciding(source, wanted.block, python=found, folder=folder, lock=lock),
            kernels=running_kernels(store.live(name)),
            asker=asker,
            held=held,
            folder=Path(source.path).parent if source.path else (folder or store.work),
            pin=pin,
            choosing=chosen,
        )
        with _failing(job, waits=keep_refused and not rebuild):
            synced, changed = _carry_out(job, exact=exact, anew=rebuild)
        return replace(synced, replace=replacement_reason(job, synced.record, changed))


@contextlib.contextmanager
def _failing(job: Job, *, waits: bool) -> Iterator[None]:
    """Do what a failure calls for: note what is refused, say in a cell what to do there.

    :param waits: whether what is refused waits for the next start
    """
    try:
        yield
    except (RestartNeeded, EnvironmentInUse):
        if waits:
            _keep_pending(job)
        raise
    except (ResolutionFailed, InstallFailed) as error:
        if job.asker is not None and error.hint == ResolutionFailed.default_hint:
            error.hint = "Mend the dependencies in the block and run the cell again."
        raise


def _carry_out(job: Job, *, exact: bool, anew: bool) -> tuple[Synced, tuple[str, ...]]:
    """Keep, change in place, or build anew; give also what changed of the asker's imports."""
    standing, record = job.standing, job.standing.record
    if anew and standing.condition is not Condition.MISSING:
        if job.kernels:
            raise in_use(standing.name, job.kernels)
        return build_anew(job, Action.REBUILT), ()
    if record is not None and standing.condition is Condition.SOUND and job.same_python:
        found = installed_packages(standing.path, record.python)
        if _can_stay(job, record) and not (exact and found != record.packages):
            return keep(job, record), ()
        tell_what_goes(job, found)
        if job.kernels:
            return change_in_place(job, record)
        return build_anew(job, Action.UPDATED), ()
    if job.others and not job.same_python:
        raise in_use(standing.name, job.others)
    if job.asker is not None and not job.same_python and not job.asker.fresh:
        msg = f"The block asks for another Python ({job.python.version}) than this kernel's."
        raise RestartNeeded(msg)
    missing = standing.condition is Condition.MISSING
    return build_anew(job, Action.CREATED if missing else Action.REBUILT), ()


def _can_stay(job: Job, record: Record) -> bool:
    """Say whether an environment holds what is wanted: by its record, or as uv tells of a lock.

    Without a lock, uv would count what is there already, which a new resolution might not give.
    """
    is_same = record.fingerprint == job.decides.fingerprint and not job.choosing.says_something
    if is_same and job.pin is not Pin.FROZEN:
        return True
    is_locked = job.decides.lock is not None and (job.asker is None or job.pin is not Pin.UPDATE)
    if record.fingerprint is None or not is_locked or job.settings_changed:
        return False
    add = ("ipykernel",) if record.kernel == OWN else ()
    quiet = replace(job, context=replace(job.context, on_event=lambda _event: None))
    return not run_uv(quiet, job.standing.path, add=add, dry_run=True)


def _stat_to_record(source: Source, record: Record | None, block: str | None) -> FileStat | None:
    """Give the stat to record with a block that was executed and may not be saved.

    Only a file that reads as it did, or as what was executed, counts as seen: any other change of
    it is taken at the next start.
    """
    found = stat_of(Path(source.path)) if source.path else None
    if record is None or found is None or found == record.source_stat:
        return found
    try:
        reading = read_source(source)
    except ScriptEnvError:
        # It could not be read at the start either, if no stat was recorded.
        return record.source_stat or found
    if reading is None:
        return record.source_stat
    saved = reading.document.block
    text = None if saved is None else without_credentials(saved.toml)
    executed = None if block is None else without_credentials(block)
    return reading.stat if text in (executed, record.block) else record.source_stat


def _keep_pending(job: Job) -> None:
    """Note what was refused, for the next start."""
    record = job.standing.record
    if record is None:
        return
    current = job.context.store.read_record(job.standing.path) or record
    if record.fingerprint == job.decides.fingerprint:
        # Only what was installed by hand stands in the way: the next start's first sync takes it.
        pending = replace(current, fingerprint=None)
    else:
        pending = replace(current, pending=job.wanted.recorded or "", source_stat=job.wanted.stat)
    with contextlib.suppress(ScriptEnvError):
        job.context.store.write_record(job.standing.path, pending)
