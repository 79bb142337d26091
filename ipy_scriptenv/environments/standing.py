"""What stands at an environment's path, and whether it can be trusted."""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from ipy_scriptenv import plan, policy, settings
from ipy_scriptenv.environments.sources import lock_of, name_of, read_lock
from ipy_scriptenv.errors import Foreign, PolicyBroken, ScriptEnvError
from ipy_scriptenv.files import read_regular, stat_of
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.kernels.layer import site_packages
from ipy_scriptenv.locks import Held, running_kernels
from ipy_scriptenv.metadata import local_paths
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import FileStat, Package, Python, Record, Source
from ipy_scriptenv.store import CHANGING, Store, environment_python
from ipy_scriptenv.uv import Event, Uv, find_uv, ignore, is_environment, made_from_version

__all__ = [
    "Condition",
    "Context",
    "Deciding",
    "Standing",
    "deciding",
    "inspect",
    "installed_packages",
    "is_at_home",
    "now",
    "pass_env",
]


def pass_env() -> tuple[str, ...]:
    """Give the secrets that the policy lets uv have; none where it cannot be read."""
    try:
        return policy.current().pass_env
    except PolicyBroken:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every verb works with.

    :param on_event: gets each step of a longer work
    :param cancel: ends it
    """

    store: Store = field(default_factory=lambda: Store(settings.home()))
    on_event: Callable[[Event], None] = ignore
    cancel: Cancel = field(default_factory=Cancel)

    def uv(self, held: Held | None = None) -> Uv:
        """Give uv; it inherits the lock *held* and tells this context's listener."""
        return Uv(
            binary=find_uv(),
            pass_env=pass_env(),
            work=self.store.work,
            held=held,
            cancel=self.cancel,
            on_event=self.on_event,
        )


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
    if record.packages and not installed_packages(path, record.python):
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


def is_at_home(store: Store, name: EnvironmentName) -> bool:
    """Say whether a kernel runs in an environment, or was launched and is about to."""
    return store.is_starting(name) or bool(running_kernels(store.live(name)))


def installed_packages(environment: Path, python: Python) -> tuple[Package, ...]:
    """List the distributions of an environment, by the names of their metadata folders."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What decides beside the block, as it is now.

    :param fingerprint: of the block together with all of it
    :param watch: stat of each file of it, there or not
    :param lock: content of the source's lock, in its metadata or beside it
    """

    fingerprint: str
    lock_sha256: str | None
    settings: str
    watch: dict[str, FileStat | None]
    lock: bytes | None


_LARGEST = 64 * 2**20
"""Bytes of the largest lock or configuration file that is read."""

_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


def deciding(
    source: Source, block: str | None, *, python: Python, folder: Path | None = None
) -> Deciding:
    """Read what decides what the environment of *source* should hold, if its block is *block*.

    :param folder: where relative paths in the block start, for a source without a file
    """
    if source.path is not None:
        folder = Path(source.path).parent
    watch: dict[str, FileStat | None] = {python.base: stat_of(Path(python.base))}
    config: dict[str, str] = {}
    for path in settings.config_files():
        watch[str(path)] = stat_of(path)
        data = _read(path)
        if data is not None:
            config[str(path)] = hashlib.sha256(data).hexdigest()
    lock_path = lock_of(source)
    if lock_path is not None:
        # One in the notebook itself is seen with the notebook.
        watch[str(lock_path)] = stat_of(lock_path)
    found = read_lock(source)
    lock = None if found is None else found.content
    local: dict[str, FileStat | None] = {}
    for path in _local_build_files(block, folder):
        local[str(path)] = watch[str(path)] = stat_of(path)
    lock_sha256 = None if lock is None else hashlib.sha256(lock).hexdigest()
    digest = settings.resolver_settings()
    return Deciding(
        fingerprint=plan.fingerprint(
            # Credentials rotate, and a record holds none.
            block=None if block is None else without_credentials(block),
            lock_sha256=lock_sha256,
            python_request=python.request,
            settings=digest,
            config=config,
            local=local,
        ),
        lock_sha256=lock_sha256,
        settings=digest,
        watch=watch,
        lock=lock,
    )


def now() -> str:
    """Give the time as the record keeps it: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _local_build_files(block: str | None, folder: Path | None) -> Iterable[Path]:
    if block is None or folder is None:
        return ()
    try:
        places = local_paths(block, folder=folder)
    except ScriptEnvError:
        return ()
    found: list[Path] = []
    for place in places:
        path = Path(place)
        # A wheel or an archive counts itself; a folder, by its build files.
        found += (
            [path]
            if path.suffix in {".whl", ".gz", ".zip"}
            else [path / name for name in _BUILD_FILES]
        )
    return found


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=_LARGEST)
    except OSError:
        return None
