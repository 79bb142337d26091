"""The wheels of what a lock has installed: fetched as locked, or built where there are none.

uv resolves, installs and builds, but gives no wheels away. A lock of uv's tells where each file is
and its hash, so that fetching is all that is left.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)

from ipy_scriptenv import policy
from ipy_scriptenv.downloading import Login, download, logins
from ipy_scriptenv.environments.contents import Distribution
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.errors import InstallFailed, Interrupted, NotPortable, PolicyViolation
from ipy_scriptenv.files import explained
from ipy_scriptenv.metadata import read_toml
from ipy_scriptenv.plan import marker_environment
from ipy_scriptenv.record import Python

__all__ = ["built_wheel", "gathered_wheels"]

_PROJECTS = ("directory", "editable", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Locked:
    """A file that a lock names.

    :param place: address, or absolute path
    :param digest: by *algorithm*, hexadecimal; ``None``: the lock tells none
    """

    name: str
    place: str
    algorithm: str
    digest: str | None


def gathered_wheels(
    lock: bytes,
    wanted: Iterable[Distribution],
    *,
    block: str,
    context: Context,
    python: Python,
    scratch: Path,
    options: Sequence[str],
) -> tuple[Path, ...]:
    """Put one wheel for each distribution into a folder.

    :param lock: with absolute paths
    :param block: the source's, which may hold the credentials of an index
    :param scratch: an empty folder
    :param options: of uv, for what has to be built
    :raises NotPortable: if the lock names nothing that a wheel can be had from
    :raises ScriptEnvError: if a file cannot be fetched or built, or is not as locked
    """
    known = logins(block)
    packages = _packages(lock, marker_environment(python.version))
    folder = scratch / "wheels"
    folder.mkdir()
    tags = _tags(python)
    found = []
    for each in wanted:
        if context.cancel.is_set:
            msg = "Packing was interrupted."
            raise Interrupted(msg)
        name = each.name
        # A version that is told by a project's build stands in no lock.
        version = canonicalize_version(each.version)
        package = packages.get((name, version)) or packages.get((name, ""))
        if package is None:
            msg = f"`{name}` {each.version} is installed, and the lock does not name it."
            raise NotPortable(msg, hint="Bring both together: `jupyter scriptenv sync SOURCE`.")
        wheel = _best(_files(package, "wheels"), tags)
        if wheel is not None:
            context.on_event({"event": "downloading", "text": f"Fetching {wheel.name}"})
            found.append(_fetched(wheel, folder, known))
            continue
        place = _buildable(package, each, scratch / "sdists", known)
        context.on_event({"event": "downloading", "text": f"Building {name} {each.version}"})
        built = built_wheel(context, place, scratch / f"built-{name}", options, python=python)
        found.append(built.rename(folder / built.name))
    return tuple(found)


def _packages(lock: bytes, markers: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Read the packages of a lock, by name and version.

    The same version may be there twice, from two indexes, each for some systems.

    :param markers: what decides which of them is for this one
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in read_toml(lock.decode(), most_bytes=None).get("package", ()):
        if isinstance(each, dict):
            name, version = str(each.get("name")), str(each.get("version", ""))
            key = canonicalize_name(name), canonicalize_version(version)
            texts = each.get("resolution-markers", [])
            if not texts or any(Marker(str(text)).evaluate(markers) for text in texts):
                found[key] = each
    return found


def built_wheel(
    context: Context, place: Path, folder: Path, options: Sequence[str], *, python: Python
) -> Path:
    """Build the wheel of a project's folder, or of a source distribution.

    :param folder: where the wheel goes, which holds none yet
    :raises PolicyViolation: if nothing may be built: ``uv build`` builds what it is given even then
    :raises ScriptEnvError: in the words of uv
    """
    if policy.current().wheels_only:
        msg = f"The administrator's policy has nothing built, and `{place.name}` has to be."
        raise PolicyViolation(msg)
    return context.uv().build(place, folder, *options, python=Path(python.base))


def _buildable(
    package: dict[str, Any], wanted: Distribution, folder: Path, known: Sequence[Login]
) -> Path:
    """Give the folder of a project, or its source distribution.

    :raises NotPortable: if there is none
    """
    source = package.get("source")
    source = source if isinstance(source, dict) else {}
    for key in _PROJECTS:
        place = source.get(key)
        if isinstance(place, str) and Path(place).exists():
            return Path(place)
    for file in _files(package, "sdist"):
        folder.mkdir(exist_ok=True)
        return _fetched(file, folder, known)
    where = "git" if "git" in source else "a place that gives no wheel"
    msg = f"`{wanted.name}` comes from {where}: uv hands out no wheel of it."
    hint = "Pack the environment itself, without --wheels, or build the wheel and declare that."
    raise NotPortable(msg, hint=hint)


def _files(package: dict[str, Any], key: str) -> Iterator[_Locked]:
    """Give the files of a package as its lock has them: uv's format, version 1."""
    source = package.get("source")
    source = source if isinstance(source, dict) else {}
    value = package.get(key)
    for file in value if isinstance(value, list) else [value]:
        if not isinstance(file, dict):
            continue
        place = file.get("url") or source.get("url") or source.get("path")
        if isinstance(file.get("path"), str) and isinstance(source.get("registry"), str):
            # A registry that is a folder: the path is relative to it.
            place = str(Path(_local(source["registry"])) / file["path"])
        if isinstance(place, str):
            name = file.get("filename") or unquote(urlsplit(place).path).rpartition("/")[2]
            algorithm, _, digest = str(file.get("hash", "")).partition(":")
            yield _Locked(name=str(name), place=place, algorithm=algorithm, digest=digest or None)


def _local(text: str) -> str:
    return unquote(urlsplit(text).path) if text.startswith("file:") else text


def _best(files: Iterable[_Locked], tags: Sequence[Tag]) -> _Locked | None:
    """Choose the wheel that fits an interpreter best; ``None`` if none does."""
    ranks = {tag: rank for rank, tag in enumerate(tags)}
    rated = []
    for file in files:
        try:
            *_, build, own = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        fitting = [ranks[tag] for tag in own if tag in ranks]
        if fitting:
            # Of equal ones, the highest build number.
            rated.append((min(fitting), [-int(n) for n in build[:1]], file.name, file))
    return min(rated)[-1] if rated else None


def _tags(python: Python) -> tuple[Tag, ...]:
    """List what fits an interpreter of this machine, the best first."""
    major, minor = (int(part) for part in python.version.split(".")[:2])
    free = "t" if f"-{major}{minor}t-" in python.abi else ""
    abis = [f"cp{major}{minor}{free}"]
    native = cpython_tags((major, minor), abis)
    return (*native, *compatible_tags((major, minor), f"cp{major}{minor}"))


def _fetched(file: _Locked, folder: Path, known: Sequence[Login]) -> Path:
    """Put a file into a folder, as its lock has it.

    :raises InstallFailed: if it is another one
    """
    target = folder / Path(file.name).name
    place = _local(file.place)
    with explained(target):
        if "://" in place:
            download(place, target, known)
        else:
            shutil.copyfile(place, target)
        is_right = file.digest is None or _digest(target, file.algorithm) == file.digest
    if not is_right:
        msg = f"`{file.name}` is not the file that the lock names: its hash is another."
        raise InstallFailed(msg, hint="Ask who keeps the index, or lock anew.")
    return target


def _digest(path: Path, algorithm: str) -> str | None:
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(cast("Any", content), algorithm).hexdigest()
    except ValueError:
        return None  # Nobody knows that algorithm here.
