"""Results as JSON (``docs/contract.md``) and as text for people. Pure: nothing is printed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.record import OWN, Source
from ipy_scriptenv.venvs import environment_python

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Declared, Finding, Found, Item, Listed, Moved, Synced

__all__ = [
    "declared_json",
    "declared_text",
    "delete_json",
    "doctor_json",
    "error_json",
    "error_text",
    "escaped",
    "finding_text",
    "found_json",
    "list_json",
    "list_text",
    "move_json",
    "move_text",
    "prune_json",
    "prune_text",
    "register_json",
    "size_text",
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
                "packages": each.packages,
                "bytes": each.size,
            }
            for each in listed
        ],
    }


def list_text(listed: Sequence[Listed]) -> str:
    """Show environments as a table, one line each."""
    if not listed:
        return "There are no environments yet.\n"
    with_sizes = any(each.size is not None for each in listed)
    titles = ["NAME", "STATE", "PYTHON", "PACKAGES", "SIZE", "LAST USED", "IN USE", "SOURCE"]
    rows = [titles]
    rows += [
        [
            each.name,
            each.state,
            each.python_version or "-",
            "-" if each.packages is None else str(each.packages),
            size_text(each.size),
            (each.last_used or "-")[:10],
            "yes" if each.in_use else "no",
            escaped(str(each.source or "-")),
        ]
        for each in listed
    ]
    if not with_sizes:
        for row in rows:
            del row[4]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    if with_sizes:
        lines.append(f"Together: {size_text(sum(each.size or 0 for each in listed))}")
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


def prune_json(items: Sequence[Item], *, dry_run: bool) -> dict[str, Any]:
    """Give the object of ``prune``."""
    return {
        **_SCHEMA,
        "dry_run": dry_run,
        "removed": [
            {
                "kind": item.kind.value,
                "name": item.name,
                "path": str(item.path),
                "source": item.source,
                "reason": item.reason,
                "bytes": item.size,
            }
            for item in items
        ],
        "bytes": sum(item.size or 0 for item in items),
    }


def prune_text(items: Sequence[Item], *, done: bool) -> str:
    """Show what goes or went, and how much that is."""
    if not items:
        return "Nothing was removed.\n" if done else "There is nothing to remove.\n"
    total = size_text(sum(item.size or 0 for item in items))
    if done:
        counts = Counter(item.kind.value for item in items)
        told = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
        return f"Removed {told}: {total}.\n"
    rows = [
        (item.kind.value, size_text(item.size), escaped(item.source or item.name), item.reason)
        for item in items
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2]), row[3]]
        )
        for row in rows
    ]
    return "\n".join([*lines, f"Together: {len(items)}, {total}"]) + "\n"


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


def doctor_json(outcomes: Iterable[tuple[Finding, bool, str | None]]) -> dict[str, Any]:
    """Give the object of ``doctor``."""
    return {
        **_SCHEMA,
        "findings": [
            {
                "code": finding.code,
                "message": finding.message,
                "path": None if finding.path is None else str(finding.path),
                "hint": why_not or finding.hint,
                "can_be_mended": finding.cure is not None,
                "mended": mended,
            }
            for finding, mended, why_not in outcomes
        ],
    }


def finding_text(finding: Finding, *, mended: bool, why_not: str | None) -> str:
    """Tell one finding, and what became of it."""
    lines = [f"{'mended' if mended else 'wrong'}: {_escaped_lines(finding.message)}"]
    hint = why_not or finding.hint
    if not mended and not hint and finding.cure is not None:
        hint = "Mend it with `jupyter scriptenv doctor --fix`."
    if not mended and hint:
        lines.append(f"  {_escaped_lines(hint)}")
    return "\n".join(lines) + "\n"
