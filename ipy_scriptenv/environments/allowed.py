"""Hold what is declared and configured against the administrator's policy, before uv is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipy_scriptenv import settings
from ipy_scriptenv.environments.addresses import forbidden, raise_if_any
from ipy_scriptenv.environments.configured import config_tables, configured, index_of
from ipy_scriptenv.errors import Problem
from ipy_scriptenv.metadata import Origin, origins_of_block, origins_of_lock, read_toml, shown
from ipy_scriptenv.policy import Policy

__all__ = ["exceptions", "limits", "refuse_forbidden", "refuse_place"]

_EXCEPTIONS_TO_WHEELS = frozenset(
    {"UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "no-binary", "no-binary-package"}
)
"""By these uv builds a package although it is told to build none."""


def refuse_forbidden(
    policy: Policy,
    *,
    toml: str | None,
    folder: Path,
    lock: bytes | None = None,
    indexes: Iterable[str] = (),
) -> None:
    """Check a block, its lock and the user's configuration against the policy.

    :param folder: the source's folder
    :param indexes: those that a call names, which count before all others
    :raises PolicyViolation: naming everything that is not allowed, and where it is said
    """
    if not policy.says_what_comes:
        return
    places = {f"{path}: ": tables for path, tables in config_tables()}
    problems = exceptions(policy, {**places, "tool.uv.": _uv_table(toml)})
    if policy.allowed_indexes:
        own = [index_of(each, key="--index", default=False) for each in indexes]
        own += origins_of_block(toml, folder=folder) if toml else ()
        locked = _seen_from(
            folder, origins_of_lock(lock.decode("utf-8", "replace")) if lock else ()
        )
        asked = [*own, *locked, *configured(own, before=[_uv_table(toml)])]
        problems += forbidden(asked, policy.allowed_indexes)
    raise_if_any(problems, policy)


def refuse_place(policy: Policy, archive: Path) -> None:
    """Check that packages may come from an archive: its path has to be an allowed one.

    :raises PolicyViolation: if it is not
    """
    if policy.allowed_indexes:
        origin = Origin(key="archive", address=str(archive))
        raise_if_any(forbidden([origin], policy.allowed_indexes), policy)


def _seen_from(folder: Path, origins: Iterable[Origin]) -> Iterator[Origin]:
    """Give origins with their relative paths as seen from the source's folder."""
    for origin in origins:
        is_relative = "://" not in origin.address and not Path(origin.address).is_absolute()
        yield replace(origin, address=str(folder / origin.address)) if is_relative else origin


def limits(
    policy: Policy, *, toml: str | None = None, exclude_newer: str | None = None
) -> tuple[str, ...]:
    """Give the options by which uv keeps to the policy whatever the block says.

    :param exclude_newer: the date that this call asks for; the earliest counts
    :raises PolicyViolation: if the block's ``exclude-newer`` cannot be compared with the policy's
    """
    options: list[str] = ["--no-build"] if policy.wheels_only else []
    if policy.exclude_newer is None:
        options += ["--exclude-newer", exclude_newer] if exclude_newer else []
    else:
        moment = policy.exclude_newer
        for text in (*_dates(toml), *([exclude_newer] if exclude_newer else [])):
            asked = _moment(text)
            if asked is None:
                problem = Problem(key="exclude-newer", message=f"`{shown(text)}` is no date")
                raise_if_any([problem], policy)
            else:
                moment = min(moment, asked)
        options += ["--exclude-newer", moment.isoformat().replace("+00:00", "Z")]
    return tuple(options)


def exceptions(policy: Policy, places: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Name the settings for single packages that would count before the policy's for all.

    :param places: tables of uv's settings, each by what stands before its keys in a message
    """
    if not policy.wheels_only and policy.exclude_newer is None:
        return []
    found = [
        (f"{place}{key}", key) for place, table in places.items() for key in table if table[key]
    ]
    found += [(name, name) for name in _EXCEPTIONS_TO_WHEELS if settings.variable(name)]
    problems = []
    for where, key in sorted(found):
        if policy.wheels_only and key in _EXCEPTIONS_TO_WHEELS:
            problems.append(Problem(key=where, message="the policy has nothing built"))
        if policy.exclude_newer is not None and key == "exclude-newer-package":
            message = "the policy sets one date for all packages"
            problems.append(Problem(key=where, message=message))
    return problems


def _dates(toml: str | None) -> Iterator[str]:
    places = [_uv_table(toml), *(tables for _, tables in config_tables())]
    for tables in places:
        if tables.get("exclude-newer") is not None:
            yield str(tables["exclude-newer"])
    variable = settings.variable("UV_EXCLUDE_NEWER")
    if variable:
        yield variable


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _uv_table(toml: str | None) -> dict[str, Any]:
    tool = read_toml(toml).get("tool") if toml else None
    tables = tool.get("uv") if isinstance(tool, dict) else None
    return tables if isinstance(tables, dict) else {}
