"""Which interpreter an environment is made from.

The order (``docs/contract.md``, *Which Python?*): the request of this call; the record's request
until it contradicts requires-python; a standing environment's Python if it satisfies; the host's
own base interpreter if it satisfies; the newest on the machine that does.
"""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ipy_scriptenv import processes, settings
from ipy_scriptenv.errors import Interrupted, NoPython, Problem, ScriptEnvError, WrongCall
from ipy_scriptenv.files import read_regular
from ipy_scriptenv.record import Python
from ipy_scriptenv.uv import Interpreter, Uv

__all__ = [
    "OLDEST",
    "choose",
    "fetch",
    "fetchable",
    "host_python",
    "inspect_python",
    "newest_first",
    "satisfies",
]

_LARGEST = 1 << 20
OLDEST = Version("3.9")
"""The oldest Python that a kernel of ours runs on."""

_QUESTION = (
    "import json,platform,sys,sysconfig;"
    "print(json.dumps([platform.python_version(),sys.implementation.name,"
    "sysconfig.get_config_var('EXT_SUFFIX')or'',platform.machine(),"
    "sys.prefix==sys.base_prefix]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an interpreter must satisfy: a request of the user, and the source's requires-python."""

    request: str | None
    requires_python: SpecifierSet | None

    def __str__(self) -> str:
        parts = []
        if self.request is not None:
            parts.append(f"`--python {self.request}`")
        if self.requires_python is not None:
            parts.append(f"requires-python `{self.requires_python}`")
        return " and ".join(parts) or f"Python {OLDEST} or newer"


def satisfies(version: str, specifiers: SpecifierSet | None) -> bool:
    """Say whether a Python version is in a range; pre-releases count as what they lead to."""
    return specifiers is None or specifiers.contains(version, prereleases=True)


def host_python() -> Python:
    """Describe the interpreter behind the one that runs this code; no process is started."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Python(
        request=None,
        version=_released(platform.python_version()),
        base=str(base),
        abi=_abi(sysconfig.get_config_var("EXT_SUFFIX") or "", platform.machine()),
    )


def inspect_python(path: Path, *, request: str | None = None) -> Python:
    """Describe an interpreter by asking it; it runs isolated, without site packages.

    :raises NoPython: if it does not run, is too old, or is that of a virtual environment
    """
    try:
        finished = processes.run(
            [str(path), "-I", "-S", "-c", _QUESTION],
            cwd=Path(path.anchor),
            env=settings.child_environment(),
        )
        told, implementation, suffix, machine, is_base = json.loads(finished.out)
        version = _released(told)
    except (OSError, ValueError) as error:
        msg = f"The interpreter `{path}` does not run."
        raise NoPython(msg) from error
    if not is_base or _in_virtual_environment(path):
        msg = f"The interpreter `{path}` belongs to a virtual environment."
        raise NoPython(msg, hint="Name the interpreter that it was made from.")
    if Version(version) < OLDEST or implementation != "cpython":
        found = f"{implementation} {version}"
        msg = f"The interpreter `{path}` is {found}; kernels need CPython {OLDEST}."
        raise NoPython(msg)
    return Python(request=request, version=version, base=str(path), abi=_abi(suffix, machine))


def choose(
    uv: Uv,
    *,
    request: str | None,
    requires_python: SpecifierSet | None,
    configured: bool,
) -> Python:
    """Find an interpreter on this machine; nothing is downloaded.

    :param request: a version, a range, a name or an absolute path
    :param configured: whether the user's uv configuration counts; not before a cell runs
    :raises NoPython: if there is none
    """
    wanted = Wanted(request=request, requires_python=requires_python)
    if request is not None and _range(request) is None:
        return _named(uv, request, wanted)
    ranges = [each for each in (_range(request or ""), requires_python) if each is not None]
    host = host_python()
    if _fits(host.version, ranges) and not _in_virtual_environment(Path(host.base)):
        return Python(request=request, version=host.version, base=host.base, abi=host.abi)
    for found in newest_first(uv.pythons(configured=configured)):
        if _fits(found.version, ranges):
            try:
                return inspect_python(Path(found.path), request=request)
            except NoPython:
                continue
    msg = f"No Python on this machine satisfies {wanted}."
    raise NoPython(msg)


def fetch(uv: Uv, *, request: str | None, requires_python: SpecifierSet | None) -> Python:
    """Have uv fetch an interpreter, then find it; only after a user has run a cell or a command.

    :raises NoPython: if there is nothing to fetch, or that fails; uv's words are its problem
    """
    asked = fetchable(request, requires_python)
    wanted = Wanted(request=request, requires_python=requires_python)
    if asked is None:
        msg = f"No Python can satisfy {wanted}."
        raise NoPython(msg, hint="Ask for another Python, or change requires-python.")
    if _downloads() in ("manual", "never", "false"):
        msg = f"No Python on this machine satisfies {wanted}, and uv may not fetch one by itself."
        raise NoPython(msg, hint=f"Fetch one: `uv python install '{asked}'`.")
    try:
        uv.install_python(asked)
    except Interrupted:
        raise
    except ScriptEnvError as error:
        msg = f"No Python on this machine satisfies {wanted}, and none could be fetched."
        problems = error.problems or (Problem(message=str(error)),)
        raise NoPython(msg, problems=problems) from error
    return choose(uv, request=request, requires_python=requires_python, configured=True)


def _downloads() -> str | None:
    """Give what the user has set uv's ``python-downloads`` to: a variable, or the first file."""
    chosen = settings.variable("UV_PYTHON_DOWNLOADS")
    if chosen or settings.variable("UV_NO_CONFIG"):
        return chosen
    for path in settings.config_files():
        try:
            value = tomllib.loads(read_regular(path, limit=_LARGEST).decode())["python-downloads"]
        except (OSError, ValueError, KeyError):
            continue
        return str(value).lower()
    return None


def fetchable(request: str | None, requires_python: SpecifierSet | None) -> str | None:
    """Say which range uv could fetch an interpreter for; ``None`` if no release can be in it.

    An interpreter that is asked for by path or name is there or it is not.
    """
    ranges = [SpecifierSet(f">={OLDEST}")]
    if request is not None:
        asked = _range(request)
        if asked is None:
            return None
        ranges.append(asked)
    if requires_python is not None:
        ranges.append(requires_python)
    releases = (f"3.{minor}.{patch}" for minor in range(9, 30) for patch in range(60))
    if not any(_fits(release, ranges) for release in releases):
        return None
    return ",".join(str(each) for each in ranges)


def _named(uv: Uv, request: str, wanted: Wanted) -> Python:
    path = Path(request)
    if not path.is_absolute():
        if len(path.parts) > 1:
            msg = f"`--python {request}` is a relative path."
            raise WrongCall(msg, hint="Give a version, or the interpreter's absolute path.")
        found = uv.find_python(request)
        if found is None:
            msg = f"No Python on this machine satisfies {wanted}."
            raise NoPython(msg)
        path = found
    python = inspect_python(path, request=request)
    if not satisfies(python.version, wanted.requires_python):
        msg = f"`{path}` is Python {python.version}, which does not satisfy {wanted}."
        raise NoPython(msg, hint="Ask for another Python, or change requires-python.")
    return python


def _range(request: str) -> SpecifierSet | None:
    """Read a request as a range: ``3.12`` means ``==3.12.*``; ``None`` if it is something else."""
    try:
        version = Version(request)
    except InvalidVersion:
        pass
    else:
        exact = len(version.release) > 2 or version.is_prerelease  # noqa: PLR2004 - major.minor.patch
        return SpecifierSet(f"=={request}" if exact else f"=={request}.*")
    try:
        return SpecifierSet(request) if request else None
    except InvalidSpecifier:
        return None


def _fits(version: str, ranges: Iterable[SpecifierSet]) -> bool:
    return Version(version) >= OLDEST and all(satisfies(version, each) for each in ranges)


def newest_first(found: Iterable[Interpreter]) -> list[Interpreter]:
    """Give those that environments can be made from; pre-releases come behind all releases."""
    usable = [
        each
        for each in found
        if each.implementation == "cpython"
        and each.variant == "default"
        and not _in_virtual_environment(Path(each.path))
    ]
    versions = {each.version: Version(each.version) for each in usable}
    return sorted(
        usable,
        key=lambda each: (not versions[each.version].is_prerelease, versions[each.version]),
        reverse=True,
    )


def _released(version: str) -> str:
    """Give a version as uv tells it too: of a Python built between releases, without the ``+``."""
    return version.removesuffix("+")


def _in_virtual_environment(path: Path) -> bool:
    return (path.parent.parent / "pyvenv.cfg").exists() or (path.parent / "pyvenv.cfg").exists()


def _abi(suffix: str, machine: str) -> str:
    """Name an ABI by the file ending of its extension modules, and the machine if that lacks it."""
    name = suffix.strip(".").rsplit(".", 1)[0] or f"cp{sys.version_info[0]}{sys.version_info[1]}"
    machine = machine.lower()
    known = machine in name or (machine == "amd64" and "win" in name)
    return name if known or not machine else f"{name}-{machine}"
