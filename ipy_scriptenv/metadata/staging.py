"""Write a block anew for a place other than its source's folder.

uv is given blocks in a folder of ours, so every path that it would take as relative to the source
is made absolute. Which settings hold paths was tried with uv 0.13; any other stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import tomli_w

from ipy_scriptenv.metadata.declaration import read_toml
from ipy_scriptenv.metadata.references import (
    absolute_location,
    absolute_path,
    absolute_requirement,
    joined,
    referred_path,
)

__all__ = ["added_block", "local_paths", "located_block", "staged_block", "uv_settings"]

_REQUIREMENTS = frozenset(
    {
        "build-constraint-dependencies",
        "constraint-dependencies",
        "dependency-metadata",
        "extra-build-dependencies",
        "override-dependencies",
        "upgrade-package",
    }
)
_LOCATIONS = frozenset({"extra-index-url", "find-links", "index-url"})

_Change = Callable[[str, PurePath], str]


def staged_block(toml: str, *, folder: PurePath, add: tuple[str, ...] = ()) -> str:
    """Give the content of a block as uv is to read it in another folder.

    Paths in ``tool.uv`` (of sources, indexes, ``find-links`` and ``cache-dir``) and in direct
    references (``name @ ./path``) become absolute. Where nothing changes, *toml* is given back as
    it is; otherwise it is written anew, without its comments.

    :param toml: a text that ``read_declaration`` accepts
    :param folder: the source's folder, absolute
    :param add: further requirements, appended to ``dependencies``
    :raises BadBlock: if *toml* is no TOML
    :raises ValueError: if *folder* is relative
    """
    _refuse_relative(folder)
    tables = read_toml(toml)
    staged = dict(tables)
    if "dependencies" in tables or add:
        dependencies = [*tables.get("dependencies", ()), *add]
        staged["dependencies"] = _changed(dependencies, absolute_requirement, folder)
    uv = _uv(tables)
    if uv:
        settings = {key: _staged_setting(key, value, folder) for key, value in uv.items()}
        staged["tool"] = {**tables["tool"], "uv": settings}
    return toml if staged == tables else tomli_w.dumps(staged)


def added_block(toml: str, *, folder: PurePath, add: tuple[str, ...], pins: tuple[str, ...]) -> str:
    """Give a block for what is to be installed beside what a lock has installed.

    :param toml: the source's, whose settings of uv hold, but for its sources
    :param folder: the source's, absolute
    :param add: all that it requires
    :param pins: requirements of what is there, which must stay
    :raises BadBlock: if *toml* is no TOML
    """
    tables = read_toml(staged_block(toml, folder=folder))
    settings = {key: value for key, value in _uv(tables).items() if key != "sources"}
    constraints = [*settings.get("constraint-dependencies", ()), *pins]
    uv = {**settings, "constraint-dependencies": constraints}
    return tomli_w.dumps({**tables, "dependencies": list(add), "tool": {"uv": uv}})


def located_block(toml: str, *, folder: PurePath) -> tuple[str, dict[str, str]]:
    """Give a block as uv is to read it in its source's own folder, called from another.

    uv takes most paths from the script's folder, but from the folder of the call that of an index
    which a source names, and ``cache-dir``. The second of the answer is each path that was made
    absolute, with how it was written.

    :param toml: a text that ``read_declaration`` accepts
    :param folder: the source's folder, absolute
    :raises BadBlock: if *toml* is no TOML
    """
    tables = read_toml(toml)
    uv = _uv(tables)
    indexes = uv.get("index")
    urls = [
        index["url"]
        for index in (indexes if isinstance(indexes, list) else [indexes])
        if isinstance(index, dict) and isinstance(index.get("url"), str)
    ]
    places = {absolute_location(url, folder): url for url in urls}
    places |= {absolute_path(text, folder): text for text in _strings(uv.get("cache-dir"))}
    written = {place: url for place, url in places.items() if place != url}
    settings = {
        key: _staged_setting(key, value, folder) if key in {"cache-dir", "index"} else value
        for key, value in uv.items()
    }
    if settings == uv:
        return toml, written
    return tomli_w.dumps({**tables, "tool": {**tables["tool"], "uv": settings}}), written


def local_paths(toml: str, *, folder: PurePath) -> tuple[PurePath, ...]:
    """Give the folders and files that the requirements and the sources of a block refer to.

    They are absolute, each once; whether they exist is not asked. Indexes are not among them.

    :param toml: a text that ``read_declaration`` accepts
    :param folder: the source's folder, absolute
    :raises BadBlock: if *toml* is no TOML
    :raises ValueError: if *folder* is relative
    """
    _refuse_relative(folder)
    tables = read_toml(toml)
    uv = _uv(tables)
    requirements = [tables.get("dependencies"), *(uv.get(key) for key in sorted(_REQUIREMENTS))]
    paths = [referred_path(text, folder) for text in _strings(requirements)]
    paths += (joined(path, folder) for path in _source_paths(uv.get("sources")))
    return tuple(dict.fromkeys(path for path in paths if path is not None))


def uv_settings(toml: str | None) -> dict[str, Any]:
    """Give the ``tool.uv`` table of a block but for its sources; empty where there is none.

    :raises BadBlock: if *toml* is no TOML
    """
    uv = _uv(read_toml(toml)) if toml else {}
    return {key: value for key, value in uv.items() if key != "sources"}


def _refuse_relative(folder: PurePath) -> None:
    if not folder.is_absolute():
        raise ValueError(f"The folder `{folder}` is not absolute.")


def _uv(tables: dict[str, Any]) -> dict[str, Any]:
    """Give the ``tool.uv`` table; an empty one where it has another shape, which uv will tell."""
    tool = tables.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    return uv if isinstance(uv, dict) else {}


def _staged_setting(key: str, value: Any, folder: PurePath) -> Any:
    if key in _REQUIREMENTS:
        return _changed(value, absolute_requirement, folder)
    if key in _LOCATIONS:
        return _changed(value, absolute_location, folder)
    if key == "cache-dir":
        return _changed(value, absolute_path, folder)
    if key == "index":
        return _changed_under("url", value, absolute_location, folder)
    if key == "sources" and isinstance(value, dict):
        return {
            name: _changed_under("path", source, absolute_path, folder)
            for name, source in value.items()
        }
    return value


def _changed(value: Any, change: _Change, folder: PurePath) -> Any:
    """Change every string in *value*."""
    if isinstance(value, str):
        return change(value, folder)
    if isinstance(value, list):
        return [_changed(item, change, folder) for item in value]
    if isinstance(value, dict):
        return {key: _changed(item, change, folder) for key, item in value.items()}
    return value


def _changed_under(key: str, value: Any, change: _Change, folder: PurePath) -> Any:
    """Change the string under *key* in a table, or in each table of a list."""
    if isinstance(value, list):
        return [_changed_under(key, item, change, folder) for item in value]
    if isinstance(value, dict) and isinstance(value.get(key), str):
        return {**value, key: change(value[key], folder)}
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _source_paths(sources: Any) -> Iterator[str]:
    """Give each ``path`` of ``tool.uv.sources``; a source may be a table or a list of tables."""
    for source in sources.values() if isinstance(sources, dict) else ():
        for table in source if isinstance(source, list) else [source]:
            if isinstance(table, dict) and isinstance(table.get("path"), str):
                yield table["path"]
