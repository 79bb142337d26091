"""Get or init for the start of a kernel: what may happen before a cell runs, and nothing else.

A virtual environment from an interpreter that is there, the kernel layer, launcher, record and
kernelspec. Never a download of an interpreter, a resolution, an install, or a process from the
source's folder.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ipy_scriptenv import locks
from ipy_scriptenv.environments.building import (
    building,
    carried_over,
    first_record,
    furnish,
    in_use,
    publish,
    with_host,
)
from ipy_scriptenv.environments.condition import Condition, Standing, inspect, whereabouts
from ipy_scriptenv.environments.ephemeral import EPHEMERAL, sweep_ephemeral
from ipy_scriptenv.environments.layers import kernel_of, layer_within
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.moving import holding
from ipy_scriptenv.environments.standing import Context, deciding, now
from ipy_scriptenv.environments.wanted import Wanted, wanted_at_start, wanted_python
from ipy_scriptenv.errors import Displaced, Foreign, NewerSchema, ScriptEnvError
from ipy_scriptenv.files import write_atomically
from ipy_scriptenv.identity import EnvironmentName, ephemeral_environment_name, name_beside
from ipy_scriptenv.kernels.layer import find_layer
from ipy_scriptenv.kernels.side import ensure_kernel_side
from ipy_scriptenv.layout import CHANGING, LAUNCHER
from ipy_scriptenv.leftovers import sweep
from ipy_scriptenv.locks import Held, is_held, running_kernels
from ipy_scriptenv.record import OWN, Python, Record, Source, SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.venvs import environment_python, is_environment

__all__ = ["Start", "became_ready", "distrust", "start"]

_WAIT = 30.0
"""Seconds that a start waits for the kernel layer or for another start, before it explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A kernel that can be launched.

    :param argv: interpreter and launcher; the connection file's arguments follow
    :param curve: whether it can encrypt its connections
    """

    name: EnvironmentName
    path: Path
    source: Source
    argv: tuple[str, ...]
    curve: bool


def start(
    source: Source,
    *,
    context: Context,
    wait: float = _WAIT,
    name: EnvironmentName | None = None,
    fetch: bool = False,
    launching: bool = True,
) -> Start:
    """Make sure that an environment with the right Python stands and that a kernel can run in it.

    :param source: what the environment is for; :data:`EPHEMERAL` makes a new one
    :param wait: seconds to wait for the layer and for others that change the environment
    :param name: the environment of a kernel that starts anew, for an ephemeral source
    :param fetch: whether uv may fetch an interpreter; only after a user has run a cell
    :param launching: whether the caller launches a kernel there; until it is at home, the
        environment counts as in use
    :raises ScriptEnvError: why no kernel can run there now
    """
    store = context.store
    store.prepare()
    if name is None and source.kind is SourceKind.EPHEMERAL:
        sweep_ephemeral(context)
        name = ephemeral_environment_name(secrets.token_hex(8))
    known = name or whereabouts(store, source)
    if is_held(store.lock(known)):
        found = _while_changing(context, known, source, launching=launching)
        if found is not None:
            return found

    wait = min(wait, lock_timeout())
    began = time.monotonic()

    def tell() -> None:
        context.on_event({"event": "waiting", "for": "another start of this environment"})

    try:
        with holding(context, source, name, timeout=wait, on_wait=tell) as (name, held):
            # Lock and layer together are waited for no longer than *wait*.
            left = max(1.0, wait - (time.monotonic() - began))
            standing, record = _kept_or_built(context, source, name, held, wait=left, fetch=fetch)
            return _launchable(context, standing, record, launching=launching)
    except Displaced:
        return _start_beside(context, source, wait=wait, fetch=fetch, launching=launching)


def _start_beside(
    context: Context, source: Source, *, wait: float, fetch: bool, launching: bool
) -> Start:
    """Start for a new file in the place of one that was renamed while its kernel runs.

    Its environment stands under another name, as if it were being moved, until its place is free.
    """
    own = name_of(source)
    name = name_beside(own)
    try:
        inspect(context.store, name, source)
    except (Foreign, NewerSchema):
        # That was renamed too, while its kernel runs.
        return start(EPHEMERAL, context=context, wait=wait, fetch=fetch, launching=launching)
    # Before and after: a kill leaves no environment that nothing leads to, and a note that leads to
    # none yet may be swept.
    context.store.note_move(name, own)
    started = start(source, context=context, wait=wait, name=name, fetch=fetch, launching=launching)
    context.store.note_move(name, own)
    return started


def _kept_or_built(
    context: Context,
    source: Source,
    name: EnvironmentName,
    held: Held,
    *,
    wait: float,
    fetch: bool,
) -> tuple[Standing, Record]:
    """Keep the environment that stands, brought up to date, or build it."""
    store = context.store
    sweep(store, name)
    standing = inspect(store, name, source)
    wanted = wanted_at_start(source, standing.record)
    python = wanted_python(context, standing, wanted, fetch=fetch)
    others = running_kernels(store.live(name))
    kept = _kept(context, standing, python, wanted, wait, can_rebuild=not others)
    if kept is not None:
        with contextlib.suppress(ScriptEnvError):
            # A full disk must not stop a kernel that needs nothing new.
            furnish(context, standing.path, kept)
        return standing, kept
    if others:
        raise in_use(name, others)
    layer = layer_within(context, python, wait)
    with building(context, standing, python, held) as path:
        record = first_record(context, source, python, wanted, kernel=layer.name)
        record = carried_over(standing.record, record)
        furnish(context, path, record)
        store.place(path, standing.path)
    return standing, record


def _while_changing(
    context: Context, name: EnvironmentName, source: Source, *, launching: bool
) -> Start | None:
    """Launch at once where another process is completing the environment, if a kernel can run.

    The kernel needs nothing of what is being installed, unless it is installed there itself.
    """
    try:
        standing = inspect(context.store, name, source)
    except Foreign:
        return None
    record = standing.record
    if record is None or record.kernel == OWN or not is_environment(standing.path):
        return None
    if find_layer(context.store, record.kernel) is None:
        return None
    launchable = _launchable(context, standing, record, launching=launching)
    # Whoever removes it gives up if it finds the note of this start, and this start if it is gone.
    return launchable if (standing.path / LAUNCHER).exists() else None


def _kept(
    context: Context,
    standing: Standing,
    python: Python,
    wanted: Wanted,
    wait: float,
    *,
    can_rebuild: bool,
) -> Record | None:
    """Give the record of an environment that can stay, brought up to date; ``None``: build anew."""
    record = standing.record
    if (
        record is None
        or record.python.base != python.base
        or python.version != record.python.version
    ):
        return None
    marked_only = (standing.path / CHANGING).exists() and is_environment(standing.path)
    if standing.condition is not Condition.SOUND and (can_rebuild or not marked_only):
        return None
    kernel = kernel_of(context, standing, record, wait)
    if kernel is None:
        return None
    record = replace(
        record,
        kernel=kernel,
        kernel_side=ensure_kernel_side(context.store),
        hosts=with_host(record.hosts),
        last_used=now(),
    )
    if wanted.error is None and wanted.stat != record.source_stat:
        decides = deciding(record.source, wanted.block, python=python)
        if decides.fingerprint == record.fingerprint:
            # The file was saved with what is installed already: nothing to look at again.
            record = replace(record, source_stat=wanted.stat, block=wanted.recorded, pending=None)
    return record


def _launchable(context: Context, standing: Standing, record: Record, *, launching: bool) -> Start:
    if launching:
        context.store.note_start(standing.name)
    return Start(
        name=standing.name,
        path=standing.path,
        source=record.source,
        argv=(str(environment_python(standing.path)), str(standing.path / LAUNCHER)),
        curve=publish(context, standing, record),
    )


def became_ready(name: EnvironmentName, pid: int, *, context: Context) -> bool:
    """Say whether a kernel, now ended, had got as far as answering requests."""
    return locks.became_ready(context.store.live(name), pid)


def distrust(name: EnvironmentName, *, context: Context) -> None:
    """Have an environment made anew, empty, at its next start: a kernel cannot live in it.

    The first cell that runs then completes it, by a block that may have been mended meanwhile.
    """
    path = context.store.environment(name)
    with contextlib.suppress(OSError):
        if context.store.is_ours(path):
            write_atomically(path / CHANGING, b"")
