"""The folders and files of ours: one door to what stands in the home.

::

    <home>/environments-v1/<name>/                    a relocatable virtual environment
    <home>/environments-v1/<name>/scriptenv.json      its record
    <home>/environments-v1/<name>/kernel.py           the launcher
    <home>/environments-v1/.building-<name>-<token>   one that is being made
    <home>/kernels-v1/<abi>-<digest>/                 the kernel layers
    <home>/kernel-side-v1/<version>/                  the code that runs in kernels
    <home>/locks/                                     changes, and kernels that run
    <home>/work-v1/                                   what uv is given to read
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.errors import Foreign, NoSpace, PermissionRefused, ScriptEnvError
from ipy_scriptenv.identity import EnvironmentName, is_environment_name
from ipy_scriptenv.record import FileStat, Record

__all__ = ["CHANGING", "LAUNCHER", "RECORD", "Store", "environment_python", "explained", "stat_of"]

RECORD = "scriptenv.json"
LAUNCHER = "kernel.py"
CHANGING = "scriptenv.changing"
"""A mark: written before an environment is changed in place, removed after."""

_ABANDONED = 3600.0
"""Seconds after which a build folder that nobody holds a lock for counts as a crash's leftover."""


@dataclass(frozen=True, slots=True)
class Store:
    """What stands in one home folder; nothing is read or made before a method is called."""

    home: Path

    @property
    def environments(self) -> Path:
        """The folder of the environments, one for each source."""
        return self.home / "environments-v1"

    @property
    def layers(self) -> Path:
        """The folder of the kernel layers, one for each ABI and hash-locked list."""
        return self.home / "kernels-v1"

    @property
    def kernel_sides(self) -> Path:
        """The folder of the copies of the kernel side, one for each content."""
        return self.home / "kernel-side-v1"

    @property
    def locks(self) -> Path:
        """The folder of all lock files, live locks included."""
        return self.home / "locks"

    @property
    def work(self) -> Path:
        """The folder that uv is called in, with what is staged for it."""
        return self.home / "work-v1"

    def environment(self, name: EnvironmentName) -> Path:
        """Where the environment of that name stands or would stand."""
        return self.environments / name

    def lock(self, name: str) -> Path:
        """The lock file for changes of the environment or layer *name*."""
        return self.locks / f"{name}.lock"

    def live(self, name: EnvironmentName) -> Path:
        """The folder of the live locks of the kernels in the environment *name*."""
        return self.locks / f"{name}.kernels"

    def prepare(self) -> None:
        """Make the folders that are missing, for the user alone.

        :raises Foreign: if one of them is a link, a file, or belongs to somebody else
        """
        with explained(self.home):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (
                self.home,
                self.environments,
                self.layers,
                self.kernel_sides,
                self.locks,
                self.work,
            ):
                if folder != self.home:
                    folder.mkdir(mode=0o700, exist_ok=True)
                _check_ours(folder)
            # uv looks for configuration from its working folder upwards: this ends its search.
            fence = self.work / "uv.toml"
            if not fence.exists():
                write_atomically(fence, b"")

    def read_record(self, environment: Path) -> Record | None:
        """Read the record of the environment at that path; ``None`` if it is missing or broken.

        :raises NewerSchema: if a newer version wrote it
        """
        try:
            return Record.from_json((environment / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def write_record(self, environment: Path, record: Record) -> None:
        """Write the record of the environment at that path, atomically."""
        with explained(environment):
            write_atomically(environment / RECORD, record.to_json().encode())

    def is_ours(self, environment: Path) -> bool:
        """Say whether the folder at that path is one that this package made.

        A link or a file never is. Record or launcher prove it, and so does an empty folder: they
        stand in every environment before it gets its name.
        """
        if environment.is_symlink() or not environment.is_dir():
            return False
        if any((environment / name).is_file() for name in (RECORD, LAUNCHER)):
            return True
        return not any(environment.iterdir())

    def names(self) -> list[EnvironmentName]:
        """List the names in the folder of environments, without looking into them."""
        try:
            entries = os.listdir(self.environments)
        except FileNotFoundError:
            return []
        return sorted(EnvironmentName(entry) for entry in entries if is_environment_name(entry))

    def new_build(self, name: EnvironmentName) -> Path:
        """Give a path beside the environments where one can be made; nothing stands there."""
        return self.environments / f".building-{name}-{secrets.token_hex(4)}"

    def place(self, build: Path, environment: Path) -> None:
        """Give a finished build its name; what stood there goes.

        :raises Foreign: if what stands there is not ours
        """
        with explained(environment):
            old = None
            if os.path.lexists(environment):
                if not self.is_ours(environment):
                    raise Foreign(_foreign(environment))
                old = self.environments / f".replaced-{environment.name}-{secrets.token_hex(4)}"
                environment.rename(old)
            build.rename(environment)
        if old is not None:
            remove_tree(old)

    def remove_environment(self, environment: Path) -> None:
        """Remove an environment of ours: first its name, then its files.

        :raises Foreign: if it is not ours
        """
        if not os.path.lexists(environment):
            return
        if not self.is_ours(environment):
            raise Foreign(_foreign(environment))
        trash = self.environments / f".removed-{secrets.token_hex(8)}"
        with explained(environment):
            environment.rename(trash)
        remove_tree(trash)

    def sweep(self, name: EnvironmentName) -> None:
        """Remove what a crash left of builds of *name*; the caller holds its exclusive lock.

        What was removed long ago and lost its name goes too, whoever left it.
        """
        self._put_back(name)
        for folder, mine in (
            (self.environments, f".building-{name}-"),
            (self.environments, f".replaced-{name}-"),
            (self.environments / name, f".{RECORD}-"),
            (self.work, f".{name}.py"),
        ):
            for entry in _entries(folder):
                if entry.name.startswith(mine):
                    _remove(Path(entry.path))
        for folder, nobodys in (
            (self.environments, ".removed-"),
            (self.kernel_sides, ".building-"),
        ):
            for entry in _entries(folder):
                with contextlib.suppress(OSError):
                    age = time.time() - entry.stat(follow_symlinks=False).st_ctime
                    if entry.name.startswith(nobodys) and age > _ABANDONED:
                        _remove(Path(entry.path))

    def _put_back(self, name: EnvironmentName) -> None:
        """Give an environment its name again that a kill took it between two renames."""
        if os.path.lexists(self.environment(name)):
            return
        for entry in _entries(self.environments):
            if entry.name.startswith(f".replaced-{name}-"):
                with contextlib.suppress(OSError):
                    Path(entry.path).rename(self.environment(name))
                    return

    def forget_locks(self, name: EnvironmentName) -> None:
        """Remove the lock files of an ephemeral environment that is gone."""
        shutil.rmtree(self.live(name), ignore_errors=True)
        with contextlib.suppress(OSError):
            self.lock(name).unlink()

    @contextlib.contextmanager
    def staged(self, name: EnvironmentName, text: str, lock: bytes | None) -> Iterator[Path]:
        """Write a script for uv to read, its lock beside it, for as long as the block lasts."""
        script = self.work / f"{name}.py"
        beside = self.work / f"{name}.py.lock"
        with explained(script):
            write_atomically(script, text.encode("utf-8"))
            if lock is not None:
                write_atomically(beside, lock)
            else:
                beside.unlink(missing_ok=True)
        try:
            yield script
        finally:
            for path in (script, beside):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def environment_python(environment: Path) -> Path:
    """Where the interpreter of a virtual environment is."""
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def stat_of(path: Path) -> FileStat | None:
    """Size, change time in nanoseconds and inode; ``None`` if there is no such file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def read_regular(path: Path, *, limit: int) -> bytes:
    """Read a file that somebody else may have put there: a regular one, not larger than *limit*.

    A pipe would make the reader wait for ever, a device would never end.

    :raises OSError: if it is something else, or cannot be read
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise OSError(errno.EINVAL, "no regular file, or too large", str(path))
        return file.read()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file of ours whole or not at all."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours; what cannot be removed now is left to a later sweep."""
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors of ours that name *path*."""
    try:
        yield
    except ScriptEnvError:
        raise
    except OSError as error:
        where = error.filename or path
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            msg = f"There is no space left to write `{where}`."
            raise NoSpace(msg) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            msg = f"The operating system refused access to `{where}`: {error.strerror}."
            raise PermissionRefused(msg) from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            msg = f"Something that is no folder of ours stands at `{where}`."
            raise Foreign(msg) from error
        raise


def _check_ours(folder: Path) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        msg = f"`{folder}` is a link; folders of ours never are."
        raise Foreign(msg)
    if not stat.S_ISDIR(found.st_mode):
        msg = f"`{folder}` is no folder."
        raise Foreign(msg)
    if hasattr(os, "getuid"):
        if found.st_uid != os.getuid():
            msg = f"`{folder}` belongs to another user."
            raise Foreign(msg)
        if found.st_mode & 0o077:
            folder.chmod(0o700)


def _foreign(path: Path) -> str:
    return f"Something that is not ours stands at `{path}`."
