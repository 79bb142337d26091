"""What a source says about its environment: documents, their blocks, and what these declare.

Nothing here reads a file, a variable of the environment or a clock.
"""

from __future__ import annotations

from ipy_scriptenv.metadata.declaration import EMPTY, Declaration, read_declaration, read_toml
from ipy_scriptenv.metadata.documents import Document, Kind, read_document
from ipy_scriptenv.metadata.origins import (
    Origin,
    origins_of_block,
    origins_of_lock,
    origins_of_settings,
)
from ipy_scriptenv.metadata.quoting import shown, without_credentials
from ipy_scriptenv.metadata.staging import local_paths, staged_block, uv_settings

__all__ = [
    "EMPTY",
    "Declaration",
    "Document",
    "Kind",
    "Origin",
    "local_paths",
    "origins_of_block",
    "origins_of_lock",
    "origins_of_settings",
    "read_declaration",
    "read_document",
    "read_toml",
    "shown",
    "staged_block",
    "uv_settings",
    "without_credentials",
]
