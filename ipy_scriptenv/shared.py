"""The folder that a machine's users share: kernel layers and byte code that they only read.

The policy names it (``shared = "/srv/scriptenv"``). It is laid out as a home is, with
``kernels-v1`` and ``bytecode-v1`` alone. Code in it runs in the kernels of all who are told of it,
so nobody may be able to change it but those whom the policy's author trusts with that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import policy
from ipy_scriptenv.errors import PolicyBroken
from ipy_scriptenv.store import Store

__all__ = ["SharedFolder", "shared_folder", "why_not"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFolder:
    """A shared folder that a policy names; it may not be there, or not be fit.

    :param store: what stands in it
    :param named_in: the policy file
    """

    store: Store
    named_in: Path

    def why_not(self, part: Path) -> str | None:
        """Say why nothing is taken from a *part* of it; ``None``: it is taken.

        The folder itself may belong to anybody, such as an account for this alone: the policy's
        author has named it.
        """
        return why_not(part, trusted=_owners(self.named_in))


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


def why_not(path: Path, *, trusted: Iterable[int] = ()) -> str | None:
    """Say why what stands in a folder must not run in everybody's kernels; ``None``: it may.

    Others must be able to write neither to it nor to a folder above, where they could put another
    in its place. A sticky one such as ``/tmp`` is borne above what belongs to root, to this user or
    to one of *trusted*: nobody else can rename that.
    """
    if os.name != "posix":
        return "Shared folders are not used on this system."
    try:
        real = path.resolve(strict=True)
        owners = {0, os.getuid(), *trusted}
        child: os.stat_result | None = None
        for folder in (real, *real.parents):
            found = folder.stat()
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                is_sticky = bool(found.st_mode & stat.S_ISVTX)
                if child is None or not is_sticky or child.st_uid not in owners:
                    return f"Others than its owner may write to `{folder}`."
            child = found
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        return f"`{path}` cannot be looked at: {reason}."
    return None


def _owners(policy_file: Path) -> tuple[int, ...]:
    try:
        return (policy_file.stat().st_uid,)
    except OSError:
        return ()
