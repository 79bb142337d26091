"""The live lock: a file that a kernel holds locked for its life, so that it counts as at home."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Mapping

__all__ = ["LiveLock", "hold"]

_SIDE = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
"""The folder that this code was copied to, named by its content."""

_INHERITED = "SCRIPTENV_LIVE"
"""Name and descriptor of the lock of a kernel that replaced itself: it is never free between."""


class LiveLock:
    """A live lock that is held; its file tells the host what this kernel runs on."""

    def __init__(self, path: str, descriptor: int, kernel: str) -> None:
        self.path = path
        self.descriptor = descriptor
        self.kernel = kernel
        self.ready = False
        self._inode = os.fstat(descriptor).st_ino

    @property
    def uuid(self) -> str:
        """The kernel's own name."""
        return os.path.basename(self.path)

    def tell(
        self,
        imported: list[str],
        *,
        busy: bool = False,
        undeclared: Mapping[str, str] | None = None,
    ) -> None:
        """Write what this kernel has imported from the environment.

        :param busy: a user's code is running, which may import anything at any moment
        :param undeclared: modules that the user's code took from the layer, and their distributions
        """
        text = json.dumps(
            {
                "pid": os.getpid(),
                "kernel": self.kernel,
                "side": _SIDE,
                "ready": self.ready,
                "busy": busy,
                "imported": imported,
                "undeclared": dict(undeclared or {}),
            }
        )
        data = text.encode()
        # A full disk costs others what is new of it, not this kernel its life.
        with contextlib.suppress(OSError):
            before = os.fstat(self.descriptor).st_size
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            # Over the old text, with blanks for its rest: who reads meanwhile finds one or the
            # other. In an empty file it would find that nothing is imported.
            os.write(self.descriptor, data.ljust(before))
            os.ftruncate(self.descriptor, len(data))

    def close(self) -> None:
        """Close this process's copy of the lock; another process's holds on."""
        with contextlib.suppress(OSError):
            # The number may be another file's by now.
            if os.fstat(self.descriptor).st_ino == self._inode:
                os.close(self.descriptor)

    def bequest(self) -> dict[str, str]:
        """Let the program that this process becomes keep the lock; give what it must be told."""
        os.set_inheritable(self.descriptor, True)
        return {_INHERITED: f"{self.descriptor}:{self.path}"}

    def keep(self) -> None:
        """Let no other program keep the lock: this process has become none."""
        os.set_inheritable(self.descriptor, False)


def hold(environment: str, home: str, kernel: str) -> LiveLock | None:
    """Take this kernel's live lock; None where the file system gives none."""
    inherited = os.environ.pop(_INHERITED, None)
    if inherited is not None:
        number, _, path = inherited.partition(":")
        descriptor = int(number)
        os.set_inheritable(descriptor, False)
        lock = LiveLock(path, descriptor, kernel)
        lock.tell([])
    else:
        folder = os.path.join(home, "locks", os.path.basename(environment) + ".kernels")
        name = uuid.uuid4().hex
        path = os.path.join(folder, name)
        unlocked = os.path.join(folder, f".{name}")
        try:
            if os.path.islink(folder):
                return None
            os.makedirs(folder, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            # It gets its name when it is locked and tells something: an unlocked one is taken for
            # a dead kernel's, an empty one for a busy kernel's.
            descriptor = os.open(unlocked, flags, 0o600)
            _lock(descriptor)
            lock = LiveLock(path, descriptor, kernel)
            lock.tell([])
            os.rename(unlocked, path)
            # The start has come to its end: from now on the lock shows that this kernel is here.
            with contextlib.suppress(OSError):
                os.unlink(folder.removesuffix(".kernels") + ".starting")
        except OSError:
            return None
    if hasattr(os, "register_at_fork"):
        # The lock is this process's: a forked child that outlives it must not keep it.
        os.register_at_fork(after_in_child=lock.close)
    return lock


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
