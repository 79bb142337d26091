"""What to do, decided from values alone: fingerprints, conflicts with the layer, restarts."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ipy_scriptenv.record import FileStat, Package

__all__ = [
    "Loaded",
    "Selected",
    "Selection",
    "environment_state",
    "fingerprint",
    "layer_conflicts",
    "marker_environment",
    "select_block",
    "unmet",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a running kernel has imported, as paths relative to the folder of packages.

    One path for each package, such as ``six.py`` or ``google/cloud/storage/__init__.py``.

    :param environment: from the environment
    :param layer: from the kernel layer
    """

    environment: frozenset[str] = frozenset()
    layer: frozenset[str] = frozenset()


class Selected(enum.Enum):
    """Where the text of a block comes from."""

    FILE = "file"
    PENDING = "pending"
    RECORD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which text decides at a start."""

    source: Selected
    block: str | None = None


def select_block(
    *,
    recorded_stat: FileStat | None,
    found_stat: FileStat | None,
    block: str | None,
    pending: str | None,
    has_record: bool,
) -> Selection:
    """Choose the text of a start (``docs/contract.md``, *Which text of the block?*).

    The file, if its stat differs from the recorded one; otherwise what was refused because a
    restart was needed; otherwise the record's block, so that what was executed but not saved
    stands.
    """
    changed = found_stat is not None and found_stat != recorded_stat
    if changed or not has_record:
        return Selection(source=Selected.FILE)
    if pending is not None:
        return Selection(source=Selected.PENDING, block=pending)
    return Selection(source=Selected.RECORD, block=block)


def fingerprint(
    *,
    block: str | None,
    lock_sha256: str | None,
    python_request: str | None,
    settings: str,
    config: Mapping[str, str],
    local: Mapping[str, FileStat | None],
) -> str:
    """Digest everything that decides what an environment should hold.

    :param settings: digest of the environment variables that decide
    :param config: digest of each of the user's uv configuration files that is there
    :param local: stat of the build files of each local source
    """
    parts = [
        block,
        lock_sha256,
        python_request,
        settings,
        sorted(config.items()),
        sorted(local.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def layer_conflicts(
    *,
    packages: Mapping[str, str],
    requires: Mapping[str, Iterable[str]],
    installed: Iterable[Package],
) -> tuple[str, ...]:
    """Name what inside the layer is broken by the environment's own packages.

    On the path the environment wins. A distribution of the layer that the environment has too is
    shadowed, and its requirements are the environment's affair; all others must find what they
    require, in a version that they accept. An ipykernel in the environment is always used.

    :param packages: versions in the layer
    :param requires: what each distribution of the layer requires
    :returns: sentences such as ``ipykernel requires traitlets>=5.4, the environment has 4.3.3``
    """
    own = {package.name: package.version for package in installed}
    if "ipykernel" in own:
        return (f"the environment has its own ipykernel {own['ipykernel']}",)
    found = []
    for name, texts in requires.items():
        if name in own:
            continue
        for text in texts:
            requirement = Requirement(text)
            required = canonicalize_name(requirement.name)
            version = own.get(required)
            if version is not None and not requirement.specifier.contains(
                version, prereleases=True
            ):
                who = f"{name} {packages.get(name, '')}"
                found.append(f"{who} requires {text}, the environment has {version}")
    return tuple(found)


def marker_environment(python_version: str) -> dict[str, str]:
    """Give what markers are decided by, for another Python on this machine.

    :param python_version: its full version
    """
    minor = ".".join(python_version.split(".")[:2])
    return {
        **cast("dict[str, str]", default_environment()),
        "python_version": minor,
        "python_full_version": python_version,
        "implementation_version": python_version,
        "extra": "",
    }


def unmet(
    requirements: Iterable[str], versions: Mapping[str, str], *, markers: dict[str, str]
) -> tuple[str, ...]:
    """Name the requirements that a loaded version fails.

    :param requirements: PEP 508 texts; those with a marker that does not hold are passed over
    :param versions: loaded version of each distribution; requirements on others are passed over
    :param markers: see :func:`marker_environment`
    """
    found = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate(markers):
            continue
        version = versions.get(canonicalize_name(requirement.name))
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{text} (loaded: {version})")
    return tuple(dict.fromkeys(found))


def environment_state(*, broken: str | None, pending: bool, in_sync: bool) -> tuple[str, str]:
    """Name the state of a standing environment, and the reason in a sentence."""
    if broken is not None:
        return "broken", broken
    if pending:
        return "pending", "A change waits for the kernel's next start."
    if not in_sync:
        return "stale", "The source asks for something else than is installed."
    return "in-sync", ""
