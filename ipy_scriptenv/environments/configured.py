"""What the user and the system have configured of uv, as far as a policy is concerned."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ipy_scriptenv import settings
from ipy_scriptenv.environments.addresses import PYPI
from ipy_scriptenv.errors import PolicyViolation
from ipy_scriptenv.files import read_regular
from ipy_scriptenv.metadata import Origin, origins_of_settings

__all__ = ["DEFAULT", "address_of", "config_tables", "configured"]

DEFAULT = "uv's default index"
"""The key of PyPI, where nothing replaces it."""

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


def configured(own: Iterable[Origin]) -> Iterator[Origin]:
    """Give the indexes that the user has configured, and PyPI unless one replaces it."""
    found = [
        Origin(key=name, address=address_of(word), replaces_default=default)
        for name, default in _INDEX_VARIABLES.items()
        for word in (settings.variable(name) or "").replace(",", " ").split()
    ]
    for path, tables in config_tables():
        for origin in origins_of_settings(tables):
            key = f"{path}: {origin.key}"
            found.append(
                Origin(key=key, address=origin.address, replaces_default=origin.replaces_default)
            )
    yield from found
    replaced = any(origin.replaces_default for origin in (*own, *found))
    no_index = _is_set("UV_NO_INDEX") or any(t.get("no-index") is True for _, t in config_tables())
    if not replaced and not no_index:
        yield Origin(key=DEFAULT, address=PYPI)


def config_tables() -> Iterator[tuple[Path, dict[str, Any]]]:
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


def address_of(word: str) -> str:
    """Give the address of an index, which may be written as ``name=url``."""
    name, equals, url = word.partition("=")
    is_named = equals and name.replace("-", "").replace("_", "").isalnum()
    return url if is_named else word


def _is_set(name: str) -> bool:
    """Say whether a switch of uv is on, as uv reads it."""
    value = (settings.variable(name) or "").strip().lower()
    return value not in _FALSE
