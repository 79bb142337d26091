"""A script of ours beside a source, for as long as uv reads and edits it there.

A lock tells paths relative to its script's folder, so that it holds none of this machine: what
makes one must stand where the source stands. Nothing of it stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ipy_scriptenv.errors import PermissionRefused
from ipy_scriptenv.files import entries, explained
from ipy_scriptenv.kernel_side.block import render_block

__all__ = ["script_beside"]

_OURS = re.compile(r"\.scriptenv-[0-9a-f]{16}\.py(\.lock)?")

_ABANDONED = 3600.0
"""Seconds after which such a file is certainly a crash's: no call of uv takes as long."""

_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def script_beside(folder: Path, toml: str, lock: bytes | None) -> Iterator[Path]:
    """Write a script with a block into a source's folder, and its lock; remove both at the end.

    :param folder: the source's
    :param toml: the block, as the user wrote it: relative paths mean what they mean in the source
    :param lock: content of the lock; ``None``: there is none, but uv may make one
    :returns: the script; its lock is the same path with ``.lock`` added
    :raises PermissionRefused: if the folder cannot be written
    """
    _sweep(folder)
    script = folder / f".scriptenv-{secrets.token_hex(8)}.py"
    beside = script.with_name(script.name + ".lock")
    try:
        with _writing(folder):
            _create(script, render_block(toml).encode())
            if lock is not None:
                _create(beside, lock)
        yield script
    finally:
        for path in (script, beside):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    with explained(folder):
        try:
            yield
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            msg = f"Nothing can be written in `{folder}`: {error.strerror}."
            hint = "uv resolves beside the source: make its folder writable, or copy the source."
            raise PermissionRefused(msg, hint=hint) from error


def _create(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


def _sweep(folder: Path) -> None:
    """Remove what a crash has left there: regular files of our form of name, and old."""
    limit = time.time() - _ABANDONED
    for entry in entries(folder):
        if not _OURS.fullmatch(entry.name):
            continue
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_mtime < limit:
                Path(entry.path).unlink()
