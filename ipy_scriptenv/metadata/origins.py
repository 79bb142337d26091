"""Where the packages of a block, of a lock or of uv's configuration would come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from ipy_scriptenv.metadata.declaration import read_toml
from ipy_scriptenv.metadata.staging import staged_block

__all__ = [
    "Origin",
    "origins_of_block",
    "origins_of_constraints",
    "origins_of_lock",
    "origins_of_settings",
]

_REQUIREMENTS = (
    "build-constraint-dependencies",
    "constraint-dependencies",
    "override-dependencies",
    "extra-build-dependencies",
    "dependency-metadata",
    "upgrade-package",
)
_PLACES = ("path", "directory", "editable", "virtual", "url", "registry", "git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An index, or the place of a single package.

    :param key: where it is said, such as ``tool.uv.index``
    :param address: URL, ``git+…`` URL or absolute path
    :param replaces_default: whether uv asks it instead of PyPI
    :param name: of an index: of several with one name uv takes the first alone
    """

    key: str
    address: str
    replaces_default: bool = False
    name: str | None = None


def origins_of_block(toml: str, *, folder: PurePath) -> tuple[Origin, ...]:
    """List the origins that a block names itself.

    :param folder: the source's folder, absolute: relative paths start there
    :raises BadBlock: if *toml* is no TOML
    """
    tables = read_toml(staged_block(toml, folder=folder))
    tool = tables.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    uv = uv if isinstance(uv, dict) else {}
    found = list(_of_requirements("dependencies", tables.get("dependencies")))
    found += origins_of_constraints(uv, prefix="tool.uv.")
    sources = uv.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        for table in source if isinstance(source, list) else [source]:
            if isinstance(table, dict):
                found += _of_source(f"tool.uv.sources.{name}", table)
    return (*found, *origins_of_settings(uv, prefix="tool.uv."))


def origins_of_settings(uv: Mapping[str, Any], *, prefix: str = "") -> tuple[Origin, ...]:
    """List the indexes in settings of uv, as a block or a ``uv.toml`` has them."""
    indexes = uv.get("index")
    found = [
        Origin(
            key=f"{prefix}index",
            address=table["url"],
            replaces_default=table.get("default") is True,
            name=name if isinstance(name := table.get("name"), str) else None,
        )
        for table in (indexes if isinstance(indexes, list) else [indexes])
        if isinstance(table, dict) and isinstance(table.get("url"), str)
    ]
    for key in ("index-url", "extra-index-url", "find-links"):
        default = key == "index-url"
        found += (
            Origin(key=f"{prefix}{key}", address=address, replaces_default=default)
            for address in _strings(uv.get(key))
        )
    pip = uv.get("pip")
    if isinstance(pip, dict) and not prefix:
        found += origins_of_settings(pip, prefix="pip.")
    return tuple(found)


def origins_of_constraints(uv: Mapping[str, Any], *, prefix: str = "") -> Iterator[Origin]:
    """Give the places of single packages that constraints, overrides and the like name.

    Those of a ``uv.toml`` count for ``uv pip`` alone.
    """
    for key in _REQUIREMENTS:
        yield from _of_requirements(f"{prefix}{key}", uv.get(key))
    pip = uv.get("pip")
    if isinstance(pip, dict) and not prefix:
        yield from origins_of_constraints(pip, prefix="pip.")


def origins_of_lock(text: str) -> tuple[Origin, ...]:
    """List the origins of all packages of a lock, and of their files.

    :raises BadBlock: if it is no TOML
    """
    tables = read_toml(text, most_bytes=None)
    packages = tables.get("package")
    found: list[Origin] = []
    for package in packages if isinstance(packages, list) else ():
        if not isinstance(package, dict):
            continue
        key = f"the lock's {package.get('name', '')}"
        source = package.get("source")
        if isinstance(source, dict):
            found += _of_source(key, source)
        wheels = package.get("wheels")
        files = [package.get("sdist"), *(wheels if isinstance(wheels, list) else ())]
        for file in files:
            found += (Origin(key=key, address=address) for address in _of_file(file))
    return tuple(found)


def _of_file(file: Any) -> Iterator[str]:
    """Give where a file of a package would come from; a path below its registry says nothing."""
    if not isinstance(file, dict):
        return
    url, path = file.get("url"), file.get("path")
    if isinstance(url, str):
        yield url
    if isinstance(path, str) and (PurePath(path).is_absolute() or ".." in PurePath(path).parts):
        yield path


def _of_requirements(key: str, value: Any) -> Iterator[Origin]:
    for text in _strings(value):
        try:
            url = Requirement(text).url
        except (InvalidRequirement, RecursionError):
            # uv may read it all the same: nobody knows what would come.
            url = text if "@" in text or "/" in text else None
        if url is not None:
            yield Origin(key=key, address=url)


def _of_source(key: str, table: Mapping[str, Any]) -> Iterator[Origin]:
    for place in _PLACES:
        address = table.get(place)
        if isinstance(address, str):
            prefix = "git+" if place == "git" and not address.startswith("git+") else ""
            yield Origin(key=key, address=prefix + address)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
