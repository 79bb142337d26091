"""Where a block says that packages come from, as far as another machine can reach it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from ipy_scriptenv.kernel_side.cluster.shipment import Indexes
from ipy_scriptenv.metadata import read_toml, staged_block

__all__ = ["Places", "places_of", "without_user"]

_USER = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The indexes of a block.

    :param explicit: name of a package → the one index that it comes from here
    :param elsewhere: every index that the block names for a package, on any system
    :param local: folders of this machine
    :param warnings: sentences about credentials that were left out
    """

    indexes: Indexes = field(default_factory=Indexes)
    explicit: Mapping[str, str] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    local: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def has_file(self, name: str, version: str) -> bool:
        """Say whether a folder of this machine has a file of that version."""
        project = re.sub("[-_.]+", "[-_.]+", re.escape(name).replace("\\-", "-"))
        wanted = re.compile(rf"(?i){project}-{re.escape(version)}(-.*\.whl|\.tar\.gz|\.zip)")
        return any(
            wanted.fullmatch(file.name)
            for folder in self.local
            for place in (folder, folder / name)
            if place.is_dir()
            for file in place.iterdir()
        )


def places_of(toml: str, *, folder: PurePath, markers: Mapping[str, str]) -> Places:
    """Read the indexes of a block; its credentials are left out, and that is told.

    :param toml: the content of a block
    :param folder: where relative paths in it start, absolute
    :param markers: what decides which index of several a package comes from
    """
    uv = read_toml(staged_block(toml, folder=folder)).get("tool", {}).get("uv", {})
    tables = [each for each in uv.get("index", ()) if isinstance(each, dict) and "url" in each]
    named = {each["name"]: each["url"] for each in tables if "name" in each}
    default = [each["url"] for each in tables if each.get("default")]
    default += [uv["index-url"]] if "index-url" in uv else []
    more = [each["url"] for each in tables if not each.get("default") and not each.get("explicit")]
    more += uv.get("extra-index-url", ())
    flat = [each["url"] for each in tables if each.get("format") == "flat"]
    links = [each["url"] for each in tables if each["url"] in flat and not each.get("explicit")]
    links += uv.get("find-links", ())
    sources = [*_sources(uv.get("sources", {}), named)]
    explicit: dict[str, str] = {}
    for name, marker, url in sources:
        if marker is None or _holds(marker, markers):
            explicit.setdefault(name, url)
    every = [*default, *more, *links, *(url for _, _, url in sources)]
    return Places(
        indexes=Indexes(
            default=next((without_user(url) for url in default if _is_remote(url)), None),
            more=tuple(without_user(url) for url in more if _is_remote(url) and url not in flat),
            find_links=tuple(without_user(url) for url in links if _is_remote(url)),
            pages=tuple(without_user(url) for url in flat if _is_remote(url)),
            no_index=bool(uv.get("no-index", False)),
            strategy=uv.get("index-strategy"),
        ),
        explicit={name: without_user(url) for name, url in explicit.items() if _is_remote(url)},
        elsewhere=frozenset(without_user(url) for _, _, url in sources if _is_remote(url)),
        local=tuple(dict.fromkeys(_path(url) for url in every if not _is_remote(url))),
        warnings=tuple(
            f"The credentials of {without_user(url)} stay here. Give them to the workers in a "
            "`.netrc`, or send what comes from there as wheels: wheels=[…]."
            for url in dict.fromkeys(every)
            if _is_remote(url) and _has_credentials(url)
        ),
    )


def _sources(sources: Any, named: Mapping[str, str]) -> Iterator[tuple[str, str | None, str]]:
    """Say which package a block takes from which index alone, and on which systems."""
    for name, value in sources.items() if isinstance(sources, dict) else ():
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, dict) and table.get("index") in named:
                yield canonicalize_name(name), table.get("marker"), named[table["index"]]


def _holds(marker: str, markers: Mapping[str, str]) -> bool:
    try:
        return bool(Marker(marker).evaluate(dict(markers)))
    except InvalidMarker:
        return False


def _is_remote(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


def _has_credentials(url: str) -> bool:
    return _USER.search(url) is not None


def without_user(url: str) -> str:
    """Give the address of an index without its credentials."""
    return _USER.sub("", url)


def _path(url: str) -> Path:
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(url)
