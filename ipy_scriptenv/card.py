"""How a source's status is shown: a card in HTML, its twin in plain text, and JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ipy_scriptenv.present import escaped, found_json
from ipy_scriptenv.record import Package

if TYPE_CHECKING:
    from ipy_scriptenv.environments import Drift, Met, Status

__all__ = ["status_html", "status_json", "status_text"]

_BORDER = "1px solid var(--jp-border-color2, rgba(128, 128, 128, 0.4))"
_CARD = f"border: {_BORDER}; border-radius: 4px; color: currentColor; display: inline-block; "
_TABLE = "border: none; margin: 0; color: inherit; font: inherit"
_CELL = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0; white-space: pre-wrap"
_FAINT = "color: var(--jp-ui-font-color2, inherit)"
_LOUD = "color: var(--jp-warn-color0, inherit); font-weight: 600"
_FOLDED = 12
"""More distributions than that are folded away in the card."""


def status_json(status: Status) -> dict[str, Any]:
    """Give the object of ``status``."""
    source, environment = str(status.source), status.environment
    return {
        "schema": 1,
        "source": source,
        "state": status.state,
        "reason": status.reason,
        "environment": environment and found_json(source, environment)["environment"],
        "declared": {
            "requires_python": status.requires_python,
            "dependencies": list(status.dependencies),
            "installed": [each.version for each in status.requirements],
        },
        "installed": [
            {"name": package.name, "version": package.version} for package in status.installed
        ],
        "drift": [
            {"name": each.name, "version": each.version, "synced": each.synced}
            for each in status.drift
        ],
        "undeclared_imports": [
            {"module": each.module, "name": each.name} for each in status.undeclared_imports
        ],
        "pending": status.pending,
        "kernelspec": status.kernelspec,
        "kernel_mode": status.kernel_mode,
        "in_use": status.in_use,
        "warnings": list(status.warnings),
    }


def status_text(status: Status, notes: Sequence[str] = ()) -> str:
    """Describe a source and its environment, a row for each thing that is to be known.

    :param notes: what the asking kernel knows besides, a sentence each
    """
    rows = _rows(status, arrow="->")
    lines = [f"{name:<12} {escaped(value)}" for name, value in rows]
    lines += [f"warning: {escaped(warning)}" for warning in status.warnings]
    lines += map(escaped, notes)
    return "\n".join(lines) + "\n"


def status_html(status: Status, notes: Sequence[str] = ()) -> str:
    """Give the same as a card. It fits light and dark themes, and holds no script.

    :param notes: as for :func:`status_text`
    """
    rows = [
        f'<tr style="background: none"><th scope="row" style="{_CELL}; {_FAINT}; '
        f'font-weight: normal">{escape(name)}</th>'
        f'<td style="{_CELL}">{_value(name, value, status)}</td></tr>'
        for name, value in _rows(status, arrow="\N{RIGHTWARDS ARROW}")
    ]
    told = [*(f"warning: {warning}" for warning in status.warnings), *notes]
    lines = [
        f'<div style="{_LOUD}; margin-top: 4px">{escape(escaped(each))}</div>' for each in told
    ]
    return (
        f'<div class="scriptenv-status" style="{_CARD} padding: 6px 12px">'
        f'<table style="{_TABLE}"><tbody>{"".join(rows)}</tbody></table>'
        f"{''.join(lines)}</div>"
    )


def _rows(status: Status, *, arrow: str) -> list[tuple[str, str]]:
    """Name what is shown, in its order; an empty value is left out.

    :param arrow: stands between what is declared and what is installed for it
    """
    environment = status.environment
    rows = [
        ("source", str(status.source)),
        ("state", f"{status.state}{': ' + status.reason if status.reason else ''}"),
        ("Python", environment.python_version if environment else "-"),
        ("requires", status.requires_python or "any Python"),
        ("declares", _declares(status, arrow) or "nothing"),
        ("installed", _joined(map(_package, status.installed)) or "nothing"),
        ("pending", _joined(filter(None, map(str.strip, (status.pending or "").splitlines())))),
        ("by hand", _by_hand(status)),
        ("undeclared", _undeclared(status)),
        ("environment", str(environment.path) if environment else "none yet"),
        ("kernelspec", status.kernelspec or "none"),
        ("in use", "yes" if status.in_use else "no"),
    ]
    if status.kernel_mode == "own":
        rows.append(("kernel", "its own: the environment brings ipykernel, or breaks the layer's"))
    return [row for row in rows if row[1]]


def _package(package: Package) -> str:
    return f"{package.name} {package.version}"


def _declares(status: Status, arrow: str) -> str:
    return _joined(_with_version(each, arrow) for each in status.requirements)


def _with_version(met: Met, arrow: str) -> str:
    return f"{met.requirement} {arrow} {met.version or 'not installed'}"


def _by_hand(status: Status) -> str:
    if not status.drift:
        return ""
    changes = _joined(map(_change, status.drift))
    return f"{changes} (not recorded in the block: the next exact sync undoes it)"


def _change(drift: Drift) -> str:
    if drift.version is None:
        return f"{drift.name} {drift.synced} removed"
    if drift.synced is None:
        return f"{drift.name} {drift.version} installed"
    return f"{drift.name} {drift.version} instead of {drift.synced}"


def _undeclared(status: Status) -> str:
    if not status.undeclared_imports:
        return ""
    modules = _joined(each.module for each in status.undeclared_imports)
    names = " ".join(dict.fromkeys(each.name for each in status.undeclared_imports))
    return f"{modules}: used, not declared, from the kernel (%scriptenv add {names})"


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _value(name: str, value: str, status: Status) -> str:
    shown = escape(escaped(value))
    if name == "state" and status.state != "in-sync":
        return f'<span style="{_LOUD}">{shown}</span>'
    if name in ("by hand", "undeclared", "pending"):
        return f'<span style="{_LOUD}">{shown}</span>'
    if name == "installed" and len(status.installed) > _FOLDED:
        count = f"{len(status.installed)} distributions"
        return f"<details><summary>{count}</summary>{shown}</details>"
    if name in ("source", "environment", "kernelspec"):
        return f'<code style="background: none; color: inherit; padding: 0">{shown}</code>'
    return shown
