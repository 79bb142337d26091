"""What a source says about its environment: documents, their blocks, and what these declare.

Nothing here reads a file, a variable of the environment or a clock.
"""

from __future__ import annotations

from ipy_scriptenv.metadata.declaration import EMPTY, Declaration, read_declaration
from ipy_scriptenv.metadata.documents import Document, Kind, read_document
from ipy_scriptenv.metadata.quoting import shown, without_credentials
from ipy_scriptenv.metadata.staging import local_paths, staged_block, uv_settings

__all__ = [
    "EMPTY",
    "Declaration",
    "Document",
    "Kind",
    "local_paths",
    "read_declaration",
    "read_document",
    "shown",
    "staged_block",
    "uv_settings",
    "without_credentials",
]
