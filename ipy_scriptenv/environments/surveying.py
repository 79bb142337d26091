"""All that a front end shows of a source at once; nothing is resolved, and nothing changed."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ipy_scriptenv import interpreters
from ipy_scriptenv.environments.belonging import Installed, installed_tree
from ipy_scriptenv.environments.condition import inspect, whereabouts
from ipy_scriptenv.environments.items import size_of
from ipy_scriptenv.environments.looking import Status, status
from ipy_scriptenv.environments.sources import Lock, lock_in, read_lock
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.wanted import wanted_at_start
from ipy_scriptenv.errors import BadBlock
from ipy_scriptenv.metadata import EMPTY, Declaration, read_declaration, read_toml
from ipy_scriptenv.record import Source

__all__ = ["LockState", "Overview", "lock_state", "overview"]


class LockState(enum.StrEnum):
    """Whether a lock is for its block, as far as both tell without asking uv."""

    NONE = "none"
    CURRENT = "current"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A source, its environment, and what lies in it.

    :param lock: the source's; ``None``: there is none
    :param size: bytes; ``None`` without environment
    :param python_version: of the environment; ``None`` without one
    :param python_request: an earlier ``--python``
    """

    status: Status
    lock: Lock | None
    lock_state: LockState
    size: int | None
    packages: tuple[Installed, ...]
    python_version: str | None
    python_request: str | None


def overview(
    source: Source,
    *,
    context: Context,
    block: str | None = None,
    given: bool = False,
    lock: str | None = None,
) -> Overview:
    """Look at a source and its environment.

    :param block: TOML to take instead of the source's, if *given*: that of an open document
    :param lock: the lock that an open notebook's metadata hold; ``None``: the source's own
    :raises ScriptEnvError: as :func:`status`
    """
    counted = lock_in(source, lock) or read_lock(source)
    content = None if counted is None else counted.content
    found = status(source, context=context, block=block, given=given, lock=content)
    standing = inspect(context.store, whereabouts(context.store, source), source)
    record = standing.record
    toml = block if given else wanted_at_start(source, record).block
    declaration = EMPTY if toml is None else read_declaration(toml)
    return Overview(
        status=found,
        lock=counted,
        lock_state=LockState.NONE if content is None else lock_state(declaration, content),
        size=None if found.environment is None else size_of(found.environment.path),
        packages=()
        if record is None
        else installed_tree(standing.path, record.python, declaration.requirements),
        python_version=None if record is None else record.python.version,
        python_request=None if record is None else record.python.request,
    )


def lock_state(declaration: Declaration, lock: bytes) -> LockState:
    """Compare a lock with a block: the Pythons, and each name with its extras and its range.

    uv may know more, which ``lock --check`` asks: markers and sources are not compared here.
    """
    try:
        tables = read_toml(lock.decode(), most_bytes=None)
        manifest = [dict(each) for each in tables.get("manifest", {}).get("requirements", ())]
        placed = frozenset(str(each["name"]) for each in manifest if each.keys() & _PLACES)
        locked = _locked(manifest, placed=placed)
        python = SpecifierSet(str(tables.get("requires-python", "")))
    except (BadBlock, LookupError, ValueError, TypeError, AttributeError):
        # Nobody's but uv's has that shape.
        return LockState.STALE
    declared = _declared(declaration.requirements, placed=placed)
    wanted = declaration.requires_python
    same = declared == locked and (wanted is None or _is_same(wanted, python))
    return LockState.CURRENT if same else LockState.STALE


_Key = tuple[str, frozenset[str], str | None]

_PLACES = frozenset({"url", "git", "path", "directory", "editable", "virtual"})
"""What has one of these comes from a place of its own, where a range says nothing."""


def _locked(manifest: list[dict[str, Any]], *, placed: frozenset[str]) -> Counter[_Key]:
    return Counter(
        (
            str(each["name"]),
            frozenset(canonicalize_name(extra) for extra in each.get("extras", ())),
            None if each["name"] in placed else str(SpecifierSet(each.get("specifier", ""))),
        )
        for each in manifest
    )


def _declared(requirements: Iterable[Requirement], *, placed: frozenset[str]) -> Counter[_Key]:
    return Counter(
        (
            (name := canonicalize_name(each.name)),
            frozenset(canonicalize_name(extra) for extra in each.extras),
            None if each.url is not None or name in placed else str(each.specifier),
        )
        for each in requirements
    )


def _is_same(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Say whether two ranges allow the same Pythons: uv writes them in a form of its own."""
    versions = (f"3.{minor}.{patch}" for minor in range(25) for patch in (0, 1, 7, 30))
    return all(
        interpreters.satisfies(each, one) == interpreters.satisfies(each, other)
        for each in versions
    )
