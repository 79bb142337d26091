"""What a source declares against what its environment holds and its kernels use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.locks import RunningKernel
from ipy_scriptenv.metadata import Declaration
from ipy_scriptenv.record import Package, Record

__all__ = ["Drift", "Met", "Undeclared", "drift", "goes_with_a_sync", "met", "undeclared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One declared requirement, and the version that is installed for it.

    :param requirement: as written, without credentials
    :param version: ``None`` where it is not installed
    """

    requirement: str
    name: str
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A distribution that is not as the last sync left it.

    :param version: what is installed; ``None``: it was removed by hand
    :param synced: what the sync had installed; ``None``: it was installed by hand
    """

    name: str
    version: str | None
    synced: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeclared:
    """A module that the user's code took from the kernel layer, and its distribution."""

    module: str
    name: str


def met(declaration: Declaration, installed: Iterable[Package]) -> tuple[Met, ...]:
    """Give the installed version of each declared requirement, in the order of the block."""
    versions = {package.name: package.version for package in installed}
    pairs = zip(declaration.dependencies, declaration.requirements, strict=True)
    return tuple(
        Met(
            requirement=without_credentials(text),
            name=canonicalize_name(requirement.name),
            version=versions.get(canonicalize_name(requirement.name)),
        )
        for text, requirement in pairs
    )


def drift(record: Record | None, installed: Iterable[Package]) -> tuple[Drift, ...]:
    """Say what was changed by hand since the last sync, by name."""
    if record is None:
        return ()
    found = {package.name: package.version for package in installed}
    synced = {package.name: package.version for package in record.packages}
    return tuple(
        Drift(name=name, version=found.get(name), synced=synced.get(name))
        for name in sorted(found.keys() | synced.keys())
        if found.get(name) != synced.get(name)
    )


def goes_with_a_sync(
    declaration: Declaration, record: Record | None, installed: Iterable[Package]
) -> tuple[str, ...]:
    """Name what was installed by hand and is not declared: an exact sync removes it."""
    declared = {canonicalize_name(each.name) for each in declaration.requirements}
    return tuple(
        each.name
        for each in drift(record, installed)
        if each.synced is None and each.name not in declared
    )


def undeclared(
    kernels: Iterable[RunningKernel], installed: Iterable[Package]
) -> tuple[Undeclared, ...]:
    """Collect what running kernels took from their layers and the environment does not have."""
    own = {package.name for package in installed}
    pairs = {
        (module, canonicalize_name(name))
        for kernel in kernels
        for module, name in kernel.undeclared.items()
    }
    return tuple(
        Undeclared(module=module, name=name) for module, name in sorted(pairs) if name not in own
    )
