"""Change an environment: anew beside it, or in place under the kernels that run in it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
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
from ipy_scriptenv.environments.condition import installed_packages
from ipy_scriptenv.environments.installing import install, marked
from ipy_scriptenv.environments.job import ALL_PACKAGES, Job
from ipy_scriptenv.environments.refusing import refuse_imported, refuse_other_versions
from ipy_scriptenv.environments.standing import now
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels.layer import damaged_packages
from ipy_scriptenv.kernels.side import ensure_kernel_side
from ipy_scriptenv.locks import running_kernels
from ipy_scriptenv.metadata import shown
from ipy_scriptenv.record import OWN, Package, Record, SourceKind
from ipy_scriptenv.uv import Change
from ipy_scriptenv.venvs import site_packages

__all__ = ["Action", "Synced", "build_anew", "change_in_place", "keep"]


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


def keep(job: Job, record: Record) -> Synced:
    """Leave what is installed as it is, and note that it is what is declared."""
    kept = _synced_record(job, record, record.packages, record.kernel)
    furnish(job.context, job.standing.path, kept)
    return _result(job, kept, kept.packages, Action.KEPT)


def build_anew(job: Job, action: Action) -> Synced:
    """Build everything beside, then give it the name.

    :raises ScriptEnvError: nothing that stood is changed
    """
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


def change_in_place(job: Job, record: Record) -> tuple[Synced, tuple[str, ...]]:
    """Change a standing environment under the kernels that run in it.

    :returns: also what changed of all that the asking kernel has imported
    :raises ScriptEnvError: nothing is changed, or the environment is marked for a rebuild
    """
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
        warnings=(*warnings, *_not_there(job, record)),
        curve=curve,
    )


def _not_there(job: Job, record: Record) -> Iterator[str]:
    """Warn of what was to be upgraded and is no package of the environment's: uv says nothing."""
    if job.choosing.upgrade in ((), ALL_PACKAGES):
        return
    from packaging.utils import canonicalize_name

    there = {package.name for package in record.packages}
    for word in job.choosing.upgrade:
        name = re.split(r"[^\w.-]", word, maxsplit=1)[0]
        if canonicalize_name(name) not in there:
            yield f"There is no `{shown(word)}` in the environment, so it was not upgraded."


def _difference(before: Iterable[Package], after: Iterable[Package]) -> tuple[Change, ...]:
    old, new = set(before), set(after)
    removed = [(package, "removed") for package in old - new]
    installed = [(package, "installed") for package in new - old]
    ordered = sorted(removed + installed, key=lambda pair: (pair[0].name, pair[1]))
    return tuple(
        Change(name=package.name, version=package.version, action=action)
        for package, action in ordered
    )
