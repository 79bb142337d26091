"""What a person hands to ``pip install``, and uv's settings for it, held against the policy."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ipy_scriptenv import settings
from ipy_scriptenv.environments.addresses import forbidden, raise_if_any
from ipy_scriptenv.environments.allowed import exceptions
from ipy_scriptenv.environments.configured import config_tables, configured, index_of
from ipy_scriptenv.errors import Problem
from ipy_scriptenv.metadata import Origin, shown
from ipy_scriptenv.policy import Policy

__all__ = ["refuse_arguments", "refuse_pip"]

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

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\]\s*)?@")
"""A requirement with an address: ``name @ …``."""

_FILES = ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT")
"""Variables that say what options do that are not let by."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""uv reads a path in ``file:`` without slashes too; one letter is a drive of Windows."""

_TORCH, _TORCH_VARIABLE = "torch-backend", "UV_TORCH_BACKEND"


def refuse_arguments(policy: Policy, arguments: Sequence[str], *, folder: Path) -> list[str]:
    """Check words of a call that goes by a block; give them with absolute paths.

    What the block and the user's configuration say is not looked at here.

    :raises PolicyViolation: for a place that is not allowed, or an option that could lead around
    """
    given, origins, problems = _read(arguments, folder)
    if policy.allowed_indexes:
        problems += forbidden(origins, policy.allowed_indexes)
    raise_if_any(problems, policy)
    return given


def refuse_pip(policy: Policy, arguments: Sequence[str], *, folder: Path) -> list[str]:
    """Check what a person hands to ``pip install``, and what uv reads for it; as above.

    :raises PolicyViolation: likewise, and for what the user has configured
    """
    given, origins, problems = _read(arguments, folder)
    tables = list(config_tables())
    places = {f"{path}: ": table for path, table in tables}
    own = {f"{path}: pip.": table.get("pip") for path, table in tables}
    places |= {place: table for place, table in own.items() if isinstance(table, dict)}
    problems += exceptions(policy, places)
    if policy.allowed_indexes:
        told = [{"no-index": True}] if "--no-index" in arguments else []
        before = [*told, *(places[place] for place in own if place in places)]
        asked = [*origins, *configured(origins, before=before, pip=True)]
        problems += forbidden(asked, policy.allowed_indexes)
        found = [place + _TORCH for place, table in places.items() if table.get(_TORCH)]
        found += [_TORCH_VARIABLE] if settings.variable(_TORCH_VARIABLE) else []
        message = "by it uv asks an index of PyTorch's own"
        problems += [Problem(key=key, message=message) for key in found]
        message = "it names a file that could bring packages from anywhere"
        problems += [Problem(key=k, message=message) for k in _FILES if settings.variable(k)]
    raise_if_any(problems, policy)
    return given


def _read(arguments: Sequence[str], folder: Path) -> tuple[list[str], list[Origin], list[Problem]]:
    """Give a call's words with absolute paths, what they name, and which options are not let by."""
    problems: list[Problem] = []
    origins: list[Origin] = []
    words, given = list(arguments), []
    while words:
        word = words.pop(0)
        given.append(word)
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            if url := _direct(word, folder):
                origins.append(Origin(key="argument", address=url))
                extras = word.removeprefix(_without_extras(word))
                given[-1] = url + extras if _is_path(word) else word
        elif option in _INDEX_OPTIONS:
            told = value if equals else (words.pop(0) if words else "")
            given += [] if equals else [told]
            default = option in ("--default-index", "--index-url", "-i")
            origins.append(index_of(told, key=option, default=default))
        elif option in _HARMLESS_WITH_VALUE:
            given += words[: 0 if equals else 1]
            del words[: 0 if equals else 1]
        elif word not in _HARMLESS:
            problems.append(Problem(key=shown(option), message="the policy lets no such option by"))
    return given, origins, problems


def _direct(word: str, folder: Path) -> str | None:
    """Give the address or path that a word of a ``pip install`` call names; ``None``: a name."""
    named = _NAMED.match(word)
    place = word[named.end() :].strip() if named is not None else word
    if "://" in place:
        return place
    if named is not None or _is_path(word):
        path = _without_extras(place)
        return path if _SCHEME.match(path) else str(folder / Path(path).expanduser())
    return None


def _without_extras(place: str) -> str:
    """Give a path without the extras behind it, such as ``./project[plot]``."""
    return place.rpartition("[")[0] if place.endswith("]") else place


def _is_path(word: str) -> bool:
    if "://" in word or _NAMED.match(word):
        return False
    is_file = _without_extras(word).endswith((".whl", ".tar.gz", ".zip"))
    return "/" in word or os.sep in word or word in (".", "..") or is_file
