"""Who may change an environment, and who is at home in it.

``locks/<name>.lock`` is held by the one host that changes an environment; a uv process that works
for it inherits the lock, so that it is never free while a uv lives. ``locks/<name>.kernels/<id>``
is one file per running kernel, locked by that kernel for its life. Both are locks of the operating
system (``flock``, ``LockFileEx``): they are gone with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import lock_descriptor, unlock_descriptor

from ipy_scriptenv.errors import Interrupted, LockTimeout, PermissionRefused
from ipy_scriptenv.files import explained, read_regular

__all__ = ["Held", "RunningKernel", "became_ready", "exclusive", "is_held", "running_kernels"]

_POLL = 0.05
_PATIENCE = 1.0
"""Seconds before waiting is told."""
_LARGEST = 1 << 24
_ATTEMPTS = 5
_PAUSE = 0.005
"""How often a file is read that is being written, and the seconds between."""
_REMEMBERED = 30.0
"""Seconds that the file of a dead kernel stays at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lock that this process holds; *descriptor* may be inherited by a child."""

    descriptor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningKernel:
    """A kernel that is at home in an environment.

    :param uuid: its own name, that of its file
    :param pid: its process
    :param kernel: the layer it runs on, or ``own``
    :param side: the copy of the kernel side that it runs
    :param imported: what it has imported from the environment, as paths relative to the folder of
        packages, one for each package
    :param busy: a user's code is running in it, which may import anything at any moment
    :param undeclared: modules that the user's code took from the kernel layer, with the names of
        their distributions
    """

    uuid: str
    pid: int
    kernel: str
    side: str = ""
    imported: frozenset[str] = frozenset()
    busy: bool = False
    undeclared: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def exclusive(
    path: Path,
    *,
    timeout: float,
    on_wait: Callable[[], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Held]:
    """Hold the lock file *path* alone.

    :param timeout: seconds to wait; 0: do not wait
    :param on_wait: called once, after one second of waiting
    :param cancelled: looked at while waiting
    :raises LockTimeout: if another process held it all the while
    :raises Interrupted: if *cancelled* says so
    :raises PermissionRefused: if the file system gives no locks, or the file is not ours
    """
    began = time.monotonic()
    told = False
    descriptor = _take(path)
    while descriptor is None:
        waited = time.monotonic() - began
        if cancelled():
            msg = "Waiting for another process was interrupted."
            raise Interrupted(msg)
        if min(waited, timeout) >= _PATIENCE and not told and on_wait is not None:
            told = True
            on_wait()
        if waited >= timeout:
            msg = f"Another process has been changing this environment for {waited:.0f} s."
            raise LockTimeout(msg)
        time.sleep(_POLL)
        descriptor = _take(path)
    try:
        yield Held(descriptor=descriptor)
    finally:
        # Closing alone is not enough: what a build has left running may have inherited it.
        with contextlib.suppress(OSError):
            unlock_descriptor(descriptor)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether a process holds the lock file *path* now."""
    if not path.exists():
        return False
    descriptor = _take(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def running_kernels(folder: Path) -> list[RunningKernel]:
    """List the kernels whose live locks in *folder* are held; files of dead ones are removed.

    Not at once: what a kernel that died young has told is still asked for (:func:`became_ready`).
    The folder's time stays that of the last kernel: to look is not to use.
    """
    found, last = [], 0
    if folder.is_symlink():
        msg = f"`{folder}` is a link; folders of ours never are."
        raise PermissionRefused(msg, hint="Remove it.")
    try:
        before = folder.stat()
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith("."):
            # A kernel is about to lock it.
            continue
        path = folder / name
        try:
            descriptor = _open(path, create=False)
        except FileNotFoundError:
            continue
        try:
            if _try(descriptor, path):
                told = os.fstat(descriptor)
                if time.time() - told.st_mtime > _REMEMBERED:
                    with contextlib.suppress(OSError):
                        path.unlink()
                        last = max(last, told.st_mtime_ns, before.st_mtime_ns)
                continue
            found.append(_running(name, _told(path)))
        finally:
            os.close(descriptor)
    if last and not found:
        with contextlib.suppress(OSError):
            if set(os.listdir(folder)) <= set(names):
                os.utime(folder, ns=(last, last))
    return found


def became_ready(folder: Path, pid: int) -> bool:
    """Say whether the kernel that ran as process *pid* got as far as answering requests."""
    if folder.is_symlink():
        return False
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            data = _read(folder / name)
            if data.get("pid") == pid:
                return bool(data.get("ready"))
    return False


def _told(path: Path) -> dict[str, Any]:
    """Read what a running kernel tells, which may be writing it at this moment.

    Where that cannot be understood, it may have imported anything, as if it were busy.
    """
    for _ in range(_ATTEMPTS):
        try:
            data = json.loads(read_regular(path, limit=_LARGEST))
        except ValueError:
            time.sleep(_PAUSE)
        except OSError:
            # On Windows nobody else reads what a kernel has locked.
            return {}
        else:
            return data if isinstance(data, dict) else {"busy": True}
    return {"busy": True}


def _running(uuid: str, data: dict[str, Any]) -> RunningKernel:
    imported = data.get("imported", ())
    return RunningKernel(
        uuid=uuid,
        pid=int(data.get("pid", 0)),
        kernel=str(data.get("kernel", "")),
        side=str(data.get("side", "")),
        imported=frozenset(imported if isinstance(imported, list) else ()),
        busy=bool(data.get("busy")),
        undeclared=_texts(data.get("undeclared")),
    )


def _texts(data: Any) -> dict[str, str]:
    pairs = data.items() if isinstance(data, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def _take(path: Path) -> int | None:
    """Lock the file and give its descriptor; ``None`` if another process holds it.

    Who removes a lock file holds it meanwhile: what is locked counts only if it still has the name.
    """
    descriptor = _open(path)
    try:
        if _try(descriptor, path) and _has_name(descriptor, path):
            taken, descriptor = descriptor, -1
            return taken
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _open(path: Path, *, create: bool = True) -> int:
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except OSError as error:
        if error.errno == errno.EROFS and not create:
            # To look whether it is held, it need not be written.
            return os.open(path, flags | os.O_RDONLY)
        if error.errno in (errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS):
            msg = f"The lock file `{path}` cannot be opened: {error.strerror}."
            raise PermissionRefused(msg) from error
        with explained(path):
            raise


def _try(descriptor: int, path: Path) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        msg = f"The file system of `{path}` gives no locks: {error.strerror}."
        hint = "Set `SCRIPTENV_HOME` to a folder on a local disk."
        raise PermissionRefused(msg, hint=hint) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_regular(path, limit=_LARGEST))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
