"""The folders and files of ours: one door to what stands in the home (:class:`~.layout.Layout`)."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv.errors import Foreign, NewerSchema
from ipy_scriptenv.files import entries, explained, read_regular, remove_tree, write_atomically
from ipy_scriptenv.identity import EnvironmentName, is_environment_name
from ipy_scriptenv.layout import ENVIRONMENTS, LAUNCHER, MOVED, RECORD, Layout
from ipy_scriptenv.record import Glance, Record

__all__ = ["FENCE", "KERNEL_SIDE", "WANTED", "Store"]

KERNEL_SIDE = "kernel-side"
"""Name of the lock of all that builds a copy of the kernel side."""

WANTED = ".wanted-"
"""Begins the names of requests for byte code."""

FENCE = "uv.toml"
"""An empty file that ends uv's search for configuration."""

_LARGEST = 1 << 24
"""Bytes of the largest record that is read."""

_STARTING = 60.0
"""Seconds that a kernel has from its launch until it holds its live lock."""


@dataclass(frozen=True, slots=True)
class Store(Layout):
    """What stands in one home folder; nothing is read or made before a method is called."""

    home: Path

    def prepare(self) -> None:
        """Make the folders that are missing, for the user alone.

        :raises Foreign: if one of them is a link, a file, or belongs to somebody else, or if others
            may write into a home that has other uses too
        """
        with explained(self.home):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_own = self.is_own(self.home)
            _check_ours(self.home, mend=is_own)
            if not is_own and os.name == "posix" and self.home.stat().st_mode & 0o022:
                msg = f"`{self.home}` has other uses too, and others may write into it."
                raise Foreign(msg, hint="Set SCRIPTENV_HOME to a folder that is for it alone.")
            for folder in self.folders:
                folder.mkdir(mode=0o700, exist_ok=True)
                _check_ours(folder)
            # uv looks for configuration from its working folder upwards: this ends its search.
            fence = self.work / FENCE
            if not fence.exists():
                write_atomically(fence, b"")

    def is_own(self, folder: Path) -> bool:
        """Say whether it is ours to close to others: a home that holds more may be for them too."""
        ours = {each.name for each in self.folders}
        return folder != self.home or all(entry.name in ours for entry in entries(folder))

    def check(self) -> None:
        """Check the folders that are there; nothing is made or changed.

        :raises Foreign: if one of them is a link, a file, or belongs to somebody else
        """
        for folder in (self.home, *self.folders):
            with contextlib.suppress(FileNotFoundError):
                _check_ours(folder, mend=False)

    def read_record(self, environment: Path) -> Record | None:
        """Read the record of the environment at that path; ``None`` if it is missing or broken.

        :raises NewerSchema: if a newer version wrote it
        """
        try:
            return Record.from_json(read_regular(environment / RECORD, limit=_LARGEST).decode())
        except (OSError, ValueError):
            return None

    def glance(self, name: EnvironmentName) -> Glance | None:
        """Read what a listing needs of an environment's record; ``None`` if that is broken.

        :raises NewerSchema: if a newer version wrote it
        """
        try:
            # Ten thousand are read at once: a text is made much sooner than a `Path`.
            path = f"{self.home}{os.sep}{ENVIRONMENTS}{os.sep}{name}{os.sep}{RECORD}"
            return Glance.from_json(read_regular(path, limit=_LARGEST).decode())
        except (OSError, ValueError):
            return None

    def record_of(self, name: EnvironmentName) -> Record | None:
        """Read the record of an environment; ``None`` if it is missing, broken or a newer one's."""
        try:
            return self.read_record(self.environment(name))
        except NewerSchema:
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
            found = os.listdir(self.environments)
        except FileNotFoundError:
            return []
        return sorted(EnvironmentName(each) for each in found if is_environment_name(each))

    def moved_from(self, name: EnvironmentName) -> EnvironmentName | None:
        """Where the environment that is to be *name* still stands, because a kernel runs in it."""
        try:
            text = read_regular(self.moved_note(name), limit=_LARGEST).decode()
        except (OSError, ValueError):
            return None
        return EnvironmentName(text) if is_environment_name(text) else None

    def note_move(self, old: EnvironmentName, new: EnvironmentName) -> None:
        """Note that the environment *old* is to be *new*."""
        path = self.moved_note(new)
        with explained(path):
            write_atomically(path, old.encode())

    def forget_move(self, new: EnvironmentName) -> None:
        """Forget what :meth:`note_move` noted."""
        with contextlib.suppress(OSError):
            self.moved_note(new).unlink()

    def moves(self) -> list[EnvironmentName]:
        """List the names that environments are to get."""
        names = (entry.name for entry in entries(self.building))
        return sorted(EnvironmentName(n.removeprefix(MOVED)) for n in names if n.startswith(MOVED))

    def new_build(self, name: EnvironmentName) -> Path:
        """Give a path where an environment can be made; nothing stands there."""
        return self.building / f".building-{name}-{os.urandom(4).hex()}"

    def place(self, build: Path, environment: Path) -> None:
        """Give a finished build its name; what stood there goes.

        :raises Foreign: if what stands there is not ours
        """
        with explained(environment):
            old = None
            if os.path.lexists(environment):
                if not self.is_ours(environment):
                    raise Foreign(_foreign(environment))
                old = self.building / f".replaced-{environment.name}-{os.urandom(4).hex()}"
                environment.rename(old)
            try:
                build.rename(environment)
            except OSError:
                if old is not None:
                    old.rename(environment)
                raise
        if old is not None:
            # By another name first: what is called replaced is whole, and may get its name back.
            self.remove_folder(old)

    def remove_environment(self, environment: Path) -> None:
        """Remove an environment of ours: first its name, then its files.

        :raises Foreign: if it is not ours
        """
        if not os.path.lexists(environment):
            return
        if not self.is_ours(environment):
            raise Foreign(_foreign(environment))
        self.remove_folder(environment)

    def forget_locks(self, name: EnvironmentName) -> None:
        """Remove the lock files of an environment that is gone; the caller holds its lock."""
        remove_tree(self.live(name))
        for path in (self.starting(name), self.lock(name)):
            with contextlib.suppress(OSError):
                path.unlink()

    def is_due(self, work: str, *, every: float) -> bool:
        """Say whether some work was not done for *every* seconds, and note that it is done now."""
        stamp = self.locks / f"{work}.done"
        try:
            if abs(time.time() - stamp.stat().st_mtime) < every:
                return False
            os.utime(stamp)
        except OSError:
            with contextlib.suppress(OSError):
                stamp.touch(mode=0o600)
        return True

    def note_start(self, name: EnvironmentName) -> None:
        """Note that a kernel is being launched in an environment; the kernel takes the note away.

        Until its live lock is held, nothing else shows that it is needed.
        """
        flags = os.O_WRONLY | os.O_CREAT
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with contextlib.suppress(OSError):
            descriptor = os.open(self.starting(name), flags, 0o600)
            try:
                os.utime(descriptor if os.utime in os.supports_fd else self.starting(name))
            finally:
                os.close(descriptor)

    def is_starting(self, name: EnvironmentName) -> bool:
        """Say whether a kernel was launched just now that has not taken its live lock yet."""
        try:
            launched = self.starting(name).stat(follow_symlinks=False).st_mtime
        except OSError:
            return False
        return abs(time.time() - launched) < _STARTING

    def lock_names(self) -> list[str]:
        """List the names of what has a lock file, standing or gone."""
        found = (entry.name.rpartition(".") for entry in entries(self.locks))
        return sorted({name for name, _, kind in found if kind in ("lock", "kernels", "starting")})

    def live_folders(self) -> list[Path]:
        """List the folders of all live locks."""
        return [Path(e.path) for e in entries(self.locks) if e.name.endswith(".kernels")]

    def remove_folder(self, path: Path) -> None:
        """Remove a folder of ours beside which others stand: first its name, then its files."""
        trash = self.building / f".removed-{os.urandom(8).hex()}"
        with explained(path):
            path.rename(trash)
        remove_tree(trash)

    def remove_home(self) -> None:
        """Remove the folders that hold nothing any more, and the home with them."""
        with contextlib.suppress(OSError):
            (self.work / FENCE).unlink()
        for entry in entries(self.locks):
            if entry.name.endswith(".done"):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            self.home.rmdir()

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


def _check_ours(folder: Path, *, mend: bool = True) -> None:
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
        if mend and found.st_mode & 0o077:
            folder.chmod(0o700)


def _foreign(path: Path) -> str:
    return f"Something that is not ours stands at `{path}`."
