"""Files: written whole or not at all, read with a limit, and errors that name them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ipy_scriptenv.errors import (
    Foreign,
    NoSpace,
    NotFound,
    PermissionRefused,
    ScriptEnvError,
    SourceChanged,
)
from ipy_scriptenv.record import FileStat

__all__ = [
    "entries",
    "explained",
    "is_gone",
    "read_regular",
    "remove_tree",
    "remove_unchanged",
    "require_place",
    "rewrite",
    "stat_of",
    "write_atomically",
    "write_output",
]


_PART = 1 << 24
"""Bytes that are read at once of a file that grows meanwhile, or is very large."""

_LONGEST_NAME = 240
"""Bytes that are taken over of a name: file systems give a name 255, and a token follows."""

_BINARY = getattr(os, "O_BINARY", 0)
"""On Windows: bytes as they are."""


def is_gone(path: str | os.PathLike[str]) -> bool:
    """Say whether there certainly is no such file; one that cannot be looked at may be there."""
    try:
        # A `Path` would be made for each of thousands of environments.
        os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def stat_of(path: Path) -> FileStat | None:
    """Size, change time in nanoseconds and inode; ``None`` if there is no such file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def read_regular(path: str | Path, *, limit: int) -> bytes:
    """Read a file that somebody else may have put there: a regular one, not larger than *limit*.

    A pipe would make the reader wait for ever, a device would never end.

    :raises OSError: if it is something else, or cannot be read
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise OSError(errno.EINVAL, "no regular file, or too large", str(path))
        # Thousands of records are read at once: a file object would take as long as the file.
        data = os.read(descriptor, found.st_size + 1)
        if len(data) == found.st_size:
            return data
        parts = [data]
        while parts[-1]:
            parts.append(os.read(descriptor, _PART))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def write_atomically(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    beside: Path | None = None,
) -> None:
    """Write a file whole or not at all.

    :param beside: where it is written first, on the same file system; default: its own folder
    """
    temporary = _beside(path, folder=beside)
    with _written(temporary, data, mode=mode):
        temporary.replace(path)


def require_place(path: Path) -> None:
    """Check that there is a place for a file: its folder, and no folder of its name.

    :raises NotFound: if there is none
    :raises PermissionRefused: if that may not be looked at
    """
    with explained(path):
        if is_gone(path.parent):
            raise NotFound(f"The folder `{path.parent}` does not exist.")
        if path.is_dir():
            raise NotFound(f"`{path}` is a folder; name a file.")


def write_output(path: Path, data: bytes) -> None:
    """Write what a person asked for to the place that they named: a file whole or not at all.

    :raises NotFound: as :func:`require_place`
    :raises ScriptEnvError: if it cannot be written
    """
    require_place(path)
    with explained(path):
        if path.exists() and not path.is_file():
            # A terminal or a pipe, which cannot be replaced.
            path.write_bytes(data)
            return
        rewrite(path, data, expected=path.read_bytes() if path.exists() else None)


def rewrite(path: Path, data: bytes, *, expected: bytes | None) -> None:
    """Give a file of the user's another content, whole or not at all; its mode stays.

    So it is after a power cut too.

    :param path: where a symbolic link leads, the file there is meant
    :param expected: what it held when it was read; ``None``: there was no such file
    :raises SourceChanged: if it is not so any more; nothing is written
    :raises NotFound: if a new file's folder is not there
    :raises ScriptEnvError: if it cannot be written
    """
    with explained(path):
        path = path.resolve()
        seen = stat_of(path)
        found = None if is_gone(path) else path.read_bytes()
        if found != expected:
            raise _changed(path)
        temporary = _beside(path)
        if found is None:
            require_place(path)
            with _written(temporary, data, mode=0o666, durable=True):
                _give_name(temporary, path)
            return
        mode = stat.S_IMODE(path.stat().st_mode)
        with _written(temporary, data, mode=mode, durable=True):
            # The umask has no say in a mode that the file has already.
            temporary.chmod(mode)
            # The disk may have taken its time, and a front end saves often.
            if stat_of(path) != seen:
                raise _changed(path)
            temporary.replace(path)


def _beside(path: Path, *, folder: Path | None = None) -> Path:
    name = path.name.encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore")
    return (folder or path.parent) / f".{name}-{os.urandom(4).hex()}"


@contextlib.contextmanager
def _written(temporary: Path, data: bytes, *, mode: int, durable: bool = False) -> Iterator[None]:
    """Write a new file, which has another name at the end or is gone.

    :param durable: whether to wait until it is on the disk: a file system may keep a rename and
        lose what was written before it
    """
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        yield
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _give_name(temporary: Path, path: Path) -> None:
    """Have a new file under its name, but replace nothing that came there meanwhile.

    :raises SourceChanged: if something did
    """
    try:
        try:
            # Unlike a rename, a link fails where something stands.
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # Not every file system has links. There the name is taken first.
            path.touch(exist_ok=False)
            temporary.replace(path)
    except FileExistsError as error:
        raise _changed(path) from error


def _changed(path: Path) -> SourceChanged:
    msg = f"`{path}` was changed by somebody else meanwhile; nothing was written to it."
    return SourceChanged(msg)


def remove_unchanged(path: Path, *, written: bytes) -> None:
    """Take a new file of ours back, unless somebody has saved another content in it.

    :param written: what it was made with
    """
    with contextlib.suppress(OSError):
        if path.read_bytes() == written:
            path.unlink()


def remove_tree(path: Path) -> None:
    """Remove a folder of ours; what cannot be removed now is left to a later sweep."""
    # It knows archives too, which takes longer to load than `find` may take.
    import shutil

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


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is in a folder; nothing where it cannot be read."""
    try:
        return list(os.scandir(folder))
    except OSError:
        return []
