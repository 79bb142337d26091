"""Which of the installed distributions requires which, as their own metadata say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.errors import MessageError
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ipy_scriptenv.environments.condition import installed_packages
from ipy_scriptenv.files import entries, read_regular
from ipy_scriptenv.record import Python
from ipy_scriptenv.venvs import site_packages

__all__ = ["Installed", "installed_tree"]

_LARGEST = 1 << 22
"""Bytes of the largest metadata that are read; a long description is part of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One installed distribution, and its neighbours.

    :param declared: whether the block names it
    :param requires: names of what it requires, as far as that is installed
    :param required_by: names of those that require it
    """

    name: str
    version: str
    declared: bool
    requires: tuple[str, ...]
    required_by: tuple[str, ...]


def installed_tree(
    environment: Path, python: Python, declared: Iterable[Requirement]
) -> tuple[Installed, ...]:
    """List what is installed in an environment, each with what it requires; nothing is run.

    Markers are judged for its Python; extras count where somebody asks for them.

    :param declared: the requirements of the block
    """
    packages = installed_packages(environment, python)
    own = _marker_environment(python)
    wanted = _requirements(site_packages(environment, python))
    roots = [each for each in declared if _applies(each, own, frozenset())]
    requires = _edges(wanted, own, roots, frozenset(each.name for each in packages))
    required_by: dict[str, set[str]] = defaultdict(set)
    for name, others in requires.items():
        for other in others:
            required_by[other].add(name)
    named = {canonicalize_name(each.name) for each in roots}
    return tuple(
        Installed(
            name=each.name,
            version=each.version,
            declared=each.name in named,
            requires=tuple(sorted(requires.get(each.name, ()))),
            required_by=tuple(sorted(required_by[each.name])),
        )
        for each in packages
    )


def _edges(
    wanted: Mapping[str, list[Requirement]],
    own: Mapping[str, str],
    roots: Iterable[Requirement],
    installed: frozenset[str],
) -> dict[str, set[str]]:
    """Say what each requires; an extra that is asked for on the way makes it look again."""
    extras: dict[str, set[str]] = defaultdict(set)
    for root in roots:
        extras[canonicalize_name(root.name)] |= root.extras
    requires: dict[str, set[str]] = {}
    waiting = set(wanted)
    while waiting:
        name = waiting.pop()
        found = [each for each in wanted[name] if _applies(each, own, frozenset(extras[name]))]
        named: set[str] = {canonicalize_name(each.name) for each in found}
        requires[name] = named & installed - {name}
        for each in found:
            other = canonicalize_name(each.name)
            if not each.extras <= extras[other]:
                extras[other] |= each.extras
                waiting |= {other} & wanted.keys()
    return requires


def _requirements(site: Path) -> dict[str, list[Requirement]]:
    """Read what each distribution in a folder of packages says that it requires."""
    found: dict[str, list[Requirement]] = {}
    for entry in entries(site):
        if not entry.name.endswith(".dist-info"):
            continue
        name = canonicalize_name(entry.name.removesuffix(".dist-info").partition("-")[0])
        found[name] = [*_parsed(_stated(Path(entry.path) / "METADATA"))]
    return found


def _stated(metadata: Path) -> list[str]:
    try:
        text = read_regular(metadata, limit=_LARGEST).decode("utf-8", "replace")
        # The description behind the headers may be long, and is of no use here.
        headers = text.partition("\n\n")[0]
        return [str(each) for each in HeaderParser().parsestr(headers).get_all("Requires-Dist", [])]
    except (OSError, MessageError, ValueError):
        return []


def _parsed(texts: Iterable[str]) -> Iterable[Requirement]:
    for text in texts:
        try:
            yield Requirement(text)
        except (InvalidRequirement, RecursionError):
            continue


def _applies(requirement: Requirement, own: Mapping[str, str], extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    try:
        return any(requirement.marker.evaluate({**own, "extra": extra}) for extra in ("", *extras))
    except (ValueError, RecursionError):
        return False


def _marker_environment(python: Python) -> dict[str, str]:
    """Give what markers ask for: this machine's, with the environment's Python."""
    versions = {"python_version": python.minor, "python_full_version": python.version}
    same = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    found = {str(key): str(value) for key, value in default_environment().items()}
    return {**found, **versions, **same, "implementation_version": python.version}
