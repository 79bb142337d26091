"""What ``pip`` changed past the block, and the line of ``%scriptenv`` that records it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.metadata import read_declaration
from ipy_scriptenv.record import Package, Record

__all__ = ["places", "unrecorded"]


def unrecorded(
    argv: Sequence[str],
    before: Iterable[Package],
    after: Iterable[Package],
    *,
    record: Record,
    site: Path,
) -> str:
    """Tell what a call of ``pip`` changed, a line each for what came and what went.

    What came along for the sake of something else is not named: it needs no record of its own. What
    goes and was never recorded is not either.

    :param argv: the call; what was asked for stands in it
    :param before: what was installed before it, and *after*
    :param site: the environment's packages
    """
    old, new = ({each.name: each.version for each in packages} for packages in (before, after))
    came = {name for name, version in new.items() if old.get(name) != version}
    went = (old.keys() - new.keys()) & {package.name for package in record.packages}
    lines = []
    if came:
        asked = {_name(word): word for word in argv if _name(word) in came}
        roots = dict.fromkeys([*asked, *sorted(came - _required(site, came) - asked.keys())])
        lines.append(_line(list(roots) or sorted(came), "installed", _adding(site, roots, asked)))
    if went:
        declared = sorted(went & _declared(record))
        removing = [f"%scriptenv remove {' '.join(declared)}"] if declared else []
        lines.append(_line(sorted(went), "removed", removing))
    return "".join(lines)


def _line(names: Sequence[str], done: str, recording: Sequence[str]) -> str:
    more = f" To record it: {' and '.join(recording)}" if recording else ""
    return (
        f"note: {', '.join(names)} {done}, not recorded in the block: the next exact sync undoes "
        f"it.{more}\n"
    )


def _adding(site: Path, names: Iterable[str], asked: dict[str, str]) -> list[str]:
    """Give the lines that add *names*: as they were asked for, or from where they came."""
    words, lines = [], []
    found = places(site)
    for name in names:
        place, editable = found.get(name, ("", False))
        word = shlex.quote(asked.get(name, place or name))
        if editable:
            lines.append(f"%scriptenv add --editable {word}")
        else:
            words.append(word)
    return [*([f"%scriptenv add {' '.join(words)}"] if words else []), *lines]


def places(site: Path) -> dict[str, tuple[str, bool]]:
    """Say from where each distribution came that no index gave, and whether it is editable.

    An index may have another one of the same name. See PEP 610.
    """
    found: dict[str, tuple[str, bool]] = {}
    for distribution in metadata.distributions(path=[str(site)]):
        try:
            told = json.loads(distribution.read_text("direct_url.json") or "")
            url = str(told["url"])
            name = canonicalize_name(distribution.metadata["Name"])
            if url.startswith("file:"):
                place = url2pathname(urlsplit(url).path)
            else:
                vcs = told.get("vcs_info", {}).get("vcs")
                place = f"{name} @ {f'{vcs}+' if vcs else ''}{without_credentials(url)}"
            found[name] = (place, bool(told.get("dir_info", {}).get("editable")))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _declared(record: Record) -> set[str]:
    try:
        declaration = read_declaration(record.block or "")
    except ScriptEnvError:
        return set()
    return {canonicalize_name(each.name) for each in declaration.requirements}


def _name(word: str) -> str:
    try:
        return canonicalize_name(Requirement(word).name)
    except InvalidRequirement:
        return ""


def _required(site: Path, names: Collection[str]) -> set[str]:
    """Give what the distributions *names* require."""
    found = set()
    for distribution in metadata.distributions(path=[str(site)]):
        if canonicalize_name(distribution.metadata["Name"]) in names:
            found |= {_name(text) for text in distribution.requires or ()}
    return found
