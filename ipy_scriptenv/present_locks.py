"""Results of ``lock``, ``tree`` and ``export`` as JSON (``docs/contract.md``) and as text. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipy_scriptenv.environments import Locked
from ipy_scriptenv.present import escaped
from ipy_scriptenv.record import Source

__all__ = ["export_json", "lock_json", "lock_text", "tree_json"]

_SCHEMA = {"schema": 1}


def lock_json(locked: Locked) -> dict[str, Any]:
    """Give the object of ``lock``."""
    return {
        **_SCHEMA,
        "source": str(locked.source),
        "lock": {"path": str(locked.path), "embedded": locked.embedded},
        "action": locked.outcome.value,
        "packages": [
            {"name": package.name, "version": package.version or None}
            for package in locked.packages
        ],
        "warnings": list(locked.warnings),
    }


def lock_text(locked: Locked) -> str:
    """Tell what became of a lock; its warnings are told aside."""
    said = {"created": "Locked", "updated": "Updated the lock:", "kept": "The lock is up to date:"}
    count = len(locked.packages)
    lines = [f"{said[locked.outcome.value]} {count} package{'s' * (count != 1)}"]
    where = " (in its metadata)" if locked.embedded else ""
    lines.append(f"  {escaped(str(locked.path))}{where}")
    return "\n".join(lines) + "\n"


def tree_json(source: Source, text: str) -> dict[str, Any]:
    """Give the object of ``tree``."""
    return {**_SCHEMA, "source": str(source), "tree": text}


def export_json(source: Source, form: str, text: str, *, output: Path | None) -> dict[str, Any]:
    """Give the object of ``export``."""
    return {
        **_SCHEMA,
        "source": str(source),
        "format": form,
        "output": None if output is None else str(output),
        "text": text if output is None else None,
    }
