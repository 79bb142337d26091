"""Results of ``pack`` and ``unpack`` as JSON (``docs/contract.md``) and as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipy_scriptenv.present import escaped, size_text, sync_json, sync_text

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Packed, Unpacked

__all__ = ["pack_json", "pack_text", "unpack_json", "unpack_text"]

_SCHEMA = {"schema": 1}


def pack_json(packed: Packed) -> dict[str, Any]:
    """Give the object of ``pack``."""
    manifest = packed.manifest
    return {
        **_SCHEMA,
        "source": str(packed.source),
        "archive": {
            "path": str(packed.path),
            "kind": manifest.kind.value,
            "bytes": packed.size,
            "sha256": packed.sha256,
        },
        "python": {"version": manifest.python.version, "abi": manifest.python.abi},
        "packages": [{"name": each.name, "version": each.version} for each in manifest.packages],
        "kernel": manifest.kernel,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "warnings": list(packed.warnings),
    }


def pack_text(packed: Packed) -> str:
    """Tell what was packed; its warnings are told aside."""
    manifest, count = packed.manifest, len(packed.manifest.packages)
    what = "the wheels of " if manifest.kind.value == "wheels" else ""
    lines = [
        f"Packed {what}{count} package{'s' * (count != 1)} for {manifest.python.abi}",
        f"  {escaped(str(packed.path))}",
        f"  {size_text(packed.size)}, unpacked {size_text(manifest.size)}",
        f"  sha256 {packed.sha256}",
    ]
    return "\n".join(lines) + "\n"


def unpack_json(unpacked: Unpacked) -> dict[str, Any]:
    """Give the object of ``unpack``: that of ``sync``, and the archive."""
    archive = {"path": str(unpacked.path), "kind": unpacked.kind.value}
    return {**sync_json(unpacked.synced), "archive": archive, "in_sync": unpacked.in_sync}


def unpack_text(unpacked: Unpacked) -> str:
    """Tell what was unpacked."""
    return sync_text(unpacked.synced)
