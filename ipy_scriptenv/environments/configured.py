"""What the user and the system have configured of uv, as far as a policy is concerned."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ipy_scriptenv import settings
from ipy_scriptenv.environments.addresses import PYPI
from ipy_scriptenv.errors import PolicyViolation
from ipy_scriptenv.files import read_regular
from ipy_scriptenv.metadata import Origin, origins_of_constraints, origins_of_settings

__all__ = ["config_tables", "configured", "index_of", "leads_elsewhere"]

_LARGEST = 1 << 20
_INDEX_VARIABLES = {
    "UV_INDEX": False,
    "UV_EXTRA_INDEX_URL": False,
    "UV_FIND_LINKS": False,
    "UV_DEFAULT_INDEX": True,
    "UV_INDEX_URL": True,
}
"""Variables of uv that name indexes, and whether they replace PyPI."""

_FALSE = frozenset({"", "0", "false", "f", "no", "n", "off"})


def configured(
    own: Iterable[Origin], *, before: Iterable[Mapping[str, Any]] = (), pip: bool = False
) -> Iterator[Origin]:
    """Give the indexes that the user has configured, and PyPI unless one replaces it.

    :param own: the origins that a call or a block names itself
    :param before: tables of settings that count before the configuration's
    :param pip: whether it is for ``uv pip``: nothing else reads what stands under ``[pip]``
    """
    given = [
        index_of(word, key=name, default=default)
        for name, default in _INDEX_VARIABLES.items()
        for word in (settings.variable(name) or "").replace(",", " ").split()
    ]
    files, found = list(config_tables()), []
    for path, tables in files:
        single = origins_of_constraints(tables) if pip else ()
        for origin in (*origins_of_settings(tables), *single):
            replaces = origin.replaces_default and (pip or not origin.key.startswith("pip."))
            found.append(replace(origin, key=f"{path}: {origin.key}", replaces_default=replaces))
    yield from given
    yield from found
    replaced, names = False, set()
    for origin in (*given, *own, *found):
        # One with the name of an earlier one is no index at all.
        replaced |= origin.replaces_default and origin.name not in names
        names |= {origin.name} - {None}
    told = (t["no-index"] for t in (*before, *(t for _, t in files)) if "no-index" in t)
    if not replaced and not _is_set("UV_NO_INDEX") and next(told, None) is not True:
        yield Origin(key="uv's default index", address=PYPI)


def config_tables() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read the user's and the system's configuration of uv.

    :raises PolicyViolation: if uv might read what cannot be read here
    """
    if _is_set("UV_NO_CONFIG"):
        return
    user, *system = settings.config_files()
    for path in (user, *(() if _is_set("UV_NO_SYSTEM_CONFIG") else system)):
        try:
            yield path, _read(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            msg = f"uv's configuration `{path}` cannot be held against the policy: {error}."
            raise PolicyViolation(msg, hint="Mend that file.") from error
        if path != user:
            # Of the system's files uv reads the first that is there.
            return


def leads_elsewhere(folder: Path) -> tuple[Path, str] | None:
    """Name a setting by which ``uv pip`` would install outside the environment, and its file.

    :param folder: where uv is called: it looks for a configuration from there upwards too
    """
    with contextlib.suppress(PolicyViolation):
        for path, tables in (*_nearest(folder), *config_tables()):
            pip = tables.get("pip")
            for key in ("target", "prefix"):
                if isinstance(pip, dict) and pip.get(key):
                    return path, f"pip.{key}"
    return None


def _nearest(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read the configuration that is nearest to a folder, as uv does."""
    if _is_set("UV_NO_CONFIG") or settings.variable("UV_CONFIG_FILE"):
        return
    for each in (folder, *folder.parents):
        for path in (each / "uv.toml", each / "pyproject.toml"):
            with contextlib.suppress(OSError, ValueError, RecursionError):
                tables: Any = _read(path)
                for key in ("tool", "uv") if path.name == "pyproject.toml" else ():
                    tables = tables.get(key) if isinstance(tables, dict) else None
                if isinstance(tables, dict):
                    yield path, tables
                    return


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(read_regular(path, limit=_LARGEST).decode())


def index_of(word: str, *, key: str, default: bool) -> Origin:
    """Read an index as a variable or an option has it: its address, or ``name=url``."""
    name, equals, url = word.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        return Origin(key=key, address=word, replaces_default=default)
    return Origin(key=key, address=url, replaces_default=default, name=name)


def _is_set(name: str) -> bool:
    """Say whether a switch of uv is on, as uv reads it."""
    value = (settings.variable(name) or "").strip().lower()
    return value not in _FALSE
