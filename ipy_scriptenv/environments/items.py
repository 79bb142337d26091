"""What can be removed, and how much that is."""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Item", "ItemKind", "size_of"]


class ItemKind(enum.StrEnum):
    """What can be removed."""

    ENVIRONMENT = "environment"
    LAYER = "layer"
    KERNEL_SIDE = "kernel-side"
    BYTECODE = "byte-code"
    KERNELSPEC = "kernelspec"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to remove, or that was removed.

    :param reason: a sentence
    :param source: what an environment or a kernelspec is for, where that is known
    :param size: bytes; files that other environments share count too. ``None``: not asked
    :param last_used: of an environment, as its record told it when it was looked at; empty if that
        was broken
    """

    kind: ItemKind
    name: str
    path: Path
    reason: str
    source: str | None = None
    size: int | None = None
    last_used: str | None = None


def size_of(path: Path) -> int:
    """Add up the sizes of all files at or under *path*, links not followed, in bytes."""
    total = 0
    folders = [str(path)]
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_size
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as there:
            for entry in there:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total
