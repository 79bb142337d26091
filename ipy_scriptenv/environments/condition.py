"""Where an environment stands, and whether what stands there can be trusted: a handful of stats.

``find`` is to answer before a shell's user notices, so nothing here imports more than it needs.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.environments.locating import name_of
from ipy_scriptenv.errors import Foreign
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.record import Package, Python, Record, Source
from ipy_scriptenv.store import CHANGING, Store
from ipy_scriptenv.venvs import (
    environment_python,
    is_environment,
    made_from_version,
    site_packages,
)

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
            hint = "That file was renamed: the environment follows it when its kernels have ended."
        raise Foreign(msg, hint=hint)
    broken = _damage(path, record)
    condition = Condition.SOUND if broken is None else Condition.BROKEN
    return Standing(name=name, path=path, condition=condition, record=record, broken=broken)


def _damage(path: Path, record: Record | None) -> str | None:
    """Say what is wrong with an environment, as far as a handful of stats tell."""
    if record is None:
        return "Its record is missing or cannot be read."
    if (path / CHANGING).exists():
        return "A change of it was interrupted."
    if not os.access(record.python.base, os.X_OK):
        return f"The interpreter `{record.python.base}` is gone."
    if not is_environment(path):
        return "Its interpreter or `pyvenv.cfg` is missing."
    return _damaged_interpreter(path, record.python) or _damaged_packages(path, record)


def _damaged_interpreter(path: Path, python: Python) -> str | None:
    if not os.access(environment_python(path), os.X_OK):
        return "Its interpreter cannot be run."
    if not _is_its_interpreter(path, python):
        return "Its interpreter is not the one that it was made from."
    return None


def _damaged_packages(path: Path, record: Record) -> str | None:
    if record.packages and not _has_packages(path, record.python):
        return "Its packages are gone."
    return None


def _is_its_interpreter(path: Path, python: Python) -> bool:
    """Say whether an environment has the interpreter, in the version, that it was made from.

    uv would make the environment anew where `pyvenv.cfg` tells another version.
    """
    if made_from_version(path) not in (None, python.version):
        return False
    if os.name != "posix":
        return True
    try:
        return environment_python(path).samefile(python.base)
    except OSError:
        return False


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


def _has_packages(environment: Path, python: Python) -> bool:
    try:
        names = os.listdir(site_packages(environment, python))
    except OSError:
        return False
    return any(name.endswith(".dist-info") for name in names)
