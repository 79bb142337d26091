"""The result of ``share`` as JSON (``docs/contract.md``) and as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipy_scriptenv.present import escaped

if TYPE_CHECKING:
    from ipy_scriptenv.environments import SharedParts

__all__ = ["share_json", "share_text"]

_SAID = {
    "created": "made",
    "rebuilt": "made anew, it was damaged or open to others",
    "kept": "there",
    "old": "of another version; --remove-old removes it when no kernel runs on it any more",
    "removed": "removed",
}


def share_json(parts: SharedParts) -> dict[str, Any]:
    """Give the object of ``share``."""
    return {
        "schema": 1,
        "folder": str(parts.folder),
        "layers": [
            {"name": layer.name, "path": str(layer.path), "action": layer.action}
            for layer in parts.layers
        ],
        "wheels": list(parts.wheels),
        "problem": parts.problem or None,
    }


def share_text(parts: SharedParts) -> str:
    """Tell what is shared now."""
    lines = [escaped(str(parts.folder))]
    lines += [f"  kernel layer {layer.name}: {_SAID[layer.action]}" for layer in parts.layers]
    if parts.wheels:
        count = len(parts.wheels)
        lines.append(f"  byte code of {count} package{'s' * (count != 1)}")
    return "\n".join(lines) + "\n"
