"""The cheap question whether anything may have changed since the last sync: a handful of stats."""

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


def _stat(value: Any) -> FileStat | None:
    return None if value is None else (value[0], value[1], value[2])
