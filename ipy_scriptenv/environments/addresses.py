"""Whether an address, or a path, is one that the administrator's policy allows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ipy_scriptenv.errors import PolicyViolation, Problem
from ipy_scriptenv.metadata import Origin, shown
from ipy_scriptenv.policy import Policy

__all__ = ["PYPI", "forbidden", "raise_if_any"]

PYPI = "https://pypi.org/simple"
"""The index that uv asks where nothing else is said."""

_PYPI_FILES = "https://files.pythonhosted.org/"


def forbidden(origins: Iterable[Origin], allowed: Sequence[Sequence[str]]) -> list[Problem]:
    """Name the origins that are not allowed, each once.

    :param allowed: as :attr:`Policy.allowed_indexes` has it
    """
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
    if any(known == PYPI for known in under):
        under.append(_PYPI_FILES.rstrip("/"))
    return any(plain == known or plain.startswith(f"{known}/") for known in under)


def _plain(address: str) -> str | None:
    """Give an address without credentials, query and fragment; ``None`` if it leads elsewhere.

    What uv might read in another way than this, such as a backslash, leads elsewhere.
    """
    if "://" not in address:
        # What a variable holds is known to uv alone.
        return _real(address) if Path(address).is_absolute() and "${" not in address else None
    if "\\" in address or _is_odd(address):
        return None
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    path, host = unquote(parts.path), (parts.hostname or "").lower()
    holds_variable = "${" in path or "${" in host
    if parts.scheme == "file":
        # Behind another host uv reads a relative path.
        return None if holds_variable or host not in ("", "localhost") else _real(path)
    leads_elsewhere = "%" in path or "\\" in path or ".." in path.split("/")
    if holds_variable or leads_elsewhere or _is_odd(path):
        return None
    # A revision stands behind the last `@` of a git address.
    if parts.scheme.startswith("git+"):
        path = path.rpartition("@")[0] or path
    return f"{parts.scheme}://{host}{port}{path.rstrip('/')}"


def _real(path: str) -> str | None:
    """Follow the links of a path; ``None`` where ``..`` behind one leads two ways.

    uv takes ``..`` by the text alone, and the system by what stands there.
    """
    found = os.path.realpath(path)
    return found if os.path.realpath(os.path.normpath(path)) == found else None


def _is_odd(text: str) -> bool:
    return any(char.isspace() or not char.isprintable() for char in text)


def raise_if_any(problems: Sequence[Problem], policy: Policy) -> None:
    """Tell all that is against the policy.

    :raises PolicyViolation: if anything is
    """
    if problems:
        files = " and ".join(f"`{path}`" for path in policy.files)
        msg = f"The administrator's policy ({files}) does not allow this."
        raise PolicyViolation(msg, problems=tuple(problems))
