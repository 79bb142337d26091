"""The live lock: a file that a kernel holds locked for its life, so that it counts as at home."""

from __future__ import annotations

import json
import os
import sys
import uuid

__all__ = ["LiveLock", "hold"]

_INHERITED = "SCRIPTENV_LIVE"
"""Name and descriptor of the lock of a kernel that replaced itself: it is never free between."""


class LiveLock:
    """A live lock that is held; its file tells the host what this kernel runs on."""

    def __init__(self, path: str, descriptor: int, kernel: str) -> None:
        self.path = path
        self.descriptor = descriptor
        self.kernel = kernel
        self.ready = False

    @property
    def uuid(self) -> str:
        """The kernel's own name."""
        return os.path.basename(self.path)

    def tell(self, imported: list[str]) -> None:
        """Write what this kernel has imported from the environment."""
        text = json.dumps(
            {
                "pid": os.getpid(),
                "kernel": self.kernel,
                "ready": self.ready,
                "imported": imported,
            }
        )
        try:
            os.ftruncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            os.write(self.descriptor, text.encode())
        except OSError:
            # A full disk costs others the knowledge of what is imported, not this kernel its life.
            pass

    def bequeath(self) -> None:
        """Keep the lock over the program that this process becomes."""
        os.set_inheritable(self.descriptor, True)
        os.environ[_INHERITED] = f"{self.descriptor}:{self.path}"


def hold(environment: str, home: str, kernel: str) -> LiveLock | None:
    """Take this kernel's live lock; None where the file system gives none."""
    inherited = os.environ.pop(_INHERITED, None)
    if inherited is not None:
        number, _, path = inherited.partition(":")
        descriptor = int(number)
        os.set_inheritable(descriptor, False)
    else:
        folder = os.path.join(home, "locks", os.path.basename(environment) + ".kernels")
        path = os.path.join(folder, uuid.uuid4().hex)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(path, flags, 0o600)
            _lock(descriptor)
        except OSError:
            return None
    lock = LiveLock(path, descriptor, kernel)
    lock.tell([])
    return lock


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
