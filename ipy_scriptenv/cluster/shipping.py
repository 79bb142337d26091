"""What of a source's environment goes to the workers of a cluster: every version, pinned.

What is installed decides, for that is what the notebook runs with. A lock adds what only other
systems need, and says which of it is for which.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from ipy_scriptenv import environments, policy
from ipy_scriptenv.cluster.choosing import only_needed_by
from ipy_scriptenv.cluster.origins import Places, places_of, without_user
from ipy_scriptenv.cluster.wheels import wheel_of
from ipy_scriptenv.environments import Choosing, Context, Form
from ipy_scriptenv.environments.belonging import installed_tree
from ipy_scriptenv.environments.bundles import built_wheel
from ipy_scriptenv.environments.resolving import resolver_options
from ipy_scriptenv.environments.sources import read_lock
from ipy_scriptenv.errors import EngineFailed, NoEnvironment, WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.cluster.shipment import Parcel, Shipment
from ipy_scriptenv.metadata import EMPTY, Declaration, read_declaration
from ipy_scriptenv.plan import marker_environment
from ipy_scriptenv.record import OWN, Record, Source
from ipy_scriptenv.venvs import site_packages

__all__ = ["answer", "ship"]

_KERNEL = "ipykernel"
_OURS = "ipy-scriptenv"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Locked:
    """A package of a lock, as ``pylock.toml`` (PEP 751) has it.

    :param is_here: whether it is for the environment's own system and Python
    """

    name: str
    version: str
    marker: str | None
    index: str | None
    from_index: bool
    is_here: bool


def answer(request: Mapping[str, Any], context: Context, name: EnvironmentName) -> dict[str, Any]:
    """Answer a kernel that asks what of its environment, or of another source's, is to go.

    :param name: the asking kernel's environment
    :returns: what :meth:`Shipment.from_dict` reads
    :raises ScriptEnvError: as :func:`ship`
    """
    named = request["source"]
    shipment = ship(
        None if named is None else environments.locate(named),
        context=context,
        name=name,
        engine=request["engine"],
        wheels=request["wheels"],
        built=Path(request["built"]),
    )
    return asdict(shipment)


def ship(
    source: Source | None,
    *,
    context: Context,
    name: EnvironmentName | None = None,
    engine: Iterable[str],
    wheels: Sequence[str] = (),
    built: Path,
) -> Shipment:
    """Put together what the workers of a cluster need.

    :param source: it is synced first; ``None``: the environment *name*, as it stands
    :param engine: what the workers have already, by name
    :param wheels: names of what is sent as a wheel, wherever it came from
    :param built: an empty folder for wheels
    :raises ScriptEnvError: if the environment cannot be completed, or something in it cannot travel
    """
    record, path = _standing(source, context=context, name=name)
    declaration = read_declaration(record.block) if record.block else EMPTY
    found: dict[str, Distribution] = {
        canonicalize_name(each.metadata["Name"]): each
        for each in distributions(path=[str(site_packages(path, record.python))])
    }
    _refuse_unknown(wheels, found)
    left = _left(path, record, declaration, found, frozenset(engine))
    markers = marker_environment(record.python.version)
    places = places_of(record.block or "", folder=_folder(record, context), markers=markers)
    locked = _locked(record.source, context, markers)
    packing = _Packing(
        context=context,
        record=record,
        places=places,
        built=built,
        as_wheels=frozenset(map(canonicalize_name, wheels)),
        markers={(each.name, each.version): each.marker for each in locked if each.is_here},
    )
    parcels = [packing.parcel(key, each) for key, each in sorted(found.items()) if key not in left]
    others = _for_other_systems(locked, found, places, left)
    return Shipment(
        source=f"`{record.source}`",
        name=path.name,
        environment=str(path),
        python=record.python.minor,
        base=record.python.base,
        engine={key: found[key].version for key in sorted(engine) if key in found},
        parcels=(*parcels, *others),
        indexes=places.indexes,
        left=tuple(sorted(left)),
        warnings=places.warnings,
    )


def _standing(
    source: Source | None, *, context: Context, name: EnvironmentName | None
) -> tuple[Record, Path]:
    if source is not None:
        synced = environments.sync(source, context=context, exact=False)
        return synced.record, synced.path
    record = None if name is None else context.store.record_of(name)
    if name is None or record is None:
        msg = "The environment has no record that can be read."
        raise NoEnvironment(msg, hint="Restart the kernel.")
    return record, context.store.environment(name)


def _for_other_systems(
    locked: Sequence[_Locked],
    found: Mapping[str, Distribution],
    places: Places,
    left: frozenset[str],
) -> list[Parcel]:
    """Give what a lock has beside what is for here; of what stays or was changed, nothing."""
    known = {(each.name, each.version) for each in locked}
    return [
        Parcel(
            name=each.name,
            version=each.version,
            marker=each.marker,
            index=each.index if each.index in places.elsewhere else None,
        )
        for each in locked
        if not each.is_here
        and each.from_index
        and each.name not in left
        and (each.name not in found or (each.name, found[each.name].version) in known)
    ]


def _refuse_unknown(wheels: Sequence[str], found: Mapping[str, Distribution]) -> None:
    unknown = [name for name in wheels if canonicalize_name(name) not in found]
    if unknown:
        msg = f"`{unknown[0]}` is not installed, so there is no wheel of it."
        raise WrongCall(msg, hint="Name a package that the notebook has.")


def _left(
    path: Path,
    record: Record,
    declaration: Declaration,
    found: Mapping[str, Distribution],
    engine: frozenset[str],
) -> frozenset[str]:
    """Name what stays behind: the engine, a kernel that nobody declared, what only these need.

    So does this package, declared for a script that has no kernel.
    """
    tree = installed_tree(path, record.python, declaration.requirements)
    declared = {each.name for each in tree if each.declared}
    away = (
        engine
        | {_OURS}
        | ({_KERNEL} if record.kernel == OWN and _KERNEL not in declared else set())
    )
    return only_needed_by(
        away & found.keys(),
        requires={each.name: frozenset(each.requires) for each in tree},
        declared=declared,
        stated={name: found[name].requires or () for name in away & found.keys()},
    )


def _folder(record: Record, context: Context) -> Path:
    return Path(record.source.path).parent if record.source.path else context.store.work


def _locked(source: Source, context: Context, markers: Mapping[str, str]) -> list[_Locked]:
    """Read what a source's lock has for every system; nothing where there is none."""
    if read_lock(source) is None:
        return []
    text = environments.export(source, context=context, form=Form.PYLOCK, hashes=False)
    found = []
    for package in tomllib.loads(text).get("packages", ()):
        marker, version = package.get("marker"), str(package.get("version", ""))
        index = package.get("index")
        each = _Locked(
            name=canonicalize_name(package["name"]),
            version=version,
            marker=marker,
            index=None if index is None else without_user(index),
            from_index=bool(version) and not {"vcs", "directory", "archive"} & package.keys(),
            is_here=marker is None or Marker(marker).evaluate(dict(markers)),
        )
        found.append(each)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packing:
    """What decides how each distribution travels.

    :param as_wheels: names of what is sent as a wheel, wherever it came from
    :param markers: name and version → for which systems a lock has it, those of this one alone
    """

    context: Context
    record: Record
    places: Places
    built: Path
    as_wheels: frozenset[str]
    markers: Mapping[tuple[str, str], str | None]

    def parcel(self, name: str, distribution: Distribution) -> Parcel:
        """Pin one, or make its wheel.

        :raises ScriptEnvError: if it comes from no index, and no wheel can be made of it
        """
        version = distribution.version
        marker = self.markers.get((name, version))
        told = distribution.read_text("direct_url.json")
        must = name in self.as_wheels or told is not None or self.places.has_file(name, version)
        if not must:
            index = self.places.explicit.get(name)
            return Parcel(name=name, version=version, marker=marker, index=index)
        try:
            wheel = wheel_of(distribution, build=self._build, folder=self.built)
        except OSError as error:
            msg = f"No wheel of {name} could be made: {error.strerror}."
            raise EngineFailed(msg) from error
        return Parcel(name=name, version=version, marker=marker, wheel=wheel)

    def _build(self, project: Path, folder: Path) -> Path:
        """Build the wheel of a project, as far as the policy lets it be."""
        record, here = self.record, _folder(self.record, self.context)
        toml = record.block or ""
        options = resolver_options(policy.current(), Choosing(), toml=toml, folder=here, lock=None)
        return built_wheel(self.context, project, folder, options, python=record.python)
