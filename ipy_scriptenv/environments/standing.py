"""What stands at an environment's path, and whether it can be trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ipy_scriptenv import plan, policy, settings
from ipy_scriptenv.environments.sources import lock_of, read_lock
from ipy_scriptenv.errors import PolicyBroken, ScriptEnvError
from ipy_scriptenv.files import read_regular, stat_of
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.locks import Held, running_kernels
from ipy_scriptenv.metadata import local_paths
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import FileStat, Python, Source
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Event, Uv, find_uv, ignore

__all__ = [
    "Context",
    "Deciding",
    "deciding",
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


def is_at_home(store: Store, name: EnvironmentName) -> bool:
    """Say whether a kernel runs in an environment, or was launched and is about to."""
    return store.is_starting(name) or bool(running_kernels(store.live(name)))


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
    source: Source,
    block: str | None,
    *,
    python: Python,
    folder: Path | None = None,
    lock: bytes | None = None,
) -> Deciding:
    """Read what decides what the environment of *source* should hold, if its block is *block*.

    :param folder: where relative paths in the block start, for a source without a file
    :param lock: what the lock of an open document is to be; ``None``: as the disk has it
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
    if lock is None:
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
