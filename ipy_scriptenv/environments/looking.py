"""Look at environments: find, status, list. No environment is changed."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ipy_scriptenv import interpreters, plan
from ipy_scriptenv.environments.condition import (
    Condition,
    inspect,
    installed_packages,
    whereabouts,
)
from ipy_scriptenv.environments.declared import Drift, Met, Undeclared, drift, met, undeclared
from ipy_scriptenv.environments.finding import Found, found_in
from ipy_scriptenv.environments.imported import shadowed
from ipy_scriptenv.environments.items import size_of
from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.standing import Context, deciding
from ipy_scriptenv.environments.surroundings import missing_front_ends, shadowing_path
from ipy_scriptenv.environments.wanted import wanted_at_start, wanted_text
from ipy_scriptenv.errors import NewerSchema
from ipy_scriptenv.files import is_gone
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernel_side.check import file_stat
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.kernels.specs import kernelspec_folder, kernelspecs_folder
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.locks import running_kernels
from ipy_scriptenv.metadata import EMPTY
from ipy_scriptenv.record import OWN, Glance, Package, Record, Source, SourceKind

__all__ = [
    "ORDERS",
    "STATES",
    "Listed",
    "Status",
    "list_environments",
    "loaded_otherwise",
    "status",
]

STATES: tuple[str, ...] = ("in-sync", "stale", "pending", "broken", "orphan", "changed")
"""What a listing tells of an environment, from stats and records alone."""

ORDERS: tuple[str, ...] = ("name", "source", "state", "python", "size", "used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a source declares, what its environment holds, and whether they agree.

    :param environment: ``None`` where there is none
    :param pending: TOML of the block that waits for the kernel's next start
    :param kernelspec: its name, if it is written
    :param kernel_mode: ``layer`` or ``own``; ``None`` without environment
    :param requirements: each of *dependencies* with the version that is installed for it
    :param drift: what was changed by hand since the last sync
    :param undeclared_imports: what running kernels use of their layers
    """

    source: Source
    state: str
    reason: str
    environment: Found | None
    requires_python: str | None
    dependencies: tuple[str, ...]
    installed: tuple[Package, ...]
    pending: str | None
    kernelspec: str | None
    kernel_mode: str | None
    in_use: bool
    requirements: tuple[Met, ...] = ()
    drift: tuple[Drift, ...] = ()
    undeclared_imports: tuple[Undeclared, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a listing; what a broken record does not tell is ``None``.

    :param packages: how many distributions were installed when it was last synced
    :param size: bytes, where they were asked for
    """

    name: EnvironmentName
    path: Path
    source: Source | None
    state: str
    python_version: str | None
    created: str | None
    last_used: str | None
    in_use: bool
    kernelspec: str | None
    packages: int | None = None
    size: int | None = None


def status(
    source: Source,
    *,
    context: Context,
    name: EnvironmentName | None = None,
    block: str | None = None,
    given: bool = False,
    lock: bytes | None = None,
) -> Status:
    """Compare a source with its environment.

    :param name: its name, where the source does not give it (ephemeral ones)
    :param block: TOML to take instead of the source's, if *given*: that of an open document
    :param lock: likewise its lock; ``None``: the source's own
    :raises ScriptEnvError: if the source's block cannot be read
    """
    standing = inspect(context.store, name or whereabouts(context.store, source), source)
    record = standing.record
    wanted = wanted_text(block, None) if given else wanted_at_start(source, record)
    if wanted.error is not None:
        raise wanted.error
    declaration = wanted.declaration or EMPTY
    if standing.condition is Condition.MISSING:
        state, reason = "missing", "No environment has been made yet."
    else:
        state, reason = plan.environment_state(
            broken=standing.broken,
            pending=record is not None
            and record.pending is not None
            and wanted.recorded == record.pending,
            in_sync=record is not None and _in_sync(record, wanted.block, lock),
        )
        if state == "in-sync" and record is not None:
            requires = declaration.requires_python
            if not interpreters.satisfies(record.python.version, requires):
                state = "stale"
                reason = f"The source asks for another Python ({requires})."
    spec = kernelspec_folder(standing.name)
    installed = installed_packages(standing.path, record.python) if record else ()
    kernels = running_kernels(context.store.live(standing.name))
    return Status(
        source=source,
        state=state,
        reason=reason,
        environment=found_in(standing),
        requires_python=str(declaration.requires_python) if declaration.requires_python else None,
        dependencies=tuple(map(without_credentials, declaration.dependencies)),
        installed=installed,
        pending=record.pending if record else None,
        kernelspec=kernelspec_name(standing.name) if (spec / "kernel.json").is_file() else None,
        kernel_mode=None if record is None else ("own" if record.kernel == OWN else "layer"),
        in_use=bool(kernels),
        requirements=met(declaration, installed),
        drift=drift(record, installed),
        undeclared_imports=undeclared(kernels, installed),
        warnings=(
            *declaration.warnings,
            *missing_front_ends(installed),
            *shadowing_path(installed),
        ),
    )


def loaded_otherwise(asker: Asker, record: Record, *, context: Context) -> dict[str, str]:
    """Give the version of each distribution that a kernel runs with and its environment does not.

    They came from the kernel layer before the environment brought its own; the next start takes the
    environment's.
    """
    return shadowed(context.store, asker, record)


def list_environments(
    *,
    context: Context,
    states: frozenset[str] = frozenset(),
    pattern: str | None = None,
    order: str = "name",
    sizes: bool = False,
) -> list[Listed]:
    """List every environment but the ephemeral ones; only stats and records are read.

    :param states: of :data:`STATES`, to show these alone; none: all
    :param pattern: a glob that a source's path must match
    :param order: of :data:`ORDERS`; the largest and the last used come first
    :param sizes: whether to add up the files too
    """
    store = context.store
    registered = _names(kernelspecs_folder())
    locks = _names(store.locks)
    found = []
    folder = str(store.environments)
    for name in store.names():
        path = Path(folder, name)
        try:
            glance = store.glance(name)
        except NewerSchema:
            glance = None
        if glance is None and (path.is_symlink() or not path.is_dir()):
            continue
        source = glance.source if glance else None
        if source is not None and source.kind is SourceKind.EPHEMERAL:
            continue
        state = _listed_state(f"{folder}{os.sep}{name}", glance)
        if (states and state not in states) or not _matches(source, pattern):
            continue
        spec = kernelspec_name(name)
        found.append(
            Listed(
                name=name,
                path=path,
                source=source,
                state=state,
                python_version=glance.python_version if glance else None,
                created=glance.created if glance else None,
                last_used=glance.last_used if glance else None,
                in_use=f"{name}.kernels" in locks and bool(running_kernels(store.live(name))),
                kernelspec=spec if spec in registered else None,
                packages=glance.packages if glance else None,
                size=size_of(path) if sizes else None,
            )
        )
    return sorted(found, key=_KEYS[order])


_KEYS: dict[str, Callable[[Listed], Any]] = {
    "name": lambda each: each.name,
    "source": lambda each: (str(each.source), each.name),
    "state": lambda each: (each.state, each.name),
    "python": lambda each: ([int(part) for part in _numbers(each)], each.name),
    "size": lambda each: (-(each.size or 0), each.name),
    "used": lambda each: ([-ord(char) for char in each.last_used or ""], each.name),
}


def _numbers(listed: Listed) -> list[str]:
    return re.findall(r"\d+", listed.python_version or "")


def _matches(source: Source | None, pattern: str | None) -> bool:
    if pattern is None:
        return True
    path = PurePath(str(source or ""))
    return path.match(pattern) or fnmatch.fnmatchcase(str(path), pattern)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _in_sync(record: Record, block: str | None, lock: bytes | None) -> bool:
    decides = deciding(record.source, block, python=record.python, lock=lock)
    return record.fingerprint == decides.fingerprint


def _listed_state(path: str, glance: Glance | None) -> str:
    if glance is None or os.path.lexists(f"{path}/{CHANGING}"):
        return "broken"
    if glance.source.path is not None:
        found = file_stat(glance.source.path)
        if found is None and is_gone(glance.source.path):
            return "orphan"
        if found != glance.source_stat and glance.source_stat is not None:
            return "changed"
    if glance.pending:
        return "pending"
    return "in-sync" if glance.synced else "stale"
