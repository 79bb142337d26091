"""Compile the modules of wheels into the store, in the background.

Run by the interpreter that the byte code is for, 3.9 or newer, with the standard library alone::

    python -I -S compiling.py <store> <lock file> <abi>
    python -I -S compiling.py share <store> <site-packages> <abi> <file that names the wheels>

The first takes the requests that :mod:`~.sharing` has left for its ABI. One such process works at a
time; another that finds it at work ends at once, because the first looks for requests again before
it ends. Nobody waits for it: it runs when the machine has nothing else to do.

The second fills a store that other users read. The files of their wheels have other times than
these, so such byte code is checked by a hash of its source (PEP 552).
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import marshal
import os
import secrets
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

SCHEMA = 1
CONTENT = "bytecode.json"
WANTED = ".wanted-"
BUILDING = ".building-"
REMOVED = ".removed-"

_TAG = sys.implementation.cache_tag
_CHECKED = 0b11
"""PEP 552's flags of byte code that is checked by a hash of its source."""

_TESTS = "tests"
"""Folders of this name are half of many a wheel, and hardly ever imported."""


def main(store: Path, lock: Path, abi: str) -> None:
    """Serve every request for *abi*, unless another process is at it."""
    _step_back()
    warnings.simplefilter("ignore")
    while _requests(store, abi):
        with _locked(lock) as held:
            if not held:
                return
            _sweep(store, abi)
            for request in _requests(store, abi):
                # It goes first: code that brings down the compiler must not do so again and
                # again. What could not be made is asked for by another sync.
                text = request.read_text("utf-8", errors="replace")
                request.unlink()
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    _serve(store, json.loads(text), abi)


def share(store: Path, site: Path, abi: str, wanted: Path) -> None:
    """Compile the wheels that a file names, for all users; what stands already stays."""
    warnings.simplefilter("ignore")
    os.umask(0o022)
    for name, info in json.loads(wanted.read_text("utf-8")).items():
        with contextlib.suppress(OSError):
            _make(store, name, site, info, abi, hashed=True)


def modules(site: Path, info: str) -> list[str]:
    """List the modules of an installed wheel by its ``RECORD``, relative and with slashes.

    :param info: name of its metadata folder
    :raises OSError: if there is no such record
    """
    with (site / info / "RECORD").open(encoding="utf-8", newline="") as file:
        paths = [row[0] for row in csv.reader(file) if row and row[0].endswith(".py")]
    return [path for path in paths if is_kept(path)]


def is_kept(path: str) -> bool:
    """Say whether a path of a ``RECORD`` is a module whose byte code is kept."""
    parts = path.split("/")
    return not path.startswith("/") and ".." not in parts and _TESTS not in parts


def applies(content: dict[str, Any], site: Path) -> bool:
    """Say whether byte code of the store is for the very files that stand in *site*.

    One file tells for all: they come from one place in uv's cache, or from another. Where the
    byte code is checked by hashes, times do not count.
    """
    path, modified, size = content["probe"]
    try:
        found = (site / path).stat()
    except OSError:
        return False
    return found.st_size == size and modified in (None, int(found.st_mtime))


def read_content(folder: Path) -> dict[str, Any] | None:
    """Read what is in a folder of the store; None if it cannot be read or is another version's."""
    try:
        content: dict[str, Any] = json.loads((folder / CONTENT).read_text("utf-8"))
        return content if content["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _serve(store: Path, wanted: dict[str, Any], abi: str) -> None:
    for name, info in wanted["wheels"].items():
        with contextlib.suppress(OSError):
            _make(store, name, Path(wanted["site"]), info, abi)


def _make(store: Path, name: str, site: Path, info: str, abi: str, *, hashed: bool = False) -> None:
    """Compile one wheel, whole, and give the result its name; what stood there goes."""
    final = store / name
    there = read_content(final)
    if there is not None and applies(there, site):
        return
    build = store / f"{BUILDING}{abi}+{secrets.token_hex(8)}"
    build.mkdir(mode=0o755 if hashed else 0o700)
    try:
        content = _compiled(site, modules(site, info), build, hashed=hashed)
        if content["files"]:
            (build / CONTENT).write_text(json.dumps(content), "utf-8")
            if os.path.lexists(final):
                final.rename(store / f"{REMOVED}{secrets.token_hex(8)}")
            build.rename(final)
    finally:
        _sweep(store, abi)


def _compiled(site: Path, paths: Iterable[str], build: Path, *, hashed: bool) -> dict[str, Any]:
    """Compile modules into *build*; give what is in it then."""
    content: dict[str, Any] = {"schema": SCHEMA, "probe": None, "bytes": 0, "files": []}
    for path in paths:
        compiled = _compile(site / path, hashed=hashed)
        if compiled is None:
            continue
        code, found = compiled
        source = PurePosixPath(path)
        cached = source.parent / "__pycache__" / f"{source.stem}.{_TAG}.pyc"
        target = build / cached
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(code)
        content["probe"] = content["probe"] or [path, *found]
        content["files"].append(str(cached))
        content["bytes"] += len(code)
    return content


def _compile(path: Path, *, hashed: bool) -> tuple[bytes, tuple[int | None, int]] | None:
    """Give a module's byte code as Python would keep it, and the time and size of its source.

    Where it is checked by a hash, the time is None.

    None for what no Python can compile: wheels bring templates and code of other versions along.
    """
    try:
        before = path.stat()
        source = path.read_bytes()
        code = compile(source, str(path), "exec", dont_inherit=True, optimize=0)
        after = path.stat()
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    if (before.st_mtime_ns, len(source)) != (after.st_mtime_ns, after.st_size):
        # Somebody changed it meanwhile: the byte code would be of neither.
        return None
    modified, size = int(after.st_mtime), after.st_size
    if hashed:
        header = _CHECKED.to_bytes(4, "little") + importlib.util.source_hash(source)
        return importlib.util.MAGIC_NUMBER + header + marshal.dumps(code), (None, size)
    header = b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in (0, modified, size))
    data = importlib.util.MAGIC_NUMBER + header + marshal.dumps(code)
    return data, (modified, size)


def _requests(store: Path, abi: str) -> list[Path]:
    return sorted(store.glob(f"{WANTED}{abi}+*"))


def _sweep(store: Path, abi: str) -> None:
    """Remove what was thrown away, and builds that a kill left; the caller holds the lock."""
    for entry in store.iterdir():
        if entry.name.startswith((f"{BUILDING}{abi}+", REMOVED)):
            shutil.rmtree(entry, ignore_errors=True)


def _step_back() -> None:
    """Take the lowest priority that there is."""
    if sys.platform == "win32":
        return  # it was started with it
    with contextlib.suppress(OSError):
        os.nice(19)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a lock file while the block lasts; say whether it was free."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if __name__ == "__main__" and sys.argv[1] == "share":
    share(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
elif __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
