"""Have uv install what a block declares, and the kernel where the layer cannot serve."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from ipy_scriptenv import plan, policy, settings
from ipy_scriptenv.environments.condition import installed_packages
from ipy_scriptenv.environments.declared import goes_with_a_sync
from ipy_scriptenv.environments.job import Job, Pin
from ipy_scriptenv.environments.resolving import resolver_options
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import (
    InstallCutShort,
    Interrupted,
    Offline,
    ResolutionFailed,
    ScriptEnvError,
)
from ipy_scriptenv.files import explained, stat_of, write_atomically
from ipy_scriptenv.kernel_side.block import render_block
from ipy_scriptenv.kernels.layer import ensure_layer
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.metadata import EMPTY, added_block, rebased_lock, shown, staged_block
from ipy_scriptenv.record import OWN, Package, Python
from ipy_scriptenv.uv_output import Change, Event
from ipy_scriptenv.venvs import site_packages

__all__ = ["install", "marked", "run_uv", "tell_what_goes"]


def install(
    job: Job, path: Path, *, keep_own: bool = False, expected: tuple[Change, ...] | None = None
) -> str:
    """Install what the block declares, and the kernel too where the layer cannot serve.

    :param expected: what a dry run has just told
    :returns: the layer's name, or ``own``
    """
    add = ("ipykernel",) if keep_own else ()
    if not job.wanted.requires_nothing or keep_own or not _is_empty(path, job.python):
        told = _tell_what_comes(job, path)
        run_uv(job, path, add=add, expected=expected if told is None or keep_own else told)
    layer = ensure_layer(job.context.store, job.context.uv(job.held), job.python)
    packages = installed_packages(path, job.python)
    conflicts = plan.layer_conflicts(
        packages=layer.packages, requires=layer.requires, installed=packages
    )
    if not conflicts:
        return layer.name
    if not any(package.name == "ipykernel" for package in packages):
        job.context.on_event({"event": "installing", "text": f"the kernel too: {conflicts[0]}"})
        run_uv(job, path, add=("ipykernel",))
    return OWN


def _tell_what_comes(job: Job, path: Path) -> tuple[Change, ...] | None:
    """Name in one line what is about to be installed for a kernel, before its first install.

    :returns: that; ``None`` where it was not asked for
    """
    if job.asker is None or not _is_empty(path, job.python):
        return None
    quiet = replace(job, context=replace(job.context, on_event=lambda _event: None))
    changes = run_uv(quiet, path, add=(), dry_run=True)
    coming = ", ".join(f"{change.name} {change.version}" for change in changes)
    if coming:
        where = PurePath(job.source.path).name if job.source.path else "this notebook"
        text = f"Installing for {shown(where)}: {coming}"
        job.context.on_event({"event": "resolving", "text": text})
    return changes


def tell_what_goes(job: Job, installed: Iterable[Package]) -> None:
    """Name in one line what was installed by hand, before an exact sync removes it."""
    declaration = job.wanted.declaration or EMPTY
    going = goes_with_a_sync(declaration, job.standing.record, installed)
    if going:
        names = ", ".join(going)
        text = f"Installed by hand, not declared: {names}. What nothing declared needs is removed."
        job.context.on_event({"event": "resolving", "text": text})


def run_uv(
    job: Job,
    path: Path,
    *,
    add: tuple[str, ...],
    dry_run: bool = False,
    expected: tuple[Change, ...] | None = None,
) -> tuple[Change, ...]:
    """Have uv bring the environment at *path* to the block, with the requirements *add*.

    :param dry_run: only tell what would change
    :param expected: what a dry run has just told: uv need not ask the index all over again
    """
    block, lock = job.wanted.block or "", job.decides.lock
    options = resolver_options(
        policy.current(), job.choosing, toml=block, folder=job.folder, lock=lock
    )
    exactly = lock is not None and (job.asker is None or job.pin is not Pin.UPDATE)
    if job.refetch:
        options += ("--reinstall", "--no-cache")
    if path == job.standing.path and lock is None and job.settings_changed:
        # What is installed already would be kept, although it would not be chosen now.
        options += ("--upgrade",)
    elif lock is None:
        options += job.choosing.upgrade_options
    if exactly:
        # What the lock should be was settled before; what it lacks must not go either.
        options += ("--frozen", *(("--inexact",) if add else ()))
    text = render_block(staged_block(block, folder=job.folder, add=() if exactly else add))
    staged_lock = None if lock is None else rebased_lock(lock, folder=job.folder)
    with job.context.store.staged(job.standing.name, text, staged_lock) as script:
        uv = job.context.uv(job.held)
        changes: tuple[Change, ...] = ()
        if expected and not job.refetch and settings.variable("UV_NO_CACHE") is None:
            # What has to be downloaded yet ends this before anything is installed.
            with contextlib.suppress(Offline, ResolutionFailed):
                changes = uv.sync(script, path, *options, "--offline")
        if not expected or set(changes) != set(expected):
            changes += uv.sync(script, path, *options, dry_run=dry_run)
    if exactly and add and not dry_run:
        changes += _add_to_locked(job, path, options, add)
    return changes


def _add_to_locked(
    job: Job, path: Path, options: tuple[str, ...], add: tuple[str, ...]
) -> tuple[Change, ...]:
    """Install the requirements *add* too, while every locked version stays."""
    found = installed_packages(path, job.python)
    pins = tuple(f"{package.name}=={package.version}" for package in found)
    block = added_block(job.wanted.block or "", folder=job.folder, add=add, pins=pins)
    words = [word for word in options if word != "--frozen"]
    with job.context.store.staged(job.standing.name, render_block(block), None) as script:
        return job.context.uv(job.held).sync(script, path, *words)


def _is_empty(path: Path, python: Python) -> bool:
    return not installed_packages(path, python)


@contextlib.contextmanager
def marked(job: Job, path: Path, before: tuple[Package, ...]) -> Iterator[Context]:
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
        cut_short = isinstance(error, (Interrupted, InstallCutShort))
        if not begun and (not cut_short or not before or "downloading" in seen):
            mark.unlink(missing_ok=True)
        raise
    with explained(mark):
        mark.unlink()
