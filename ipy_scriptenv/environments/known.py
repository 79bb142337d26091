"""What this machine knows already: names of distributions, and interpreters. Nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ipy_scriptenv import interpreters
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.files import entries
from ipy_scriptenv.kernel_side.credentials import without_credentials

__all__ = ["Checked", "KnownPython", "check_requirement", "known_names", "known_pythons"]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")
_LEADING_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PLACE = re.compile(r"(?:(?:git|hg|svn|bzr)\+)?[a-z]+://\S+|\.{0,2}/\S*|[A-Za-z]:[\\/]\S*|~/\S*")

_MOST_ENVIRONMENTS = 1000
_MOST_NAMES = 100_000
"""How much is read: enough for every completion, and an end for a cache that was tampered with."""

_BY_NAME = re.compile(r"(?:simple|wheels|sdists)-v\d+")
"""uv's folders that hold, for PyPI and for each other index, one file or folder for each name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPython:
    """An interpreter that environments can be made from.

    :param is_host: whether it is the one that runs this code, which is taken first
    """

    version: str
    path: str
    is_host: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What can be said of a requirement as it is typed.

    :param name: of the distribution, as far as it can be seen
    :param message: what is wrong; ``None`` where it can be read
    """

    name: str | None
    message: str | None


def known_pythons(*, context: Context) -> list[KnownPython]:
    """List the interpreters on this machine, one for each minor version, the newest first.

    Of several, the host's is named, else the newest.
    """
    context.store.prepare()
    host = interpreters.host_python()
    found = {host.minor: KnownPython(version=host.version, path=host.base, is_host=True)}
    for each in interpreters.newest_first(context.uv().pythons(configured=True)):
        version = Version(each.version)
        if version >= interpreters.OLDEST:
            minor = f"{version.major}.{version.minor}"
            python = KnownPython(version=each.version, path=each.path, is_host=False)
            found.setdefault(minor, python)
    return sorted(found.values(), key=lambda each: Version(each.version), reverse=True)


def known_names(*, context: Context) -> frozenset[str]:
    """Name the distributions that uv's cache or an environment of ours has, normalised.

    They are names of files that anybody may have written there: only what can be a name is taken.
    """
    context.store.prepare()
    return frozenset(_names(context))


def check_requirement(text: str) -> Checked:
    """Say whether a word can be added to a block: a requirement, an address or a path.

    Whether there is such a package is not asked.
    """
    stripped = text.strip()
    leading = _LEADING_NAME.match(stripped)
    name = canonicalize_name(leading[0]) if leading else None
    try:
        return Checked(name=canonicalize_name(Requirement(stripped).name), message=None)
    except InvalidRequirement as error:
        if _PLACE.fullmatch(stripped):
            return Checked(name=None, message=None)
        # The further lines show the text, with a mark below it.
        reason = str(error).partition("\n")[0]
        return Checked(name=name, message=without_credentials(reason))
    except RecursionError:
        return Checked(name=name, message="It is nested too deeply to be read.")


def _names(context: Context) -> Iterator[str]:
    store = context.store
    for environment in store.names()[:_MOST_ENVIRONMENTS]:
        record = store.record_of(environment)
        if record is not None:
            yield from (each.name for each in record.packages if _NAME.fullmatch(each.name))
    for folder in _folders_by_name(context.uv().cache_folder()):
        yield from _names_in(folder)


def _folders_by_name(cache: Path) -> Iterator[str]:
    """Give the folders of a cache of uv that hold names; links are not followed."""
    for kind in entries(cache):
        if not _BY_NAME.fullmatch(kind.name) or not kind.is_dir(follow_symlinks=False):
            continue
        for index in entries(Path(kind.path)):
            if index.name == "pypi" and index.is_dir(follow_symlinks=False):
                yield index.path
            elif index.name == "index" and index.is_dir(follow_symlinks=False):
                others = entries(Path(index.path))
                yield from (each.path for each in others if each.is_dir(follow_symlinks=False))


def _names_in(folder: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        for number, entry in enumerate(there):
            if number >= _MOST_NAMES:
                return
            name = entry.name.removesuffix(".rkyv")
            if _NAME.fullmatch(name):
                yield name
