"""What of an environment only the engine needs: decided from names, nothing is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["only_needed_by"]


def only_needed_by(
    engine: AbstractSet[str],
    *,
    requires: Mapping[str, AbstractSet[str]],
    declared: AbstractSet[str],
    stated: Mapping[str, Iterable[str]],
) -> frozenset[str]:
    """Name the engine, and what nothing else needs.

    What an extra of the engine brings (``dask[dataframe]``) is the notebook's; so is what it
    declares itself, and what was installed by hand.

    :param engine: names of installed distributions
    :param requires: what each installed distribution requires, extras that are asked for included
    :param declared: what the block names
    :param stated: the ``Requires-Dist`` of the engine
    """
    basic = {name: _without_extras(stated.get(name, ())) & requires.keys() for name in engine}
    required = {other for name in requires for other in requires[name]}
    roots = (declared | (requires.keys() - required)) - engine
    for name in engine:
        roots |= requires.get(name, frozenset()) - basic[name] - engine
    needed = _reached(roots, {**requires, **dict.fromkeys(engine, frozenset())})
    own = _reached(engine, {**requires, **basic})
    return frozenset((own - needed) | engine)


def _reached(roots: Iterable[str], edges: Mapping[str, AbstractSet[str]]) -> set[str]:
    found: set[str] = set()
    waiting = set(roots)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= edges.get(name, frozenset()) - found
    return found


def _without_extras(stated: Iterable[str]) -> frozenset[str]:
    """Name what requirements ask for that belong to no extra; other markers do not matter here."""
    found = set()
    for text in stated:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or "extra" not in str(requirement.marker):
            found.add(str(canonicalize_name(requirement.name)))
    return frozenset(found)
