"""What can be wrong with single environments, and how it is mended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.environments.condition import Condition, inspect, installed_packages
from ipy_scriptenv.environments.items import Item, ItemKind
from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.environments.moving import finish_moves
from ipy_scriptenv.environments.removing import prune
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.starting import start
from ipy_scriptenv.environments.surroundings import missing_front_ends, shadowing_path
from ipy_scriptenv.environments.syncing import sync
from ipy_scriptenv.errors import EnvironmentInUse, NewerSchema, NoPython, ScriptEnvError
from ipy_scriptenv.files import is_gone, stat_of
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.interpreters import inspect_python
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.kernels.layer import damaged_packages, find_layer
from ipy_scriptenv.kernels.side import ensure_kernel_side, is_kernel_side
from ipy_scriptenv.layout import LAUNCHER
from ipy_scriptenv.record import OWN, FileStat, Python, Record, Source, SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import site_packages

__all__ = ["Finding", "examine_environments", "removal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    :param code: short and stable, such as ``broken-environment``
    :param message: what is wrong, a sentence
    :param path: where
    :param hint: what to do about it, where that is not done by :func:`mend`
    :param cure: mends it; ``None`` where a person has to
    """

    code: str
    message: str
    path: Path | None = None
    hint: str = ""
    cure: Callable[[], None] | None = None


def examine_environments(context: Context) -> Iterator[Finding]:
    """Look at each environment: its record, its contents, and what it needs outside itself."""
    store = context.store
    for name in store.names():
        path = store.environment(name)
        if not store.is_ours(path):
            continue
        try:
            record = store.read_record(path)
        except NewerSchema as error:
            yield Finding(code="newer-schema", message=str(error), path=path, hint=error.hint)
            continue
        if record is None:
            yield _without_record(context, name, path)
            continue
        if record.source.kind is SourceKind.FILE:
            yield from _environment(context, name, path, record)


def _without_record(context: Context, name: EnvironmentName, path: Path) -> Finding:
    """Tell of an environment without a record; its kernelspec may know what it is for."""
    spec = specs.read(specs.kernelspec_folder(name))
    source = Source(kind=SourceKind.FILE, path=spec.source) if spec is not None else None
    if source is None or not Path(source.path or "").is_file() or name_of(source) != name:
        message = f"The record of `{path}` is missing or broken, so nobody knows its source."
        cure = removal(context, ItemKind.ENVIRONMENT, name, path)
        return Finding(code="no-record", message=message, path=path, cure=cure)
    known = source

    def complete() -> None:
        sync(known, context=context)

    message = f"The record of the environment of `{known}` is missing or broken."
    return Finding(code="no-record", message=message, path=path, cure=complete)


def _environment(
    context: Context, name: EnvironmentName, path: Path, record: Record
) -> Iterator[Finding]:
    source = record.source

    def finish() -> None:
        finish_moves(context, source)

    if is_gone(source.path or ""):
        message = f"`{source}` is gone, and its environment stands."
        hint = "`jupyter scriptenv prune` removes it; if it was renamed, `move OLD NEW` keeps it."
        yield Finding(code="orphan", message=message, path=path, hint=hint)
    elif name != name_of(source):
        message = f"The environment of `{source}` has the name from before a rename."
        hint = "It follows when its kernels have ended."
        yield Finding(code="unfinished-move", message=message, path=path, hint=hint, cure=finish)
    else:
        yield from _contents(context, name, path, record)


def _contents(
    context: Context, name: EnvironmentName, path: Path, record: Record
) -> Iterator[Finding]:
    """What is wrong inside an environment that is in its place."""
    source = record.source

    def complete() -> None:
        sync(source, context=context)

    def furnish() -> None:
        ensure_kernel_side(context.store, thorough=True)
        start(source, context=context, wait=lock_timeout(), launching=False)

    def rebuild() -> None:
        sync(source, context=context, rebuild=True)

    standing = inspect(context.store, name, source)
    if standing.condition is Condition.BROKEN:
        message = f"The environment of `{source}` is damaged. {standing.broken}"
        yield Finding(code="broken-environment", message=message, path=path, cure=complete)
        return
    version = _other_version(record.python, record.watch.get(record.python.base))
    if version is not None:
        base = record.python.base
        message = f"The environment of `{source}` was made from `{base}` before it was {version}."
        yield Finding(code="other-python", message=message, path=path, cure=complete)
        return
    packages = installed_packages(path, record.python)
    damaged = set(damaged_packages(site_packages(path, record.python)))
    damaged |= {each.name for each in record.packages} - {each.name for each in packages}
    if damaged:
        names = ", ".join(sorted(damaged))
        message = f"Files of {names} in the environment of `{source}` are missing."
        yield Finding(code="damaged-packages", message=message, path=path, cure=rebuild)
        return
    for code, what in _missing(context.store, name, record):
        message = f"{what} of `{source}` is missing."
        yield Finding(code=code, message=message, path=path, cure=furnish)
    for warning in (*missing_front_ends(packages), *shadowing_path(packages)):
        yield Finding(code="surroundings", message=f"`{source}`: {warning}", path=path)


def _other_version(python: Python, seen: FileStat | None) -> str | None:
    """Give the version of an interpreter that was replaced at its place; None: it is the same."""
    if stat_of(Path(python.base)) == seen:
        return None
    with contextlib.suppress(NoPython):
        found = inspect_python(Path(python.base)).version
        return None if found == python.version else found
    return None


def _missing(store: Store, name: EnvironmentName, record: Record) -> Iterator[tuple[str, str]]:
    """Give what an environment needs outside itself and is not there: a code and a name."""
    if not any(os.access(host.python, os.X_OK) for host in record.hosts):
        yield "no-host", "Every host"
    if record.kernel != OWN and find_layer(store, record.kernel) is None:
        yield "no-layer", "The kernel layer"
    if not is_kernel_side(store.kernel_sides / record.kernel_side):
        yield "no-kernel-side", "The kernel side"
    if not (store.environment(name) / LAUNCHER).is_file():
        yield "no-launcher", "The launcher"
    spec = specs.read(specs.kernelspec_folder(name))
    if record.register and _registers() and spec is None:
        yield "no-kernelspec-of-source", "The kernelspec"


def _registers() -> bool:
    with contextlib.suppress(ScriptEnvError):
        return policy.current().register
    return False


def removal(context: Context, kind: ItemKind, name: str, path: Path) -> Callable[[], None]:
    """Give a cure that removes something of ours, unless it is in use."""

    def remove() -> None:
        item = Item(kind=kind, name=name, path=path, reason="")
        _removed, kept = prune([item], context=context)
        for _item, reason in kept:
            raise EnvironmentInUse(reason)

    return remove
