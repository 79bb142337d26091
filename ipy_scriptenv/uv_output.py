"""Read what uv says: steps on the way, what changed, why it failed. Text in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipy_scriptenv.errors import (
    EngineFailed,
    InstallCutShort,
    InstallFailed,
    NoSpace,
    Offline,
    PermissionRefused,
    Problem,
    ResolutionFailed,
    ScriptEnvError,
)
from ipy_scriptenv.metadata import without_credentials

__all__ = ["Change", "Event", "Report", "event_of", "failure", "report_of"]

Event = Mapping[str, Any]
"""One step of a longer work: ``event`` is its kind, the rest its data (``docs/contract.md``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One distribution that comes or goes; *action* is ``installed`` or ``removed``."""

    name: str
    version: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a sync did, or would do.

    :param environment: the path that uv worked on; ``None`` where it did not tell
    """

    environment: str | None
    changes: tuple[Change, ...]


_STEPS: Sequence[tuple[re.Pattern[str], str, Mapping[str, bool]]] = (
    (re.compile(r"Resolved (?P<packages>\d+) packages? in"), "resolving", {}),
    (
        re.compile(r"Downloading (?P<name>\S+)(?: \(download\))?(?: \((?P<size>[^)]*)\))?"),
        "downloading",
        {"finished": False},
    ),
    (re.compile(r"\s*Downloaded (?P<name>\S+)"), "downloading", {"finished": True}),
    (
        re.compile(r"\s*Building (?P<name>\S+)"),
        "downloading",
        {"finished": False, "building": True},
    ),
    (
        re.compile(r"\s*Built (?P<name>\S+)"),
        "downloading",
        {"finished": True, "building": True},
    ),
    (re.compile(r"Prepared (?P<packages>\d+) packages? in"), "installing", {}),
    (re.compile(r"Installed (?P<packages>\d+) packages? in"), "installing", {}),
)


def event_of(line: str) -> Event | None:
    """Read one line of uv's standard error; ``None`` if it tells no step.

    Of a package that is fetched or built it has ``name``, and ``finished`` when that has ended.
    ``size`` is as uv writes it, ``bytes`` the same as a number; uv rounds it.
    """
    for pattern, kind, more in _STEPS:
        match = pattern.match(line)
        if match:
            found = {key: value for key, value in match.groupdict().items() if value}
            size = _bytes(found.get("size", ""))
            counted = {} if size is None else {"bytes": size}
            text = without_credentials(line.strip())
            return {"event": kind, "text": text, **found, **counted, **more}
    return None


_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _bytes(size: str) -> int | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", size)
    if match is None or match[2] not in _UNITS:
        return None
    return round(float(match[1]) * _UNITS[match[2]])


_CAUSES: Sequence[tuple[re.Pattern[str], type[ScriptEnvError], str]] = (
    (
        re.compile(r"No space left on device|os error 28\b|os error 112\b"),
        NoSpace,
        "The disk is full.",
    ),
    (
        re.compile(
            r"No solution found|unsatisfiable|[Ff]ailed to resolve|"
            r"was not found in the (?:package registry|provided)"
        ),
        ResolutionFailed,
        "No set of packages satisfies the dependencies.",
    ),
    (
        re.compile(
            r"error sending request|dns error|failed to lookup address|Could not connect|"
            r"Connection refused|[Nn]etwork connectivity is disabled|network was disabled|"
            r"operation timed out|tcp connect error"
        ),
        Offline,
        "The package index could not be reached.",
    ),
    (
        re.compile(r"Permission denied|os error 13\b|Read-only file system|os error 30\b"),
        PermissionRefused,
        "The operating system refused access.",
    ),
    (
        re.compile(
            r"Failed to (?:build|download|fetch|install|unpack|prepare)|"
            r"hash mismatch|Hash mismatch|no usable wheels"
        ),
        InstallFailed,
        "The dependencies could not be installed.",
    ),
)


def failure(code: int, err: str) -> ScriptEnvError:
    """Turn a failed call into an error of ours that keeps uv's words as its problem.

    :param code: exit code; negative: the signal that ended it
    :param err: its standard error
    """
    words = _words(err)
    problems = (Problem(message=words),) if words else ()
    if code < 0:
        return InstallCutShort(f"uv was ended by signal {-code}.", problems=problems)
    offline = re.search(r"[Nn]etwork (?:connectivity is|was) disabled", words)
    for pattern, kind, message in _CAUSES:
        if pattern.search(words):
            # Without network uv finds "no solution" too; its own hint tells the true cause.
            if kind is ResolutionFailed and offline:
                told = "The packages are not in the cache, and the network is disabled."
                return Offline(told, problems=problems)
            return kind(message, problems=problems)
    if code == 1:
        return InstallFailed("The dependencies could not be installed.", problems=problems)
    return EngineFailed(f"uv failed with exit code {code}.", problems=problems)


def report_of(out: str, err: str) -> Report:
    """Read the outcome of a sync from its JSON; that is marked preview, so else from its lines."""
    try:
        sync = json.loads(out)["sync"]
        environment = str(sync["environment"]["path"])
        changes = tuple(
            Change(
                name=entry["name"],
                version=entry.get("version") or "",
                action="installed" if entry["action"] == "installed" else "removed",
            )
            for entry in sync["changes"]
        )
    except (ValueError, KeyError, TypeError):
        return Report(environment=None, changes=_changes_in_lines(err))
    return Report(environment=environment, changes=changes)


_LINE = re.compile(r"^ ([+-]) ([A-Za-z0-9._-]+)(?:==(\S+))?", re.MULTILINE)


def _changes_in_lines(err: str) -> tuple[Change, ...]:
    signs = {"+": "installed", "-": "removed"}
    return tuple(
        Change(name=name, version=version, action=signs[sign])
        for sign, name, version in _LINE.findall(err)
    )


_ASIDE = re.compile(r"warning: No `requires-python` value found")
"""What uv says of every block without that key, which need have none; nothing fails for it."""


def _words(err: str) -> str:
    """Give what uv said of a failure, without progress, asides, credentials and trailing space."""
    lines = [
        line.rstrip()
        for line in err.splitlines()
        if event_of(line) is None and not _ASIDE.match(line)
    ]
    return without_credentials("\n".join(lines).strip())
