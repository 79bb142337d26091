"""Whether an archive fits this machine: its Python, its system, its policy; and is what it says."""

from __future__ import annotations

import contextlib
from pathlib import Path

from packaging.tags import platform_tags

from ipy_scriptenv import interpreters, policy
from ipy_scriptenv.environments.allowed import limits, refuse_forbidden, refuse_place
from ipy_scriptenv.environments.extracting import Opened
from ipy_scriptenv.environments.manifests import Kind, Manifest, PackedPython
from ipy_scriptenv.environments.resolving import folder_of
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.wanted import Wanted
from ipy_scriptenv.errors import BadArchive, NoPython, NotPortable, PolicyViolation
from ipy_scriptenv.files import entries, read_regular
from ipy_scriptenv.kernels.wholeness import damaged_packages
from ipy_scriptenv.metadata import locked_before
from ipy_scriptenv.record import Package, Python, Source

__all__ = ["check_packages", "check_system", "fitting_python", "hold_against_policy", "lies"]


def lies(found: Opened, reason: str) -> BadArchive:
    """Say that an archive is not what it says."""
    return BadArchive(f"`{found.path}` cannot be unpacked: {reason}.")


def check_packages(found: Opened, site: Path, packages: tuple[Package, ...]) -> None:
    """Check that what was unpacked is whole, what the manifest tells, and fit for this system.

    :raises BadArchive: if it is something else
    :raises NotPortable: as :func:`check_system`
    """
    # uv installs wheels whose list of files is not in order, too.
    damaged = damaged_packages(site) if found.manifest.kind is Kind.ENVIRONMENT else ()
    if damaged:
        raise lies(found, f"files of {', '.join(damaged[:5])} are missing in it")
    if sorted(map(_key, packages)) != sorted(map(_key, found.manifest.packages)):
        raise lies(found, "it holds other packages than it tells")
    check_system(site)


def check_system(site: Path) -> None:
    """Check that the packages in a folder are fit for this system.

    :raises NotPortable: if it is too old for them, or another one
    """
    here = set(platform_tags())
    for entry in entries(site):
        if not entry.name.endswith(".dist-info"):
            continue
        needed = _platforms(Path(entry.path) / "WHEEL")
        if needed and not needed & {*here, "any"}:
            name = entry.name.partition("-")[0]
            msg = f"`{name}` in the archive is for {' or '.join(sorted(needed))}: not this system."
            raise NotPortable(msg, hint="Pack it on a machine that is like this one, or older.")


def _key(package: Package) -> tuple[str, str]:
    return package.name, package.version


def _platforms(wheel: Path) -> set[str]:
    """Name the platforms that a distribution's wheel was for, as its tags tell them."""
    try:
        lines = read_regular(wheel, limit=1 << 20).decode("utf-8", "replace").splitlines()
    except OSError:
        return set()
    tags = (line.partition(":")[2].strip() for line in lines if line.startswith("Tag:"))
    return {platform for tag in tags for platform in tag.rpartition("-")[2].split(".")}


def hold_against_policy(found: Opened, source: Source) -> None:
    """Check an archive against the administrator's policy: where it is, and what it is made of.

    :raises PolicyViolation: if that is not allowed
    """
    allowed, lock = policy.current(), found.lock
    refuse_place(allowed, found.path)
    refuse_forbidden(allowed, toml=found.manifest.block, folder=folder_of(source), lock=lock)
    if allowed.exclude_newer is None:
        return
    made_for = None if lock is None else locked_before(lock)
    if made_for is None or limits(allowed, exclude_newer=made_for)[-1] != made_for:
        msg = "The administrator's policy sets a date, and the archive has no lock made for it."
        raise PolicyViolation(msg, hint="Lock with that date, then pack: `--exclude-newer DATE`.")


def fitting_python(
    context: Context, manifest: Manifest, wanted: Wanted, *, request: str | None
) -> Python:
    """Find the interpreter for an archive on this machine; nothing is downloaded.

    :raises NoPython: naming the archive's Python and this machine's
    """
    packed, uv = manifest.python, context.uv()
    requires = wanted.declaration.requires_python if wanted.declaration else None
    host = interpreters.host_python()
    if request is not None:
        asked = interpreters.choose(uv, request=request, requires_python=requires, configured=True)
        if asked.abi == packed.abi:
            return asked
        raise _no_python(packed, f"`--python {request}` is {asked.version} (`{asked.abi}`)")
    fitting = [host] if host.abi == packed.abi else []
    if fitting and interpreters.satisfies(host.version, requires):
        return host
    known = interpreters.newest_first(uv.pythons(configured=True))
    for each in known:
        if each.version.startswith(f"{packed.minor}."):
            with contextlib.suppress(NoPython):
                found = interpreters.inspect_python(Path(each.path))
                fitting += [found] if found.abi == packed.abi else []
                if found.abi == packed.abi and interpreters.satisfies(found.version, requires):
                    return found
    if fitting:
        raise _no_python(packed, f"the block requires `{requires}`")
    versions = ", ".join(dict.fromkeys([host.version, *(each.version for each in known)]))
    raise _no_python(packed, f"this machine has {versions} (`{host.abi}`)")


def _no_python(packed: PackedPython, here: str) -> NoPython:
    msg = f"The archive is for Python {packed.minor} (`{packed.abi}`), and {here}."
    hint = f"Install it (`uv python install {packed.minor}`), or pack it on such a machine."
    return NoPython(msg, hint=hint)
