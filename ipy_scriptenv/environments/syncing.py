"""Bring an environment to what its source declares.

With no kernel running, new content is built beside and renamed into place; with one running it
goes in place, marked before and unmarked after. What would change or remove a distribution that a
running kernel has imported is refused before anything is changed.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ipy_scriptenv.bytecode import sharing
from ipy_scriptenv.environments.building import (
    building,
    carried_over,
    first_record,
    furnish,
    in_use,
    publish,
    uv_version,
    with_host,
)
from ipy_scriptenv.environments.condition import Condition, inspect, installed_packages
from ipy_scriptenv.environments.installing import install, marked, run_uv, tell_what_goes
from ipy_scriptenv.environments.job import Asker, Choosing, Job, Pin
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.locking import settle as settle_lock
from ipy_scriptenv.environments.moving import holding
from ipy_scriptenv.environments.refusing import (
    refuse_imported,
    refuse_other_versions,
    replacement_reason,
)
from ipy_scriptenv.environments.sources import read_source
from ipy_scriptenv.environments.standing import Context, deciding, now
from ipy_scriptenv.environments.wanted import (
    wanted_at_start,
    wanted_python,
    wanted_record,
    wanted_text,
)
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    RestartNeeded,
    ScriptEnvError,
)
from ipy_scriptenv.files import stat_of
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.kernels.layer import damaged_packages
from ipy_scriptenv.kernels.side import ensure_kernel_side
from ipy_scriptenv.leftovers import sweep
from ipy_scriptenv.locks import running_kernels
from ipy_scriptenv.record import OWN, FileStat, Package, Record, Source, SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.uv import Change
from ipy_scriptenv.venvs import site_packages

__all__ = ["Action", "Synced", "sync"]


class Action(enum.StrEnum):
    """What a sync did."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a sync did, and what stands now.

    :param curve: whether its kernel can encrypt its connections
    :param replace: why the asking kernel must start anew; only ever for a fresh one
    """

    name: EnvironmentName
    path: Path
    record: Record
    action: Action
    changes: tuple[Change, ...]
    kernelspec: str | None
    warnings: tuple[str, ...]
    curve: bool
    replace: str | None = None


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
        try:
            synced, changed = _carry_out(job, exact=exact, rebuild=rebuild)
        except (RestartNeeded, EnvironmentInUse):
            if not rebuild and keep_refused:
                _keep_pending(job)
            raise
        return replace(synced, replace=replacement_reason(job, synced.record, changed))


def _carry_out(job: Job, *, exact: bool, rebuild: bool) -> tuple[Synced, tuple[str, ...]]:
    """Keep, change in place, or build anew; give also what changed of the asker's imports."""
    standing, record = job.standing, job.standing.record
    if rebuild and standing.condition is not Condition.MISSING:
        if job.kernels:
            raise in_use(standing.name, job.kernels)
        return _rebuild(job, Action.REBUILT), ()
    if record is not None and standing.condition is Condition.SOUND and job.same_python:
        found = installed_packages(standing.path, record.python)
        if _can_stay(job, record) and not (exact and found != record.packages):
            return _result(job, record, record.packages, Action.KEPT), ()
        tell_what_goes(job, found)
        if job.kernels:
            return _in_place(job, record)
        return _rebuild(job, Action.UPDATED), ()
    if job.others and not job.same_python:
        raise in_use(standing.name, job.others)
    if job.asker is not None and not job.same_python and not job.asker.fresh:
        msg = f"The block asks for another Python ({job.python.version}) than this kernel's."
        raise RestartNeeded(msg)
    missing = standing.condition is Condition.MISSING
    return _rebuild(job, Action.CREATED if missing else Action.REBUILT), ()


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


def _rebuild(job: Job, action: Action) -> Synced:
    """Build everything beside, then give it the name."""
    standing = job.standing
    before = standing.record.packages if standing.record else ()
    if standing.record is None and job.kernels:
        before = installed_packages(standing.path, job.python)
    with building(job.context, standing, job.python, job.held) as path:
        kernel = install(job, path)
        if action is Action.REBUILT and damaged_packages(site_packages(path, job.python)):
            # What uv links from its cache was cut there too.
            kernel = install(replace(job, refetch=True), path)
        packages = installed_packages(path, job.python)
        refuse_other_versions(job, before, packages)
        site = site_packages(path, job.python)
        lacking = sharing.link(job.context.store, standing.name, site, job.python)
        record = first_record(job.context, job.source, job.python, job.wanted, kernel=kernel)
        record = carried_over(standing.record, record)
        record = _synced_record(job, record, packages, kernel)
        furnish(job.context, path, record)
        _refuse_newcomers(job)
        job.context.store.place(path, standing.path)
    _share(job, lacking)
    return _result(job, record, before, action)


def _share(job: Job, wheels: tuple[sharing.Wheel, ...]) -> None:
    """Have byte code made of what others may install too."""
    site = site_packages(job.standing.path, job.python)
    sharing.request(job.context.store, job.standing.name, site, job.python, wheels)


def _refuse_newcomers(job: Job) -> None:
    """Refuse to swap the environment under a kernel that started while the new one was built.

    :raises EnvironmentInUse: naming it; unless it can go on, in the same Python
    """
    known = {kernel.uuid for kernel in job.kernels}
    found = running_kernels(job.context.store.live(job.standing.name))
    newcomers = [kernel for kernel in found if kernel.uuid not in known]
    if newcomers and not job.same_python:
        raise in_use(job.standing.name, newcomers)


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


def _in_place(job: Job, record: Record) -> tuple[Synced, tuple[str, ...]]:
    """Change a standing environment under the kernels that run in it."""
    path = job.standing.path
    before = installed_packages(path, record.python)
    keep_own = record.kernel == OWN
    changed, expected = refuse_imported(job, record, before, keep_own=keep_own)
    with marked(job, path, before) as context:
        here = replace(job, context=context)
        kernel = install(here, path, keep_own=keep_own, expected=expected)
        packages = installed_packages(path, record.python)
        new = {package.name for package in set(packages) - set(before)}
        site = site_packages(path, record.python)
        name = job.standing.name
        lacking = sharing.link(job.context.store, name, site, record.python, among=new)
        renewed = replace(
            record,
            python=job.python,
            hosts=with_host(record.hosts),
            kernel_side=ensure_kernel_side(job.context.store),
        )
        renewed = _synced_record(job, renewed, packages, kernel)
        furnish(job.context, path, renewed)
    _share(job, lacking)
    return _result(job, renewed, before, Action.UPDATED), changed


def _synced_record(job: Job, record: Record, packages: tuple[Package, ...], kernel: str) -> Record:
    return replace(
        record,
        block=job.wanted.recorded,
        source_stat=job.wanted.stat,
        pending=None,
        fingerprint=job.decides.fingerprint,
        lock_sha256=job.decides.lock_sha256,
        watch=job.decides.watch,
        settings=job.decides.settings,
        packages=packages,
        kernel=kernel,
        uv=uv_version(),
        last_used=now(),
    )


def _result(job: Job, record: Record, before: Iterable[Package], action: Action) -> Synced:
    if action is Action.KEPT:
        record = _synced_record(job, record, record.packages, record.kernel)
        furnish(job.context, job.standing.path, record)
    curve = publish(job.context, job.standing, record)
    has_spec = record.source.kind is SourceKind.FILE
    warnings = job.wanted.declaration.warnings if job.wanted.declaration else ()
    return Synced(
        name=job.standing.name,
        path=job.standing.path,
        record=record,
        action=action,
        changes=_difference(before, record.packages),
        kernelspec=kernelspec_name(job.standing.name) if has_spec else None,
        warnings=warnings,
        curve=curve,
    )


def _difference(before: Iterable[Package], after: Iterable[Package]) -> tuple[Change, ...]:
    old, new = set(before), set(after)
    removed = [(package, "removed") for package in old - new]
    installed = [(package, "installed") for package in new - old]
    ordered = sorted(removed + installed, key=lambda pair: (pair[0].name, pair[1]))
    return tuple(
        Change(name=package.name, version=package.version, action=action)
        for package, action in ordered
    )


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
