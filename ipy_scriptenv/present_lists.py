"""``list``, ``prune`` and ``doctor`` as JSON (``docs/contract.md``) and as text. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ipy_scriptenv.present import escaped, escaped_lines, size_text

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Finding, Item, Listed

__all__ = [
    "doctor_json",
    "finding_text",
    "list_json",
    "list_text",
    "prune_json",
    "prune_text",
]

_SCHEMA = {"schema": 1}


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
    lines = [f"{'mended' if mended else 'wrong'}: {escaped_lines(finding.message)}"]
    hint = why_not or finding.hint
    if not mended and not hint and finding.cure is not None:
        hint = "Mend it with `jupyter scriptenv doctor --fix`."
    if not mended and hint:
        lines.append(f"  {escaped_lines(hint)}")
    return "\n".join(lines) + "\n"
