"""Where an environment stands, and whether what stands there can be trusted: a handful of stats."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.errors import Foreign
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Package, Python, Record, Source
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import damage, site_packages

__all__ = [
    "Condition",
    "Standing",
    "inspect",
    "installed_packages",
    "is_for",
    "whereabouts",
]


class Condition(enum.Enum):
    """What stands at a path of ours."""

    MISSING = "missing"
    SOUND = "sound"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An environment's place and what is there.

    :param broken: why it must be rebuilt; ``None`` unless the condition says so
    """

    name: EnvironmentName
    path: Path
    condition: Condition
    record: Record | None = None
    broken: str | None = None


def whereabouts(store: Store, source: Source) -> EnvironmentName:
    """Give the name that the environment of *source* has, which may be the one before a rename."""
    name = name_of(source)
    old = store.moved_from(name)
    if old is not None and is_for(store, old, source):
        return old
    return name


def is_for(store: Store, name: EnvironmentName, source: Source) -> bool:
    """Say whether the environment of that name is a source's, by its record."""
    record = store.record_of(name)
    return record is not None and record.source == source


def inspect(store: Store, name: EnvironmentName, source: Source) -> Standing:
    """Look at an environment; nothing is run and nothing changed.

    :raises Foreign: if what stands there is not ours, or is for another source
    :raises NewerSchema: if a newer version made it
    """
    path = store.environment(name)
    if not os.path.lexists(path):
        return Standing(name=name, path=path, condition=Condition.MISSING)
    if not store.is_ours(path):
        msg = f"Something that is not ours stands at `{path}`."
        raise Foreign(msg)
    record = store.read_record(path)
    if record is not None and (record.source.path, record.source.url) != (source.path, source.url):
        msg = f"The environment `{path}` is for `{record.source}`, not for `{source}`."
        hint = "Delete it if it is not needed any more."
        if record.source.path is not None and store.moved_from(name_of(record.source)) == name:
            hint = (
                "That file was renamed: the environment follows it when its kernels have ended. "
                "Restart its kernel, then this one's."
            )
        raise Foreign(msg, hint=hint)
    broken = _damage(path, record)
    condition = Condition.SOUND if broken is None else Condition.BROKEN
    return Standing(name=name, path=path, condition=condition, record=record, broken=broken)


def _damage(path: Path, record: Record | None) -> str | None:
    if record is None:
        return "Its record is missing or cannot be read."
    python = record.python
    return damage(
        path,
        base=python.base,
        version=python.version,
        abi=python.abi,
        has_packages=bool(record.packages),
    )


def installed_packages(environment: Path, python: Python) -> tuple[Package, ...]:
    """List the distributions of an environment, by the names of their metadata folders."""
    from packaging.utils import canonicalize_name

    try:
        names = os.listdir(site_packages(environment, python))
    except OSError:
        return ()
    found = []
    for name in names:
        if name.endswith(".dist-info"):
            project, _, version = name.removesuffix(".dist-info").partition("-")
            found.append(Package(name=canonicalize_name(project), version=version))
    return tuple(sorted(found, key=lambda package: package.name))
