"""What a source says about its environment: documents, their blocks, and what these declare.

Nothing here reads a file, a variable of the environment or a clock.
"""

from __future__ import annotations

from ipy_scriptenv.metadata.declaration import EMPTY, Declaration, read_declaration, read_toml
from ipy_scriptenv.metadata.documents import Document, Kind, read_document
from ipy_scriptenv.metadata.locks import (
    embedded_lock,
    locked_before,
    locked_packages,
    machine_paths,
    portable_lock,
    rebased_lock,
    with_embedded_lock,
)
from ipy_scriptenv.metadata.origins import (
    Origin,
    origins_of_block,
    origins_of_constraints,
    origins_of_lock,
    origins_of_settings,
)
from ipy_scriptenv.metadata.quoting import shown, without_credentials
from ipy_scriptenv.metadata.staging import (
    added_block,
    local_paths,
    located_block,
    staged_block,
    uv_settings,
)

__all__ = [
    "EMPTY",
    "Declaration",
    "Document",
    "Kind",
    "Origin",
    "added_block",
    "embedded_lock",
    "local_paths",
    "located_block",
    "locked_before",
    "locked_packages",
    "machine_paths",
    "origins_of_block",
    "origins_of_constraints",
    "origins_of_lock",
    "origins_of_settings",
    "portable_lock",
    "read_declaration",
    "read_document",
    "read_toml",
    "rebased_lock",
    "shown",
    "staged_block",
    "uv_settings",
    "with_embedded_lock",
    "without_credentials",
]
