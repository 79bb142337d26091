"""Put the code that runs in kernels where it outlives a moved or removed host."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from pathlib import Path

from ipy_scriptenv import __version__, kernel_side, settings
from ipy_scriptenv.files import explained, read_regular, remove_tree, stat_of, write_atomically
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.store import KERNEL_SIDE, Store

__all__ = ["ensure_kernel_side", "is_kernel_side", "kernel_side_name", "launcher"]


@cache
def _files() -> dict[str, bytes]:
    folder = Path(kernel_side.__file__).parent
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@cache
def kernel_side_name() -> str:
    """Name this version's folder; its content is part of the name, so a changed file is another."""
    digest = hashlib.sha256()
    for name, data in _files().items():
        digest.update(name.encode() + b"\0" + len(data).to_bytes(8, "big") + data)
    return f"{__version__}-{digest.hexdigest()[:8]}"


def launcher() -> bytes:
    """Give the launcher, ``kernel.py``: the same in every environment."""
    return _files()["launcher.py"]


def is_kernel_side(folder: Path) -> bool:
    """Say whether a folder holds a kernel side, unharmed as far as this version can tell."""
    if folder.name != kernel_side_name():
        return (folder / "__init__.py").is_file()
    return not _harmed(folder)


def ensure_kernel_side(store: Store, *, thorough: bool = False) -> str:
    """Copy the kernel side to its folder in the home if it is not there; give the folder's name.

    A file of it that is missing or has another size is put back; kernels may run meanwhile.

    :param thorough: whether files are read, and not only looked at
    """
    name = kernel_side_name()
    target = store.kernel_sides / name
    find_lacking = _harmed if thorough else _lacking
    if not find_lacking(target):
        return name
    lock = exclusive(store.lock(KERNEL_SIDE), timeout=settings.lock_timeout())
    with explained(target), lock:
        if target.is_dir():
            # Another start was quicker, or something was taken out of it.
            for relative in find_lacking(target):
                _put(target, relative)
            return name
        build = store.kernel_sides / f".building-{KERNEL_SIDE}-{secrets.token_hex(8)}"
        try:
            for relative in _files():
                _put(build, relative)
            build.rename(target)
        finally:
            remove_tree(build)
    return name


def _lacking(folder: Path) -> list[str]:
    """Name the files that are not in a folder, or not in full."""
    found = ((name, stat_of(folder / name)) for name in _files())
    return [name for name, stat in found if stat is None or stat[0] != len(_files()[name])]


def _harmed(folder: Path) -> list[str]:
    """Name the files that are not in a folder as they should be."""
    return [name for name, data in _files().items() if _content(folder / name) != data]


def _put(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, _files()[name])
    if name.startswith("bin/"):
        path.chmod(0o700)


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=1 << 20)
    except OSError:
        return None
