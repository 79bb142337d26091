"""Look at environments: find, status, list. No environment is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import interpreters, plan
from ipy_scriptenv.environments.building import require_file, wanted_at_start
from ipy_scriptenv.environments.imported import shadowed
from ipy_scriptenv.environments.job import Asker
from ipy_scriptenv.environments.sources import name_of
from ipy_scriptenv.environments.standing import (
    Condition,
    Context,
    Standing,
    deciding,
    inspect,
    installed_packages,
)
from ipy_scriptenv.errors import NewerSchema, NoEnvironment
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels.specs import kernelspec_folder
from ipy_scriptenv.locks import running_kernels
from ipy_scriptenv.metadata import EMPTY
from ipy_scriptenv.record import OWN, Package, Record, Source, SourceKind
from ipy_scriptenv.store import CHANGING, environment_python, stat_of

__all__ = ["Found", "Listed", "Status", "find", "list_environments", "loaded_otherwise", "status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A standing environment."""

    name: EnvironmentName
    path: Path
    python: Path
    python_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a source declares, what its environment holds, and whether they agree.

    :param environment: ``None`` where there is none
    :param pending: TOML of the block that waits for the kernel's next start
    :param kernelspec: its name, if it is written
    :param kernel_mode: ``layer`` or ``own``; ``None`` without environment
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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a listing; what a broken record does not tell is ``None``."""

    name: EnvironmentName
    path: Path
    source: Source | None
    state: str
    python_version: str | None
    created: str | None
    last_used: str | None
    in_use: bool
    kernelspec: str | None


def find(source: Source, *, context: Context, name: EnvironmentName | None = None) -> Found:
    """Find the environment of a source.

    :param name: its name, where the source does not give it (ephemeral ones)
    :raises NoEnvironment: if there is none, or it is damaged
    """
    standing = inspect(context.store, name or name_of(source), source)
    if standing.condition is Condition.MISSING:
        require_file(source)
        msg = f"`{source}` has no environment yet."
        raise NoEnvironment(msg)
    found = _found(standing)
    if found is None or standing.condition is Condition.BROKEN:
        msg = f"The environment of `{source}` is damaged. {standing.broken}"
        raise NoEnvironment(msg, hint="Mend it with `jupyter scriptenv sync SOURCE`.")
    return found


def status(source: Source, *, context: Context, name: EnvironmentName | None = None) -> Status:
    """Compare a source with its environment.

    :param name: its name, where the source does not give it (ephemeral ones)
    :raises ScriptEnvError: if the source's block cannot be read
    """
    standing = inspect(context.store, name or name_of(source), source)
    record = standing.record
    wanted = wanted_at_start(source, record)
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
            and wanted.block == record.pending,
            in_sync=record is not None and _in_sync(record, wanted.block),
        )
        if state == "in-sync" and record is not None:
            requires = declaration.requires_python
            if not interpreters.satisfies(record.python.version, requires):
                state = "stale"
                reason = f"The source asks for another Python ({requires})."
    spec = kernelspec_folder(standing.name)
    return Status(
        source=source,
        state=state,
        reason=reason,
        environment=_found(standing),
        requires_python=str(declaration.requires_python) if declaration.requires_python else None,
        dependencies=declaration.dependencies,
        installed=installed_packages(standing.path, record.python) if record else (),
        pending=record.pending if record else None,
        kernelspec=kernelspec_name(standing.name) if (spec / "kernel.json").is_file() else None,
        kernel_mode=None if record is None else ("own" if record.kernel == OWN else "layer"),
        in_use=bool(running_kernels(context.store.live(standing.name))),
        warnings=declaration.warnings,
    )


def loaded_otherwise(asker: Asker, record: Record, *, context: Context) -> dict[str, str]:
    """Give the version of each distribution that a kernel runs with and its environment does not.

    They came from the kernel layer before the environment brought its own; the next start takes the
    environment's.
    """
    return shadowed(context.store, asker, record)


def list_environments(*, context: Context) -> list[Listed]:
    """List every environment but the ephemeral ones, by name; only stats and records are read."""
    found = []
    for name in context.store.names():
        path = context.store.environment(name)
        if path.is_symlink() or not path.is_dir():
            continue
        try:
            record = context.store.read_record(path)
        except NewerSchema:
            record = None
        if record is not None and record.source.kind is SourceKind.EPHEMERAL:
            continue
        spec = kernelspec_folder(name)
        found.append(
            Listed(
                name=name,
                path=path,
                source=record.source if record else None,
                state=_listed_state(path, record),
                python_version=record.python.version if record else None,
                created=record.created if record else None,
                last_used=record.last_used if record else None,
                in_use=bool(running_kernels(context.store.live(name))),
                kernelspec=kernelspec_name(name) if (spec / "kernel.json").is_file() else None,
            )
        )
    return found


def _found(standing: Standing) -> Found | None:
    if standing.record is None:
        return None
    return Found(
        name=standing.name,
        path=standing.path,
        python=environment_python(standing.path),
        python_version=standing.record.python.version,
    )


def _in_sync(record: Record, block: str | None) -> bool:
    decides = deciding(record.source, block, python=record.python)
    return record.fingerprint == decides.fingerprint


def _listed_state(path: Path, record: Record | None) -> str:
    if record is None or (path / CHANGING).exists():
        return "broken"
    if record.source.path is not None:
        found = stat_of(Path(record.source.path))
        if found is None:
            return "orphan"
        if found != record.source_stat and record.source_stat is not None:
            return "changed"
    if record.pending is not None:
        return "pending"
    return "in-sync" if record.fingerprint is not None else "stale"
