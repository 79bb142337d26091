"""Make a lock, and ask whether one is for its block: what uv says of both."""

from __future__ import annotations

import re
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.environments.beside import script_beside
from ipy_scriptenv.environments.job import Choosing
from ipy_scriptenv.environments.resolving import (
    Resolvable,
    folder_of,
    reading,
    resolver_options,
)
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import BadBlock, ScriptEnvError, StaleLock
from ipy_scriptenv.files import explained
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.metadata import located_block, locked_packages, machine_paths, portable_lock
from ipy_scriptenv.record import Source

__all__ = ["path_warnings", "refuse_credentials", "relocked", "require_current"]

_NEEDS_UPDATE = re.compile(r"lockfile .* needs to be updated|Unable to find lockfile")


def relocked(
    context: Context,
    source: Source,
    toml: str,
    lock: bytes | None,
    *,
    python: Path,
    upgrade: tuple[str, ...] = (),
    exclude_newer: str | None = None,
    index: tuple[str, ...] = (),
) -> bytes:
    """Give the lock for a block, starting from an old one; nothing of it stays on the disk.

    :param toml: the block as the source has it, or is to have it
    :param lock: the old one, whose versions stay where they can; ``None``: there is none
    :param python: the interpreter to resolve with
    :param upgrade: packages that need not stay; ``ALL_PACKAGES`` for every one
    :raises BadBlock: if the old one is damaged, or the new one would hold credentials
    :raises ScriptEnvError: if the policy forbids something, or uv finds no solution
    """
    from ipy_scriptenv.environments.allowed import refuse_forbidden

    folder = folder_of(source)
    if lock is not None:
        locked_packages(lock)
    choosing = Choosing(upgrade=upgrade, exclude_newer=exclude_newer, index=index)
    allowed = policy.current()
    options = resolver_options(allowed, choosing, toml=toml, folder=folder, lock=lock)
    located, written = located_block(toml, folder=folder)
    with script_beside(folder, located, lock) as script:
        beside = script.with_name(script.name + ".lock")
        words = (*options, *choosing.upgrade_options)
        context.uv().script("lock", script, *words, python=python)
        with explained(beside):
            made = portable_lock(beside.read_bytes(), written=written)
    refuse_credentials(made)
    # What comes with what is declared may come from elsewhere.
    refuse_forbidden(allowed, toml=toml, folder=folder, lock=made)
    return made


def refuse_credentials(lock: bytes) -> None:
    """Refuse to write a lock with credentials in it: uv copies those of direct addresses.

    :raises BadBlock: if it holds any
    """
    text = lock.decode("utf-8", "replace")
    if without_credentials(text) != text:
        msg = "The lock would hold a password or a token from an address in the block."
        hint = "Keep it out of the block: uv reads it from `~/.netrc`, a keyring, or UV_INDEX_*."
        raise BadBlock(msg, hint=hint)


def require_current(context: Context, found: Resolvable, choosing: Choosing) -> None:
    """Ask uv whether a lock is for its block.

    :raises StaleLock: if it is not
    """
    options = resolver_options(
        policy.current(),
        choosing,
        toml=found.toml,
        folder=found.folder,
        lock=None if found.lock is None else found.lock.content,
    )
    with reading(found, context) as script:
        try:
            python = Path(found.python.base)
            context.uv().script("lock", script, "--check", *options, python=python)
        except ScriptEnvError as error:
            words = "\n".join(problem.message for problem in error.problems)
            if not _NEEDS_UPDATE.search(words):
                raise
            msg = f"The lock of `{found.source}` is not for its block as it is now."
            raise StaleLock(msg) from error


def path_warnings(lock: bytes) -> tuple[str, ...]:
    """Say which paths of this machine a lock holds; nothing of it travels if it holds none.

    Nothing is refused for that: such a folder may stand at the same place on every machine that is
    meant, as in a container.

    :raises BadBlock: if it is no TOML
    """
    return tuple(
        f"The lock holds a path of this machine: `{without_credentials(path)}`. It is of use only "
        "where that is there too. A path that the block names relative to the source travels."
        for path in machine_paths(lock)
    )
