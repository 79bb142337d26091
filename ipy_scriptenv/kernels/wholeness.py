"""Whether installed distributions are whole, by what their ``RECORD`` lists."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

from packaging.utils import canonicalize_name

__all__ = ["damaged_packages"]


def damaged_packages(site: Path) -> tuple[str, ...]:
    """Name the distributions in a folder of packages of which files are missing or cut short."""
    found = [
        canonicalize_name(name.partition("-")[0])
        for name in sorted(name for name in _names(site) if name.endswith(".dist-info"))
        if not _is_whole(site, name)
    ]
    return tuple(found)


def _is_whole(site: Path, info: str) -> bool:
    """Say whether the files that a distribution's ``RECORD`` lists are there in their sizes."""
    try:
        text = (site / info / "RECORD").read_text("utf-8")
        # The packaging specification makes it a CSV file of path, hash and size.
        rows = [(row[0], row[2]) for row in csv.reader(text.splitlines()) if row]
    except (OSError, ValueError, IndexError, csv.Error):
        return False
    # Scripts stand outside; byte code comes and goes.
    inside = (row for row in rows if not row[0].endswith(".pyc") and ".." not in row[0].split("/"))
    has_itself = any(path == f"{info}/METADATA" for path, _ in rows)
    # Thousands of files: `Path` would take as long as the disk.
    return has_itself and all(_has_size(f"{site}{os.sep}{path}", size) for path, size in inside)


def _has_size(path: str, size: str) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116 - see above
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and size in ("", str(found.st_size))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
