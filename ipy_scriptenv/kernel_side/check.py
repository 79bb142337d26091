"""The cheap question whether anything may have changed since the last sync: a handful of stats.

And the record that they are held against, as a kernel that runs sees it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .block import block_of_cell, code_of_quarto, find_block
from .credentials import HIDDEN, without_credentials

FileStat = tuple[int, int, int]

RESOLVER_VARIABLES = (
    "UV_BUILD_CONSTRAINT",
    "UV_CONFIG_FILE",
    "UV_CONSTRAINT",
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_FORK_STRATEGY",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_NO_CONFIG",
    "UV_NO_INDEX",
    "UV_NO_SOURCES",
    "UV_NO_SOURCES_PACKAGE",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_TORCH_BACKEND",
)
"""The environment variables of uv that decide which versions an environment holds."""


_INSTALLED = frozenset({"fingerprint", "kernel", "packages", "python"})
"""The keys of a record by which another process's change is seen."""

_NEEDED = _INSTALLED | {"block", "hosts", "pending", "settings", "source", "source_stat", "watch"}
"""The keys of a record that a kernel reads."""


def file_stat(path: str) -> FileStat | None:
    """Size, change time in nanoseconds and inode of a file; None if there is no such file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def absolute_entries(path: str) -> str:
    """Drop the relative and empty entries of a search path.

    They mean the folder that a process happens to run in, such as a notebook's.
    """
    return os.pathsep.join(entry for entry in path.split(os.pathsep) if os.path.isabs(entry))


def settings_digest(environ: Mapping[str, str]) -> str:
    """Digest the variables that decide; credentials in URLs do not count, because they rotate."""
    chosen = {
        name: without_credentials(environ[name]).replace(HIDDEN, "://")
        for name in RESOLVER_VARIABLES
        if environ.get(name)
    }
    import hashlib

    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def source_changed(record: dict[str, Any]) -> bool:
    """Say whether the source's file is not as the record last saw it.

    A source that is gone (renamed, deleted) changes nothing for a kernel that runs.
    """
    path = record["source"].get("path")
    found = None if path is None else file_stat(path)
    return found is not None and found != _stat(record["source_stat"])


def block_of_source(path: str) -> str | None:
    """Read the TOML of the block in a notebook, script or Quarto document; None if it has none.

    Only for a kernel without a host; a host's reading is the one that counts.

    :raises ValueError: if the file cannot be read as a source
    """
    with open(path, encoding="utf-8-sig") as file:
        text = file.read()
    if path.lower().endswith(".qmd"):
        found = [find_block(code_of_quarto(text))]
    elif not path.lower().endswith(".ipynb"):
        found = [find_block(text)]
    else:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found = [block_of_cell(source) for source in sources]
    blocks = [block.toml for block in found if block is not None]
    if len(blocks) > 1:
        raise ValueError(path)
    return blocks[0] if blocks else None


def may_have_changed(record: dict[str, Any], environ: Mapping[str, str]) -> bool:
    """Say whether the host must look: something that decides is not as the record last saw it.

    *record* is the decoded record. False is certain as far as stats are; True means "look".
    """
    return (
        record["fingerprint"] is None
        or record["pending"] is not None
        or source_changed(record)
        or surroundings_changed(record, environ)
    )


def surroundings_changed(record: dict[str, Any], environ: Mapping[str, str]) -> bool:
    """Say whether what decides beside the source may have changed: lock, settings, local trees."""
    if record["settings"] != settings_digest(environ):
        return True
    return any(file_stat(path) != _stat(stat) for path, stat in record["watch"].items())


class WatchedRecord:
    """The record of a kernel's environment, read again when its file has changed.

    :ivar now: the decoded record
    :ivar runs_on: base interpreter and kernel that this process was started with
    :ivar changed_elsewhere: whether another process has changed the environment since the start
    :ivar must_look: whether a host has to say if this kernel is still the right one
    """

    def __init__(self, environment: str, record: dict[str, Any]) -> None:
        self.now = record
        self.runs_on: tuple[str, str] = (record["python"]["base"], record["kernel"])
        self.changed_elsewhere = self.must_look = False
        self._path = os.path.join(environment, "scriptenv.json")
        self._mark = os.path.join(environment, "scriptenv.changing")
        self._seen = file_stat(self._path)

    def look(self) -> bool:
        """Read it again if its file has changed; say whether another process has installed.

        One that is damaged is left to a host to tell of.
        """
        found = file_stat(self._path)
        if found is None or found == self._seen:
            return False
        try:
            with open(self._path, encoding="utf-8") as file:
                record = json.load(file)
        except (OSError, ValueError):
            return False
        if not isinstance(record, dict) or not record.keys() >= _NEEDED:
            return False
        before, self.now, self._seen = self.now, record, found
        if all(record[key] == before[key] for key in _INSTALLED):
            return False
        self.changed_elsewhere = self.must_look = True
        return True

    def take_own_change(self) -> None:
        """Read it after a sync of this very kernel: that told all there is to know."""
        before = self.changed_elsewhere
        self.look()
        self.changed_elsewhere, self.must_look = before, False

    def needs_a_look(self) -> bool:
        """Whether a host has to say if this is the right kernel, or a change is going on."""
        python, kernel = self.runs_on
        return (
            self.must_look
            or self.now["python"]["base"] != python
            or (self.now["kernel"] == "own") != (kernel == "own")
            or os.path.exists(self._mark)
        )

    def declares(self, toml: str | None) -> bool:
        """Whether it says what a block says; none is an empty one."""
        return bool(without_credentials(toml or "") == (self.now["block"] or ""))

    def is_synced_to(self, toml: str) -> bool:
        """Whether the environment holds what a block declares, and the block is known."""
        return self.now["block"] is not None and self.declares(toml) and self.is_synced()

    def is_synced(self) -> bool:
        """Whether a sync has succeeded, and no change waits for the next start."""
        return self.now["fingerprint"] is not None and self.now["pending"] is None

    def seems_synced_to_source(self) -> bool:
        """Whether the environment holds what the source's file declares, as a kernel reads that."""
        path = self.now["source"].get("path")
        if path is None or not source_changed(self.now):
            return True
        try:
            return self.declares(block_of_source(path))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _stat(value: Any) -> FileStat | None:
    return None if value is None else (value[0], value[1], value[2])
