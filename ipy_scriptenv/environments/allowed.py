"""Hold what is declared and configured against the administrator's policy, before uv is called."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ipy_scriptenv import settings
from ipy_scriptenv.errors import PolicyViolation, Problem
from ipy_scriptenv.files import read_regular
from ipy_scriptenv.metadata import (
    Origin,
    origins_of_block,
    origins_of_lock,
    origins_of_settings,
    read_toml,
    shown,
)
from ipy_scriptenv.policy import Policy

__all__ = ["limits", "refuse_arguments", "refuse_forbidden", "refuse_place"]

_PYPI = "https://pypi.org/simple"
_PYPI_FILES = "https://files.pythonhosted.org/"
_DEFAULT = "uv's default index"
_LARGEST = 1 << 20
_INDEX_VARIABLES = {
    "UV_INDEX": False,
    "UV_EXTRA_INDEX_URL": False,
    "UV_FIND_LINKS": False,
    "UV_DEFAULT_INDEX": True,
    "UV_INDEX_URL": True,
}
"""Variables of uv that name indexes, and whether they replace PyPI."""

_EXCEPTIONS_TO_WHEELS = frozenset(
    {"UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "no-binary", "no-binary-package"}
)
"""By these uv builds a package although it is told to build none."""

_FALSE = frozenset({"", "0", "false", "f", "no", "n", "off"})
_HARMLESS = frozenset(
    {
        "--",
        "--compile-bytecode",
        "--dry-run",
        "--no-build",
        "--no-cache",
        "--no-deps",
        "--no-index",
        "--no-progress",
        "--pre",
        "--quiet",
        "--refresh",
        "--reinstall",
        "--require-hashes",
        "--upgrade",
        "--verbose",
        "-U",
        "-n",
        "-q",
        "-v",
    }
)
"""What a person may say to ``pip install`` under any policy."""

_HARMLESS_WITH_VALUE = frozenset(
    {
        "--link-mode",
        "--only-binary",
        "--prerelease",
        "--refresh-package",
        "--reinstall-package",
        "--resolution",
        "--upgrade-package",
        "-P",
    }
)
_INDEX_OPTIONS = frozenset(
    {"--index", "--default-index", "--index-url", "-i", "--extra-index-url", "--find-links", "-f"}
)


def refuse_forbidden(
    policy: Policy, *, toml: str | None, folder: Path, lock: bytes | None = None
) -> None:
    """Check a block, its lock and the user's configuration against the policy.

    :param folder: the source's folder
    :raises PolicyViolation: naming everything that is not allowed, and where it is said
    """
    problems = _exceptions(policy, toml)
    if policy.allowed_indexes:
        own = origins_of_block(toml, folder=folder) if toml else ()
        locked = _seen_from(
            folder, origins_of_lock(lock.decode("utf-8", "replace")) if lock else ()
        )
        asked = [*own, *locked, *_configured(own)]
        if _uv_table(toml).get("no-index") is True:
            asked = [origin for origin in asked if origin.key != _DEFAULT]
        problems += _forbidden(asked, policy.allowed_indexes)
    _raise_if_any(problems, policy)


def refuse_place(policy: Policy, archive: Path) -> None:
    """Check that packages may come from an archive: its path has to be an allowed one.

    :raises PolicyViolation: if it is not
    """
    if policy.allowed_indexes:
        origin = Origin(key="archive", address=str(archive))
        _raise_if_any(_forbidden([origin], policy.allowed_indexes), policy)


def _seen_from(folder: Path, origins: Iterable[Origin]) -> Iterator[Origin]:
    """Give origins with their relative paths as seen from the source's folder."""
    for origin in origins:
        is_relative = "://" not in origin.address and not Path(origin.address).is_absolute()
        yield replace(origin, address=str(folder / origin.address)) if is_relative else origin


def refuse_arguments(policy: Policy, arguments: Sequence[str], *, folder: Path) -> list[str]:
    """Check what a person hands to ``pip install``; give it with absolute paths.

    :raises PolicyViolation: as :func:`refuse_forbidden`, and for an option that could lead around
    """
    problems = _exceptions(policy, None)
    origins: list[Origin] = []
    words, given = list(arguments), []
    while words:
        word = words.pop(0)
        given.append(word)
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            if url := _direct(word, folder):
                origins.append(Origin(key="argument", address=url))
                given[-1] = url if _is_path(word) else word
        elif option in _INDEX_OPTIONS:
            address = value if equals else (words.pop(0) if words else "")
            given += [] if equals else [address]
            default = option in ("--default-index", "--index-url", "-i")
            origins.append(Origin(key=option, address=address, replaces_default=default))
        elif option in _HARMLESS_WITH_VALUE:
            given += words[: 0 if equals else 1]
            del words[: 0 if equals else 1]
        elif word not in _HARMLESS:
            problems.append(Problem(key=shown(option), message="the policy lets no such option by"))
    if policy.allowed_indexes:
        problems += _forbidden([*origins, *_configured(origins)], policy.allowed_indexes)
    _raise_if_any(problems, policy)
    return given


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
                _raise_if_any([problem], policy)
            else:
                moment = min(moment, asked)
        options += ["--exclude-newer", moment.isoformat().replace("+00:00", "Z")]
    return tuple(options)


def _dates(toml: str | None) -> Iterator[str]:
    places = [_uv_table(toml), *(tables for _, tables in _config_tables())]
    for tables in places:
        if tables.get("exclude-newer") is not None:
            yield str(tables["exclude-newer"])
    variable = settings.variable("UV_EXCLUDE_NEWER")
    if variable:
        yield variable


def _exceptions(policy: Policy, toml: str | None) -> list[Problem]:
    """Name the settings for single packages that would count before the policy's for all."""
    if not policy.wheels_only and policy.exclude_newer is None:
        return []
    places = [("tool.uv.", _uv_table(toml))]
    places += [(f"{path}: ", tables) for path, tables in _config_tables()]
    found = {f"{place}{key}" for place, tables in places for key, value in tables.items() if value}
    found |= {name for name in _EXCEPTIONS_TO_WHEELS if settings.variable(name)}
    problems = []
    for key in sorted(found):
        last = key.rpartition(" ")[2].removeprefix("tool.uv.")
        if policy.wheels_only and last in _EXCEPTIONS_TO_WHEELS:
            problems.append(Problem(key=key, message="the policy has nothing built"))
        if policy.exclude_newer is not None and last == "exclude-newer-package":
            message = "the policy sets one date for all packages"
            problems.append(Problem(key=key, message=message))
    return problems


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


def _configured(own: Iterable[Origin]) -> Iterator[Origin]:
    """Give the indexes that the user has configured, and PyPI unless one replaces it."""
    found = []
    for name, default in _INDEX_VARIABLES.items():
        for word in (settings.variable(name) or "").replace(",", " ").split():
            address = word.partition("=")[2] if _is_named(word) else word
            found.append(Origin(key=name, address=address, replaces_default=default))
    for path, tables in _config_tables():
        for origin in origins_of_settings(tables):
            key = f"{path}: {origin.key}"
            found.append(
                Origin(key=key, address=origin.address, replaces_default=origin.replaces_default)
            )
    yield from found
    replaced = any(origin.replaces_default for origin in (*own, *found))
    no_index = _is_set("UV_NO_INDEX") or any(t.get("no-index") is True for _, t in _config_tables())
    if not replaced and not no_index:
        yield Origin(key=_DEFAULT, address=_PYPI)


def _config_tables() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read the user's and the system's configuration of uv.

    :raises PolicyViolation: if uv might read what cannot be read here
    """
    if _is_set("UV_NO_CONFIG"):
        return
    for path in settings.config_files():
        try:
            yield path, tomllib.loads(read_regular(path, limit=_LARGEST).decode())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            msg = f"uv's configuration `{path}` cannot be held against the policy: {error}."
            raise PolicyViolation(msg, hint="Mend that file.") from error


def _is_set(name: str) -> bool:
    """Say whether a switch of uv is on, as uv reads it."""
    value = (settings.variable(name) or "").strip().lower()
    return value not in _FALSE


def _is_named(word: str) -> bool:
    """Say whether an index is written as ``name=url``."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.replace("-", "").replace("_", "").isalnum()


_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\]\s*)?@")


def _direct(word: str, folder: Path) -> str | None:
    """Give the address or path that a word of a ``pip install`` call names; ``None``: a name."""
    named = _NAMED.match(word)
    place = word[named.end() :].strip() if named is not None else word
    if "://" in place:
        return place
    if named is not None or _is_path(word):
        return str(folder / Path(place.partition("[")[0]).expanduser())
    return None


def _is_path(word: str) -> bool:
    if "://" in word or _NAMED.match(word):
        return False
    is_file = word.partition("[")[0].endswith((".whl", ".tar.gz", ".zip"))
    return "/" in word or os.sep in word or word in (".", "..") or is_file


def _forbidden(origins: Iterable[Origin], allowed: Sequence[Sequence[str]]) -> list[Problem]:
    problems = [
        Problem(key=origin.key, message=f"`{shown(origin.address)}` is not allowed")
        for origin in origins
        if not all(_is_allowed(origin.address, each) for each in allowed)
    ]
    return list(dict.fromkeys(problems))


def _is_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Say whether an address or path is one of the allowed ones, or lies under one."""
    plain = _plain(address)
    if plain is None:
        return False
    under = [known for known in map(_plain, allowed) if known is not None]
    if any(known == _PYPI for known in under):
        under.append(_PYPI_FILES.rstrip("/"))
    return any(plain == known or plain.startswith(f"{known}/") for known in under)


def _plain(address: str) -> str | None:
    """Give an address without credentials, query and fragment; ``None`` if it leads elsewhere.

    What uv might read in another way than this, such as a backslash, leads elsewhere.
    """
    if "://" not in address:
        return os.path.realpath(address) if Path(address).is_absolute() else None
    if "\\" in address or _is_odd(address):
        return None
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    path, host = unquote(parts.path), (parts.hostname or "").lower()
    # What a variable holds is known to uv alone.
    holds_variable = "${" in path or "${" in host
    if parts.scheme == "file":
        return None if holds_variable else os.path.realpath(path)
    leads_elsewhere = "%" in path or "\\" in path or ".." in path.split("/")
    if holds_variable or leads_elsewhere or _is_odd(path):
        return None
    # A revision stands behind the last `@` of a git address.
    if parts.scheme.startswith("git+"):
        path = path.rpartition("@")[0] or path
    return f"{parts.scheme}://{host}{port}{path.rstrip('/')}"


def _is_odd(text: str) -> bool:
    return any(char.isspace() or not char.isprintable() for char in text)


def _raise_if_any(problems: Sequence[Problem], policy: Policy) -> None:
    if problems:
        files = " and ".join(f"`{path}`" for path in policy.files)
        msg = f"The administrator's policy ({files}) does not allow this."
        raise PolicyViolation(msg, problems=tuple(problems))
