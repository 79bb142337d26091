"""What running kernels can bear: refusals before anything is changed, and reasons to start anew."""

from __future__ import annotations

from collections.abc import Iterable

from ipy_scriptenv import plan
from ipy_scriptenv.environments.building import in_use
from ipy_scriptenv.environments.imported import importers, requirements_on, shadowed
from ipy_scriptenv.environments.installing import run_uv
from ipy_scriptenv.environments.job import Job
from ipy_scriptenv.errors import EnvironmentInUse, Problem, RestartNeeded
from ipy_scriptenv.kernels.layer import ensure_layer
from ipy_scriptenv.record import OWN, Package, Record
from ipy_scriptenv.uv_output import Change
from ipy_scriptenv.venvs import site_packages

__all__ = ["refuse_imported", "refuse_other_versions", "replacement_reason"]


def refuse_imported(
    job: Job, record: Record, before: tuple[Package, ...], *, keep_own: bool
) -> tuple[tuple[str, ...], tuple[Change, ...] | None]:
    """Refuse what a running kernel could not bear, before anything is changed.

    :returns: what changes under a fresh kernel that will replace itself; and all that will change,
        ``None`` where it was not asked for
    :raises RestartNeeded: for the asking kernel
    :raises EnvironmentInUse: for another one
    """
    asker = job.asker
    if not job.others and asker is not None and asker.fresh and not asker.loaded.environment:
        return (), None
    add = ("ipykernel",) if keep_own else ()
    changes = run_uv(job, job.standing.path, add=add, dry_run=True)
    going = {change.name for change in changes if change.action == "removed"}
    site = site_packages(job.standing.path, record.python)
    own: tuple[str, ...] = ()
    if asker is not None:
        own = importers(site, going, asker.loaded.environment)
        if own and not asker.fresh:
            names = own
            msg = f"Packages that this kernel has imported would change: {', '.join(names)}."
            raise RestartNeeded(msg)
    for kernel in job.others:
        names = tuple(sorted(going)) if kernel.busy else importers(site, going, kernel.imported)
        if names:
            msg = (
                f"Packages that another kernel (process {kernel.pid}) has imported would change: "
                f"{', '.join(names)}."
            )
            raise EnvironmentInUse(msg, problems=(Problem(message=f"process {kernel.pid}"),))
    if not keep_own:
        _refuse_own_kernel(job, before, changes)
    return own, changes


def _refuse_own_kernel(job: Job, before: tuple[Package, ...], changes: Iterable[Change]) -> None:
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


def refuse_other_versions(
    job: Job, before: tuple[Package, ...], after: tuple[Package, ...]
) -> None:
    """Refuse to put new content under kernels that have imported another version of it."""
    gone = {package.name for package in set(before) - set(after)}
    if not gone or not job.kernels:
        return
    site = site_packages(job.standing.path, job.python)
    for kernel in job.kernels:
        is_asker = job.asker is not None and kernel.uuid == job.asker.uuid
        everything = kernel.busy and not is_asker
        names = tuple(sorted(gone)) if everything else importers(site, gone, kernel.imported)
        if names and is_asker:
            msg = f"Packages that this kernel has imported would change: {', '.join(names)}."
            raise RestartNeeded(msg)
        if names:
            raise in_use(job.standing.name, [kernel])


def replacement_reason(job: Job, record: Record, changed: tuple[str, ...]) -> str | None:
    """Say why the asking kernel cannot go on as it is.

    :param changed: what changed of all that it has imported
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
    elif changed:
        reason = f"packages that are imported already have changed: {', '.join(changed)}"
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
