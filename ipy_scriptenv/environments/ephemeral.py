"""Environments of kernels without a source: they go with their kernels."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from ipy_scriptenv.environments.standing import Context, is_at_home
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.locks import exclusive, running_kernels
from ipy_scriptenv.record import Source, SourceKind

__all__ = ["EPHEMERAL", "discard", "sweep_ephemeral"]

EPHEMERAL = Source(kind=SourceKind.EPHEMERAL)
"""A kernel without a source: an environment of its own that goes with it."""

_GRACE = 600.0
"""Seconds from the making of an ephemeral environment until its kernel must be at home in it."""


def discard(name: EnvironmentName, *, context: Context) -> None:
    """Remove an ephemeral environment whose kernel has ended, unless another is at home in it."""
    store = context.store
    with contextlib.suppress(ScriptEnvError, OSError), exclusive(store.lock(name), timeout=0):
        if is_at_home(store, name):
            return
        store.remove_environment(store.environment(name))
        store.forget_locks(name)


def sweep_ephemeral(context: Context) -> None:
    """Remove the ephemeral environments of kernels that ended without anybody's care."""
    for name in _abandoned(context):
        discard(name, context=context)


def _abandoned(context: Context) -> list[EnvironmentName]:
    """Name the ephemeral environments that nobody can be about to use any more."""
    limit = datetime.now(UTC) - timedelta(seconds=_GRACE)
    names = [name for name in context.store.names() if name.startswith("ephemeral-")]
    return [name for name in names if _is_abandoned(context, name, limit)]


def _is_abandoned(context: Context, name: EnvironmentName, limit: datetime) -> bool:
    try:
        record = context.store.read_record(context.store.environment(name))
        return (
            record is not None
            and record.source.kind is SourceKind.EPHEMERAL
            and datetime.fromisoformat(record.last_used) < limit
            and not running_kernels(context.store.live(name))
        )
    except (ScriptEnvError, ValueError, TypeError):
        # A record that cannot be understood is left for somebody who can.
        return False
