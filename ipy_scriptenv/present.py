"""Results as JSON (``docs/contract.md``) and as text for people. Pure: nothing is printed here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.problems import escaped
from ipy_scriptenv.record import OWN, Source
from ipy_scriptenv.venvs import environment_python

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Declared, Found, Item, Moved, Synced

__all__ = [
    "declared_json",
    "declared_text",
    "delete_json",
    "error_json",
    "error_text",
    "escaped",
    "escaped_lines",
    "found_json",
    "move_json",
    "move_text",
    "register_json",
    "size_text",
    "sync_json",
    "sync_text",
]

_SCHEMA = {"schema": 1}


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


def sync_text(synced: Synced, *, brief: bool = False) -> str:
    """Tell what a sync did.

    :param brief: name no folder of this machine: it is kept in a notebook that may be shared
    """
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
    source = synced.record.source
    where = escaped(Path(source.path).name if brief and source.path else str(source))
    lines.append(f"{said} of {where} (Python {synced.record.python.version})")
    if not brief:
        lines.append(f"  {escaped(str(synced.path))}")
    return "\n".join(lines) + "\n"


def declared_json(declared: Declared) -> dict[str, Any]:
    """Give the object of ``add``, ``remove`` and ``python``."""
    return {
        **sync_json(declared.synced),
        "added": [without_credentials(each) for each in declared.added],
        "removed": [without_credentials(each) for each in declared.removed],
        "block": without_credentials(declared.toml),
    }


def declared_text(declared: Declared, *, brief: bool = False) -> str:
    """Tell what a block says now, and what became of the environment.

    :param brief: as for :func:`sync_text`
    """
    lines = [f"declared: {escaped(without_credentials(each))}" for each in declared.added]
    gone = [without_credentials(each) for each in declared.removed]
    lines += [f"no longer declared: {escaped(each)}" for each in gone]
    return "".join(f"{line}\n" for line in lines) + sync_text(declared.synced, brief=brief)


def error_json(error: ScriptEnvError) -> dict[str, Any]:
    """Give the object of an error."""
    return {**_SCHEMA, "error": error.to_json()}


def error_text(error: ScriptEnvError) -> str:
    """Tell what happened, every problem with its place, and what to do."""
    lines = [f"error: {escaped_lines(str(error))}"]
    lines += [f"  {escaped_lines(str(problem))}" for problem in error.problems]
    if error.hint:
        lines.append(f"hint: {escaped_lines(error.hint)}")
    return "\n".join(lines) + "\n"


def escaped_lines(text: str) -> str:
    """Show a text as :func:`escaped` does, its lines below each other."""
    return "\n  ".join(escaped(line) for line in text.split("\n"))


def _environment(found: Found) -> dict[str, str]:
    return {
        "name": found.name,
        "path": str(found.path),
        "python": str(found.python),
        "python_version": found.python_version,
    }


def size_text(size: int | None) -> str:
    """Show bytes as people do, in powers of ten."""
    if size is None:
        return "-"
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004 - the next unit
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def delete_json(item: Item) -> dict[str, Any]:
    """Give the object of ``delete``."""
    return {
        **_SCHEMA,
        "source": item.source,
        "environment": {"name": item.name, "path": str(item.path)},
        "bytes": item.size,
    }


def move_json(moved: Moved) -> dict[str, Any]:
    """Give the object of ``move``."""
    return {
        **_SCHEMA,
        "source": str(moved.new),
        "environment": {"name": moved.name, "path": str(moved.path)},
        "kernelspec": moved.kernelspec,
        "waiting": moved.waiting,
    }


def move_text(moved: Moved) -> str:
    """Tell what a move did."""
    text = f"The environment of {moved.old} is that of {moved.new}"
    more = "; its folder follows when its kernels have ended." if moved.waiting else "."
    return f"{escaped(text)}{more}\n  {escaped(str(moved.path))}\n"


def register_json(source: Source, kernelspec: str | None) -> dict[str, Any]:
    """Give the object of ``register`` and ``unregister``."""
    return {**_SCHEMA, "source": str(source), "kernelspec": kernelspec}
