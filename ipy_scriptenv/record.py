"""The record: the small JSON file inside an environment that says what it is for and what it holds.

Pure: text and dictionaries in, frozen values out. Reading and writing the file is the store's.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

from ipy_scriptenv.errors import NewerSchema

__all__ = [
    "OWN",
    "SCHEMA",
    "FileStat",
    "Glance",
    "Host",
    "Package",
    "Python",
    "Record",
    "Source",
    "SourceKind",
]

SCHEMA = 1
OWN = "own"
"""The value of :attr:`Record.kernel` where the kernel is installed in the environment itself."""

FileStat = tuple[int, int, int]
"""Size in bytes, time of the last change in nanoseconds, inode."""


class SourceKind(enum.StrEnum):
    """What an environment can be for."""

    FILE = "file"
    URL = "url"
    TEXT = "text"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an environment is for.

    :param kind: says which of the other two is set; neither for a text and for an ephemeral one
    :param path: absolute, resolved path of the file
    :param url: address of a script
    """

    kind: SourceKind
    path: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        return self.path or self.url or f"({self.kind.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The interpreter an environment was made from.

    :param request: what was asked for with ``--python``; ``None`` where nothing was
    :param version: full version, such as ``3.12.1``
    :param base: absolute path of the interpreter, never one inside a virtual environment
    :param abi: what compiled extensions must fit, such as ``cpython-312-x86_64-linux-gnu``
    """

    request: str | None
    version: str
    base: str
    abi: str

    @property
    def minor(self) -> str:
        """Such as ``3.12``."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed distribution; the name is normalised."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A Python where this package is installed, and which uv it uses."""

    python: str
    version: str
    uv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an environment is for and what it holds (``docs/contract.md``).

    :param block: TOML of the block that is wanted; ``None`` where the source has none
    :param fingerprint: of what is installed; ``None`` before the first sync
    :param source_stat: of the file when its block was last read or found equal
    :param pending: TOML of a block that was refused because a restart is needed
    :param kernel: name of the kernel layer, or :data:`OWN`
    :param watch: files beside the source that decide too, each with its stat (``None``: absent)
    :param register: whether a kernelspec is wanted; the user may have said no
    :param settings: digest of the environment variables that decide too
    :param times: ``created`` and ``last_used``: ISO 8601, UTC
    """

    source: Source
    python: Python
    block: str | None
    kernel: str
    kernel_side: str
    hosts: tuple[Host, ...]
    uv: str
    created: str
    last_used: str
    lock_sha256: str | None = None
    fingerprint: str | None = None
    source_stat: FileStat | None = None
    pending: str | None = None
    packages: tuple[Package, ...] = ()
    watch: Mapping[str, FileStat | None] = field(default_factory=dict)
    settings: str = ""
    register: bool = True
    protocol: int = 1
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Give the text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read the text of the file.

        :raises ValueError: if it is broken
        :raises NewerSchema: if a newer version of this package wrote it
        """
        try:
            data = json.loads(text)
        except RecursionError as error:
            msg = "nested too deeply"
            raise ValueError(msg) from error
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
            msg = "no record"
            raise ValueError(msg)  # noqa: TRY004 - the text is wrong, not its type
        _refuse_newer(data["schema"])
        try:
            return cls._from_dict(data)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            msg = f"incomplete record: {error}"
            raise ValueError(msg) from error

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Record:
        known = {name: data[name] for name in cls.__slots__ if name in data}
        source = dict(known["source"])
        known["source"] = Source(**{**source, "kind": SourceKind(source["kind"])})
        known["python"] = Python(**known["python"])
        known["hosts"] = tuple(Host(**host) for host in known["hosts"])
        known["packages"] = tuple(Package(**package) for package in known.get("packages", ()))
        known["source_stat"] = _stat(known.get("source_stat"))
        known["watch"] = {path: _stat(stat) for path, stat in known.get("watch", {}).items()}
        record = cls(**known)
        _require_types(record)
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a listing needs of a record; reading no more lists thousands of them quickly.

    :param packages: how many distributions were installed
    :param synced: whether a sync has ever succeeded
    """

    source: Source
    source_stat: FileStat | None
    python_version: str
    created: str
    last_used: str
    kernel: str
    kernel_side: str
    packages: int
    pending: bool
    synced: bool

    @classmethod
    def from_json(cls, text: str) -> Glance:
        """Read the text of a record.

        :raises ValueError: if it is broken
        :raises NewerSchema: if a newer version of this package wrote it
        """
        try:
            shorter, packages = _without_packages(text)
            data = json.loads(shorter)
            _refuse_newer(data["schema"])
            source = data["source"]
            path, url = source["path"], source["url"]
            if not (isinstance(path, str | None) and isinstance(url, str | None)):
                msg = "no record"
                raise ValueError(msg)  # noqa: TRY004 - the text is wrong, not its type
            return cls(
                source=Source(kind=SourceKind(source["kind"]), path=path, url=url),
                source_stat=_stat(data["source_stat"]),
                python_version=str(data["python"]["version"]),
                created=str(data["created"]),
                last_used=str(data["last_used"]),
                kernel=str(data["kernel"]),
                kernel_side=str(data["kernel_side"]),
                packages=packages + len(data["packages"]),
                pending=data["pending"] is not None,
                synced=data["fingerprint"] is not None,
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            msg = f"incomplete record: {error}"
            raise ValueError(msg) from error


def _without_packages(text: str) -> tuple[str, int]:
    """Empty the list of packages in a record's text, and give how many it had.

    It is most of the text, and half of the time that reading the text takes. No string in JSON has
    a newline: these are where :meth:`Record.to_json` puts them, or the text stays as it is.
    """
    begin = text.find('\n "packages": [\n')
    end = text.find("\n ]", begin)
    if begin < 0 or end < 0:
        return text, 0
    return f'{text[:begin]}\n "packages": [{text[end:]}', text.count("\n  {", begin, end)


def _refuse_newer(schema: int) -> None:
    if schema > SCHEMA:
        msg = f"The environment's record has schema {schema}; this version reads {SCHEMA}."
        raise NewerSchema(msg)


def _require_types(record: Record) -> None:
    """Check that a record holds texts where there must be some, and what can be paths.

    :raises TypeError: if something is no text
    :raises ValueError: if something can be no path
    """
    source, python = record.source, record.python
    texts = [python.request, record.block, record.pending, record.fingerprint, record.lock_sha256]
    texts += [source.url, source.path]
    texts = [text for text in texts if text is not None]
    texts += [record.uv, record.settings, record.created, record.last_used]
    texts += [text for host in record.hosts for text in (host.python, host.version, host.uv)]
    texts += [text for package in record.packages for text in (package.name, package.version)]
    places = [source.path or "", python.base, python.version, python.abi]
    places += [record.kernel, record.kernel_side]
    if not all(isinstance(text, str) for text in (*texts, *places)):
        msg = "no text where there must be one"
        raise TypeError(msg)
    is_nowhere = source.path is not None and not PurePath(source.path).is_absolute()
    if is_nowhere or b"\0" in os.fsencode("".join(places)):
        msg = "no path where there must be one"
        raise ValueError(msg)


def _stat(value: list[int] | None) -> FileStat | None:
    if value is None:
        return None
    size, changed, inode = value
    return (int(size), int(changed), int(inode))
