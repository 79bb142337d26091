"""The folder that a machine's users share: kernel layers and byte code that they only read.

The policy names it (``shared = "/srv/scriptenv"``). It is laid out as a home is, with
``kernels-v1`` and ``bytecode-v1`` alone. Code in it runs in the kernels of all who are told of it,
so nobody may be able to change it but those whom the policy's author trusts with that.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.errors import PolicyBroken
from ipy_scriptenv.store import Store

__all__ = ["SharedFolder", "shared_folder", "why_not"]

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
"""As Linux has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFolder:
    """A shared folder that a policy names; it may not be there, or not be fit.

    :param store: what stands in it
    :param named_in: the policy file
    """

    store: Store
    named_in: Path

    def why_not(self, part: Path, *, whole: bool = False) -> str | None:
        """Say why nothing is taken from a *part* of it; ``None``: it is taken.

        The folder itself may belong to anybody, such as an account for this alone: the policy's
        author has named it.

        :param whole: as :func:`why_not` has it
        """
        return why_not(part, trusted=_owners(self.named_in), whole=whole)


def shared_folder(*, last: Path | None = None) -> SharedFolder | None:
    """Give the shared folder that the policy names, if it names one.

    :param last: the folder that was taken before; it counts while the policy cannot be read, or a
        slip of the pen would cost each user a layer
    """
    try:
        named = policy.current().shared
    except PolicyBroken:
        return None if last is None else SharedFolder(store=Store(last), named_in=Path(last.anchor))
    if named is None:
        return None
    return SharedFolder(store=Store(named.folder), named_in=named.file)


def why_not(path: Path, *, trusted: Iterable[int] = (), whole: bool = False) -> str | None:
    """Say why what stands in a folder must not run in everybody's kernels; ``None``: it may.

    Others must be able to write neither to it nor to a folder on the way to it, where they could
    put another, or a link to one of theirs, in its place. A sticky one such as ``/tmp`` is borne
    above what belongs to root, to this user or to one of *trusted*: nobody else can rename that.

    :param path: absolute
    :param whole: whether to look at all that is in it too, which takes a while for a layer
    """
    if os.name != "posix":
        return "Shared folders are not used on this system."
    owners = {0, os.getuid(), *trusted}
    real = path
    try:
        for real, taken in _way(path):
            found = real.stat()
            is_sticky = bool(found.st_mode & stat.S_ISVTX)
            is_borne = taken is not None and is_sticky and taken.st_uid in owners
            if found.st_mode & _OTHERS and not is_borne:
                return f"Others than its owner may write to `{real}`."
        return _why_not_within(real, owners | {real.stat().st_uid}) if whole else None
    except OSError as error:
        return f"`{path}` cannot be looked at: {error.strerror}."


def _way(path: Path) -> Iterator[tuple[Path, os.stat_result | None]]:
    """Go to a path as the system does: each folder on the way, and what is taken out of it.

    The last one is where it leads, and nothing is taken out of that.

    :raises OSError: if it leads nowhere
    """
    here, ahead, links = Path(path.anchor), list(reversed(path.parts[1:])), 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            here = here.parent
            continue
        taken = (here / name).lstat()
        yield here, taken
        if not stat.S_ISLNK(taken.st_mode):
            here /= name
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = (here / name).readlink()
        ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = Path(target.anchor) if target.is_absolute() else here
    yield here, None


def _why_not_within(folder: Path | str, owners: set[int]) -> str | None:
    """Look at all that is in a folder: `share` makes no links, and nothing of others'."""
    with os.scandir(folder) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if entry.is_symlink():
                return f"`{entry.path}` is a link."
            if found.st_mode & _OTHERS or found.st_uid not in owners:
                return f"Others than its owner may write to `{entry.path}`."
            why = _why_not_within(entry.path, owners) if stat.S_ISDIR(found.st_mode) else None
            if why is not None:
                return why
    return None


def _owners(policy_file: Path) -> tuple[int, ...]:
    try:
        return (policy_file.stat().st_uid,)
    except OSError:
        return ()
