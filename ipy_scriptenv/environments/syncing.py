"""Bring an environment to what its source declares.

With no kernel running, new content is built beside and renamed into place; with one running it
goes in place, marked before and unmarked after. What would change or remove a distribution that a
running kernel has imported is refused before anything is changed.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ipy_scriptenv import interpreters, plan
from ipy_scriptenv.environments.building import (
    Wanted,
    building,
    first_record,
    furnish,
    in_use,
    publish,
    uv_version,
    wanted_at_start,
    wanted_python,
    wanted_text,
    with_host,
)
from ipy_scriptenv.environments.imported import importers, requirements_on, shadowed
from ipy_scriptenv.environments.sources import name_of
from ipy_scriptenv.environments.standing import (
    Condition,
    Context,
    Deciding,
    Standing,
    deciding,
    inspect,
    installed_packages,
    now,
)
from ipy_scriptenv.errors import (
    EnvironmentInUse,
    InstallFailed,
    Interrupted,
    NoPython,
    Problem,
    RestartNeeded,
    ScriptEnvError,
)
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernel_side.block import render_block
from ipy_scriptenv.kernels.layer import ensure_layer, site_packages
from ipy_scriptenv.kernels.side import ensure_kernel_side
from ipy_scriptenv.locks import Held, RunningKernel, exclusive, running_kernels
from ipy_scriptenv.metadata import staged_block
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.record import OWN, Package, Python, Record, Source, SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.store import CHANGING, explained, stat_of, write_atomically
from ipy_scriptenv.uv import Change, Event

__all__ = ["Action", "Asker", "Synced", "sync"]


class Action(enum.StrEnum):
    """What a sync did."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The kernel that asks for a sync, where one does.

    :param uuid: name of its live lock
    :param fresh: no cell of the user has run in it, so it may replace itself
    :param python: base interpreter that it runs on
    :param kernel: the layer that it runs on, or ``own``
    :param loaded: what it has imported
    """

    uuid: str
    fresh: bool
    python: str
    kernel: str
    loaded: Loaded = field(default_factory=Loaded)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One sync, with everything that it was found to depend on."""

    context: Context
    source: Source
    standing: Standing
    wanted: Wanted
    python: Python
    decides: Deciding
    kernels: list[RunningKernel]
    asker: Asker | None
    held: Held

    @property
    def others(self) -> list[RunningKernel]:
        uuid = self.asker.uuid if self.asker else None
        return [kernel for kernel in self.kernels if kernel.uuid != uuid]

    @property
    def same_python(self) -> bool:
        record = self.standing.record
        return record is not None and (record.python.base, record.python.version) == (
            self.python.base,
            self.python.version,
        )


def sync(
    source: Source,
    *,
    context: Context,
    python: str | None = None,
    block: str | None = None,
    given: bool = False,
    asker: Asker | None = None,
    exact: bool = True,
    name: EnvironmentName | None = None,
) -> Synced:
    """Make the environment of *source* hold exactly what is declared; make it if it is missing.

    :param python: a request for the interpreter, kept in the record
    :param block: TOML to sync to instead of the source's, if *given*
    :param asker: the kernel that asks; its imports are safe from change
    :param exact: whether packages that were installed by hand go, although nothing else changed
    :param name: the environment's name where the source does not give it (ephemeral ones)
    :raises ScriptEnvError: nothing that stood is changed, or the environment is marked for a
        rebuild
    """
    store = context.store
    store.prepare()
    name = name or name_of(source, block=block)

    def tell() -> None:
        context.on_event({"event": "waiting", "for": "another change of this environment"})

    with exclusive(
        store.lock(name), timeout=lock_timeout(), on_wait=tell, cancelled=context.is_cancelled
    ) as held:
        store.sweep(name)
        standing = inspect(store, name, source)
        if given:
            stat = stat_of(Path(source.path)) if source.path else None
            wanted = wanted_text(block, stat)
        else:
            wanted = wanted_at_start(source, standing.record)
        if wanted.error is not None:
            raise wanted.error
        found = _python(context, standing, wanted, python)
        job = _Job(
            context=context,
            source=source,
            standing=standing,
            wanted=wanted,
            python=found,
            decides=deciding(source, wanted.block, python=found),
            kernels=running_kernels(store.live(name)),
            asker=asker,
            held=held,
        )
        try:
            return _carry_out(job, exact=exact)
        except (RestartNeeded, EnvironmentInUse):
            _keep_pending(job)
            raise


def _carry_out(job: _Job, *, exact: bool) -> Synced:
    standing, record = job.standing, job.standing.record
    if record is not None and standing.condition is Condition.SOUND and job.same_python:
        in_sync = record.fingerprint == job.decides.fingerprint
        found = installed_packages(standing.path, record.python)
        if in_sync and not (exact and found != record.packages):
            return _result(job, record, record.packages, Action.KEPT)
        if job.kernels:
            return _in_place(job, record)
        return _rebuild(job, Action.UPDATED)
    if job.others and not job.same_python:
        raise in_use(standing.name, job.others)
    if job.asker is not None and not job.same_python and not job.asker.fresh:
        msg = f"The block asks for another Python ({job.python.version}) than this kernel's."
        raise RestartNeeded(msg)
    missing = standing.condition is Condition.MISSING
    return _rebuild(job, Action.CREATED if missing else Action.REBUILT)


def _python(context: Context, standing: Standing, wanted: Wanted, request: str | None) -> Python:
    try:
        return wanted_python(context, standing, wanted, request=request, configured=True)
    except NoPython:
        requires = wanted.declaration.requires_python if wanted.declaration else None
        return interpreters.fetch(context.uv(), request=request, requires_python=requires)


def _rebuild(job: _Job, action: Action) -> Synced:
    """Build everything beside, then give it the name."""
    standing = job.standing
    before = standing.record.packages if standing.record else ()
    with building(job.context, standing, job.python, job.held) as path:
        kernel = _install(job, path)
        packages = installed_packages(path, job.python)
        _refuse_other_versions(job, before, packages)
        record = first_record(job.context, job.source, job.python, job.wanted, kernel=kernel)
        if standing.record is not None:
            hosts = with_host(standing.record.hosts)
            record = replace(record, created=standing.record.created, hosts=hosts)
        record = _synced_record(job, record, packages, kernel)
        furnish(job.context, path, record)
        job.context.store.place(path, standing.path)
    return _result(job, record, before, action)


def _in_place(job: _Job, record: Record) -> Synced:
    """Change a standing environment under the kernels that run in it."""
    path = job.standing.path
    before = installed_packages(path, record.python)
    keep_own = record.kernel == OWN
    _refuse_imported(job, record, before, keep_own=keep_own)
    with _marked(job, path, before) as context:
        kernel = _install(replace(job, context=context), path, keep_own=keep_own)
        packages = installed_packages(path, record.python)
        renewed = replace(
            record,
            python=job.python,
            hosts=with_host(record.hosts),
            kernel_side=ensure_kernel_side(job.context.store),
        )
        renewed = _synced_record(job, renewed, packages, kernel)
        furnish(job.context, path, renewed)
    return _result(job, renewed, before, Action.UPDATED)


def _install(job: _Job, path: Path, *, keep_own: bool = False) -> str:
    """Install what the block declares, and the kernel too where the layer cannot serve.

    :returns: the layer's name, or ``own``
    """
    add = ("ipykernel",) if keep_own else ()
    if not job.wanted.requires_nothing or keep_own or not _is_empty(path, job.python):
        _run_uv(job, path, add=add)
    layer = ensure_layer(job.context.store, job.context.uv(job.held), job.python)
    packages = installed_packages(path, job.python)
    conflicts = plan.layer_conflicts(
        packages=layer.packages, requires=layer.requires, installed=packages
    )
    if not conflicts:
        return layer.name
    if not any(package.name == "ipykernel" for package in packages):
        job.context.on_event({"event": "installing", "text": f"the kernel too: {conflicts[0]}"})
        _run_uv(job, path, add=("ipykernel",))
    return OWN


def _run_uv(
    job: _Job, path: Path, *, add: tuple[str, ...], dry_run: bool = False
) -> tuple[Change, ...]:
    folder = Path(job.source.path).parent if job.source.path else job.context.store.work
    toml = staged_block(job.wanted.block or "", folder=folder, add=add)
    text = render_block(toml)
    with job.context.store.staged(job.standing.name, text, job.decides.lock) as script:
        return job.context.uv(job.held).sync(script, path, dry_run=dry_run)


def _is_empty(path: Path, python: Python) -> bool:
    return not installed_packages(path, python)


def _refuse_imported(
    job: _Job, record: Record, before: tuple[Package, ...], *, keep_own: bool
) -> None:
    """Refuse what a running kernel could not bear, before anything is changed.

    :raises RestartNeeded: for the asking kernel
    :raises EnvironmentInUse: for another one
    """
    asker = job.asker
    if not job.others and asker is not None and asker.fresh and not asker.loaded.environment:
        return
    add = ("ipykernel",) if keep_own else ()
    changes = _run_uv(job, job.standing.path, add=add, dry_run=True)
    going = {change.name for change in changes if change.action == "removed"}
    site = site_packages(job.standing.path, record.python)
    if asker is not None:
        names = importers(site, going, asker.loaded.environment)
        if names:
            msg = f"Packages that this kernel has imported would change: {', '.join(names)}."
            raise RestartNeeded(msg, problems=tuple(Problem(message=name) for name in names))
    for kernel in job.others:
        names = importers(site, going, kernel.imported)
        if names:
            msg = (
                f"Packages that another kernel (process {kernel.pid}) has imported would change: "
                f"{', '.join(names)}."
            )
            raise EnvironmentInUse(msg, problems=(Problem(message=f"process {kernel.pid}"),))
    if not keep_own:
        _refuse_own_kernel(job, before, changes)


def _refuse_own_kernel(job: _Job, before: tuple[Package, ...], changes: Iterable[Change]) -> None:
    """Refuse packages that a running kernel's layer could not live with."""
    after = {package.name: package.version for package in before}
    for change in changes:
        if change.action == "removed":
            after.pop(change.name, None)
    after.update({each.name: each.version for each in changes if each.action == "installed"})
    layer = ensure_layer(job.context.store, job.context.uv(job.held), job.python)
    conflicts = plan.layer_conflicts(
        packages=layer.packages,
        requires=layer.requires,
        installed=[Package(name=name, version=version) for name, version in after.items()],
    )
    if not conflicts:
        return
    if job.others:
        raise in_use(job.standing.name, job.others)
    if job.asker is not None and not job.asker.fresh:
        msg = f"The kernel itself would change: {conflicts[0]}."
        raise RestartNeeded(msg)


def _refuse_other_versions(
    job: _Job, before: tuple[Package, ...], after: tuple[Package, ...]
) -> None:
    """Refuse to put new content under kernels that have imported another version of it."""
    gone = {package.name for package in set(before) - set(after)}
    if not gone or job.standing.record is None or not job.kernels:
        return
    site = site_packages(job.standing.path, job.standing.record.python)
    for kernel in job.kernels:
        names = importers(site, gone, kernel.imported)
        if names and job.asker is not None and kernel.uuid == job.asker.uuid:
            msg = f"Packages that this kernel has imported would change: {', '.join(names)}."
            raise RestartNeeded(msg)
        if names:
            raise in_use(job.standing.name, [kernel])


def _synced_record(job: _Job, record: Record, packages: tuple[Package, ...], kernel: str) -> Record:
    return replace(
        record,
        block=job.wanted.block,
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


def _result(job: _Job, record: Record, before: Iterable[Package], action: Action) -> Synced:
    if action is Action.KEPT:
        record = _synced_record(job, record, record.packages, record.kernel)
        furnish(job.context, job.standing.path, record)
    curve = publish(job.context, job.standing, record)
    has_spec = record.source.kind in (SourceKind.FILE, SourceKind.URL)
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
        replace=_replacement(job, record),
    )


def _replacement(job: _Job, record: Record) -> str | None:
    """Say why the asking kernel cannot go on as it is.

    :raises RestartNeeded: where it cannot replace itself, because a cell of the user has run
    """
    asker = job.asker
    if asker is None:
        return None
    reason = None
    if asker.python != record.python.base:
        reason = f"another Python is needed: {record.python.version}"
    elif (asker.kernel == OWN) != (record.kernel == OWN):
        reason = "the environment brings its own kernel"
    else:
        versions = shadowed(job.context.store, asker, record)
        texts = requirements_on(job.standing.path, record, job.wanted.declaration, versions)
        markers = plan.marker_environment(record.python.version)
        failed = plan.unmet(texts, versions, markers=markers)
        if failed:
            reason = f"the kernel has loaded other versions than are needed: {', '.join(failed)}"
    if reason is not None and not asker.fresh:
        msg = f"A restart is needed: {reason}."
        raise RestartNeeded(msg)
    return reason


def _difference(before: Iterable[Package], after: Iterable[Package]) -> tuple[Change, ...]:
    old, new = set(before), set(after)
    removed = [(package, "removed") for package in old - new]
    installed = [(package, "installed") for package in new - old]
    ordered = sorted(removed + installed, key=lambda pair: (pair[0].name, pair[1]))
    return tuple(
        Change(name=package.name, version=package.version, action=action)
        for package, action in ordered
    )


def _keep_pending(job: _Job) -> None:
    """Note what was refused, for the next start."""
    record = job.standing.record
    if record is None:
        return
    current = job.context.store.read_record(job.standing.path) or record
    if current.fingerprint == job.decides.fingerprint:
        return
    pending = replace(current, pending=job.wanted.block or "", source_stat=job.wanted.stat)
    with contextlib.suppress(ScriptEnvError):
        job.context.store.write_record(job.standing.path, pending)


@contextlib.contextmanager
def _marked(job: _Job, path: Path, before: tuple[Package, ...]) -> Iterator[Context]:
    """Mark an environment while it is changed in place.

    The mark goes when the work is done, and also when it failed before anything was touched; a mark
    that stays means: build anew.
    """
    site = site_packages(path, job.python)
    mark = path / CHANGING
    seen: set[str] = set()

    def listen(event: Event) -> None:
        seen.add(event["event"])
        job.context.on_event(event)

    with explained(mark):
        write_atomically(mark, b"")
    untouched = stat_of(site)
    try:
        yield replace(job.context, on_event=listen)
    except ScriptEnvError as error:
        begun = "installing" in seen or stat_of(site) != untouched
        cut_short = isinstance(error, (Interrupted, InstallFailed))
        if not begun and (not cut_short or not before or "downloading" in seen):
            mark.unlink(missing_ok=True)
        raise
    with explained(mark):
        mark.unlink()
