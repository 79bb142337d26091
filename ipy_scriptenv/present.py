"""Results as JSON (``docs/contract.md``) and as text for people. Pure: nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ipy_scriptenv.environments import Found, Listed, Status, Synced
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.record import OWN
from ipy_scriptenv.store import environment_python

__all__ = [
    "error_json",
    "error_text",
    "escaped",
    "found_json",
    "list_json",
    "list_text",
    "status_json",
    "status_text",
    "sync_json",
    "sync_text",
]

_SCHEMA = {"schema": 1}


def escaped(text: str) -> str:
    """Show control characters by their escapes, so that a file's name cannot steer a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def found_json(source: str, found: Found) -> dict[str, Any]:
    """Give the object of ``find``."""
    return {**_SCHEMA, "source": source, "environment": _environment(found)}


def sync_json(synced: Synced) -> dict[str, Any]:
    """Give the object of ``sync``."""
    record = synced.record
    return {
        **_SCHEMA,
        "source": str(record.source),
        "environment": {
            "name": synced.name,
            "path": str(synced.path),
            "python": str(environment_python(synced.path)),
            "python_version": record.python.version,
        },
        "action": synced.action.value,
        "changes": [
            {"name": change.name, "version": change.version, "action": change.action}
            for change in synced.changes
        ],
        "kernelspec": synced.kernelspec,
        "kernel_mode": "own" if record.kernel == OWN else "layer",
        "warnings": list(synced.warnings),
    }


def sync_text(synced: Synced) -> str:
    """Tell what a sync did."""
    signs = {"installed": "+", "removed": "-"}
    lines = [
        f" {signs[change.action]} {escaped(change.name)} {escaped(change.version)}"
        for change in synced.changes
    ]
    lines += [f"warning: {escaped(warning)}" for warning in synced.warnings]
    said = {
        "created": "Made the environment",
        "updated": "Updated the environment",
        "rebuilt": "Rebuilt the environment",
        "kept": "In sync: the environment",
    }[synced.action.value]
    where = escaped(str(synced.record.source))
    lines.append(f"{said} of {where} (Python {synced.record.python.version})")
    lines.append(f"  {escaped(str(synced.path))}")
    return "\n".join(lines) + "\n"


def status_json(status: Status) -> dict[str, Any]:
    """Give the object of ``status``."""
    return {
        **_SCHEMA,
        "source": str(status.source),
        "state": status.state,
        "reason": status.reason,
        "environment": None if status.environment is None else _environment(status.environment),
        "declared": {
            "requires_python": status.requires_python,
            "dependencies": list(status.dependencies),
        },
        "installed": [
            {"name": package.name, "version": package.version} for package in status.installed
        ],
        "pending": status.pending,
        "kernelspec": status.kernelspec,
        "kernel_mode": status.kernel_mode,
        "in_use": status.in_use,
    }


def status_text(status: Status) -> str:
    """Describe a source and its environment."""
    environment = status.environment
    rows = [
        ("source", str(status.source)),
        ("state", f"{status.state}{': ' + status.reason if status.reason else ''}"),
        ("Python", environment.python_version if environment else "-"),
        ("requires", status.requires_python or "any Python"),
        ("declares", ", ".join(status.dependencies) or "nothing"),
        (
            "installed",
            ", ".join(f"{package.name} {package.version}" for package in status.installed)
            or "nothing",
        ),
        ("environment", str(environment.path) if environment else "none yet"),
        ("kernelspec", status.kernelspec or "none"),
        ("in use", "yes" if status.in_use else "no"),
    ]
    if status.kernel_mode == "own":
        rows.append(("kernel", "its own: the environment brings ipykernel, or breaks the layer's"))
    lines = [f"{name:<12} {escaped(value)}" for name, value in rows]
    lines += [f"warning: {escaped(warning)}" for warning in status.warnings]
    return "\n".join(lines) + "\n"


def list_json(listed: Iterable[Listed]) -> dict[str, Any]:
    """Give the object of ``list``."""
    return {
        **_SCHEMA,
        "environments": [
            {
                "name": each.name,
                "path": str(each.path),
                "source": None if each.source is None else str(each.source),
                "state": each.state,
                "python_version": each.python_version,
                "created": each.created,
                "last_used": each.last_used,
                "in_use": each.in_use,
                "kernelspec": each.kernelspec,
            }
            for each in listed
        ],
    }


def list_text(listed: Iterable[Listed]) -> str:
    """Show environments as a table, one line each."""
    rows = [("NAME", "STATE", "PYTHON", "IN USE", "SOURCE")]
    rows += [
        (
            each.name,
            each.state,
            each.python_version or "-",
            "yes" if each.in_use else "no",
            escaped(str(each.source or "-")),
        )
        for each in listed
    ]
    if len(rows) == 1:
        return "There are no environments yet.\n"
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def error_json(error: ScriptEnvError) -> dict[str, Any]:
    """Give the object of an error."""
    return {**_SCHEMA, "error": error.to_json()}


def error_text(error: ScriptEnvError) -> str:
    """Tell what happened, every problem with its place, and what to do."""
    lines = [f"error: {_escaped_lines(str(error))}"]
    lines += [f"  {_escaped_lines(str(problem))}" for problem in error.problems]
    if error.hint:
        lines.append(f"hint: {_escaped_lines(error.hint)}")
    return "\n".join(lines) + "\n"


def _escaped_lines(text: str) -> str:
    return "\n  ".join(escaped(line) for line in text.split("\n"))


def _environment(found: Found) -> dict[str, str]:
    return {
        "name": found.name,
        "path": str(found.path),
        "python": str(found.python),
        "python_version": found.python_version,
    }
