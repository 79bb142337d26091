"""Put the code that runs in kernels where it outlives a moved or removed host."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from pathlib import Path

from ipy_scriptenv import __version__, kernel_side, settings
from ipy_scriptenv.files import explained, remove_tree
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.store import KERNEL_SIDE, Store

__all__ = ["ensure_kernel_side", "kernel_side_name", "launcher"]


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


def ensure_kernel_side(store: Store) -> str:
    """Copy the kernel side to its folder in the home if it is not there; give the folder's name."""
    name = kernel_side_name()
    target = store.kernel_sides / name
    if target.is_dir():
        return name
    lock = exclusive(store.lock(KERNEL_SIDE), timeout=settings.lock_timeout())
    with explained(target), lock:
        if target.is_dir():
            # Another start was quicker.
            return name
        build = store.kernel_sides / f".building-{KERNEL_SIDE}-{secrets.token_hex(8)}"
        try:
            for relative, data in _files().items():
                path = build / relative
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_bytes(data)
                if relative.startswith("bin/"):
                    path.chmod(0o700)
            build.rename(target)
        finally:
            remove_tree(build)
    return name
