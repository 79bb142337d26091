"""The manifest of an archive: what it is for, and every file in it with its checksum. Pure.

It is the archive's first member, so that everything behind it can be held against it::

    scriptenv-pack.json      this
    uv.lock                  the source's lock, where it has one
    environment/…            files of an environment, or
    wheels/…                 wheels that one is made of
    kernel/…                 the kernel layer's packages
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NewType

from ipy_scriptenv.errors import BadBlock, NewerSchema
from ipy_scriptenv.metadata import read_toml
from ipy_scriptenv.record import OWN, Package

__all__ = [
    "ENVIRONMENT",
    "FORMAT",
    "KERNEL",
    "LOCK",
    "MANIFEST",
    "WHEELS",
    "ArchivePath",
    "Kind",
    "Manifest",
    "PackedFile",
    "PackedPython",
    "archive_path",
]

FORMAT = 1
MANIFEST = "scriptenv-pack.json"
LOCK = "uv.lock"
ENVIRONMENT, KERNEL, WHEELS = "environment", "kernel", "wheels"

ArchivePath = NewType("ArchivePath", str)
"""Path of a member: relative, with slashes, safe to be joined to a folder on every system."""

_LONGEST = 1024
_MOST_FILES = 1_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DEVICES = re.compile(r"(?i)(?:con|conin\$|conout\$|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*[. ]")
"""Names that Windows has taken, whatever ending follows, or reads as if their end was not there."""


class Kind(enum.StrEnum):
    """What an archive holds."""

    ENVIRONMENT = "environment"
    """What is installed, ready to run."""
    WHEELS = "wheels"
    """What it is installed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPython:
    """The Python that an archive is for; the last part of its version is only told.

    :param abi: as :class:`~ipy_scriptenv.record.Python` has it; it names the platform too
    """

    implementation: str
    version: str
    abi: str

    @property
    def minor(self) -> str:
        """Such as ``3.12``."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """One file of an archive.

    :param size: in bytes
    :param sha256: of its content, hexadecimal
    """

    path: ArchivePath
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself. Nothing in it names the machine that it was made on.

    :param block: TOML of the block that it is for, without credentials; ``None``: there was none
    :param kernel: name of the kernel layer that goes with it; ``own``: it is one of the packages;
        ``None``: it was left out
    :param project: version of this package, and *uv* that of uv
    """

    kind: Kind
    python: PackedPython
    block: str | None
    packages: tuple[Package, ...]
    kernel: str | None
    project: str
    uv: str
    files: tuple[PackedFile, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def layer(self) -> str | None:
        """Name of the kernel layer that is in it."""
        return None if self.kernel == OWN else self.kernel

    @property
    def layer_by_content(self) -> str:
        """Name for the kernel layer that is in it, where none has the name that it had.

        It is longer than those of layers that a machine makes: none of its other environments
        starts on what an archive brings.
        """
        found = [file for file in self.files if file.path.startswith(f"{KERNEL}/")]
        text = "".join(
            f"{file.sha256} {file.executable} {file.path}\n"
            for file in sorted(found, key=lambda file: file.path)
        )
        return f"{self.python.abi}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def to_json(self) -> str:
        """Give its text; the same for the same content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read its text.

        :raises ValueError: if it is none; the message says what is wrong
        :raises NewerSchema: if a newer version wrote it
        """
        try:
            data = json.loads(text)
            number = data["format"]
            if isinstance(number, int) and number > FORMAT:
                msg = f"The archive has format {number}; this version reads {FORMAT}."
                raise NewerSchema(msg)
            if number != FORMAT:
                raise ValueError("its format has no number that is known")
            return cls._from_dict(data)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"its manifest is not complete ({error})") from error

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Manifest:
        known = {name: data[name] for name in cls.__slots__}
        if not all(isinstance(known[key], str | None) for key in ("block", "kernel")):
            raise TypeError("block, kernel")
        if known["block"] is not None:
            _require_toml(known["block"])
        python = PackedPython(**known["python"])
        _require_texts(python.implementation, python.version, python.abi)
        packages = tuple(Package(**each) for each in known["packages"])
        _require_texts(*(text for each in packages for text in (each.name, each.version)))
        layers = rf"{OWN}|{re.escape(python.abi)}-(?:[0-9a-f]{{12}}){{1,2}}"
        if known["kernel"] is not None and not re.fullmatch(layers, known["kernel"]):
            raise ValueError("its kernel is not for its Python")
        kind = Kind(known["kind"])
        values = {**known, "kind": kind, "python": python, "packages": packages}
        return cls(**{**values, "files": _files(known["files"], kind)})


def _files(listed: Iterable[dict[str, Any]], kind: Kind) -> tuple[PackedFile, ...]:
    # uv runs the interpreter of the environment that it installs wheels into: nothing of an archive
    # may be there by then.
    own = ENVIRONMENT if kind is Kind.ENVIRONMENT else WHEELS
    files = tuple(_file(each, (own, KERNEL)) for each in listed)
    if len(files) > _MOST_FILES:
        raise ValueError("it names too many files")
    if len({file.path for file in files}) < len(files):
        raise ValueError("it names a file twice")
    return files


def _file(data: dict[str, Any], folders: tuple[str, ...]) -> PackedFile:
    path = archive_path(data["path"])
    size, digest = data["size"], data["sha256"]
    if path != LOCK and path.partition("/")[0] not in folders:
        raise ValueError(f"`{path}` has no place in it")
    if type(size) is not int or size < 0 or not _DIGEST.fullmatch(digest):
        raise ValueError(f"size or checksum of `{path}` cannot be read")
    return PackedFile(path=path, size=size, sha256=digest, executable=data["executable"] is True)


def archive_path(text: str) -> ArchivePath:
    """Read the path of a member.

    :raises ValueError: if it might lead out of a folder, on any system
    """
    parts = text.split("/")
    is_odd = any(part in ("", ".", "..") or _DEVICES.fullmatch(part) for part in parts)
    if is_odd or not text.isprintable() or len(text) > _LONGEST or set(text) & set('\\:*?"<>|'):
        shown = text[:80].encode("unicode_escape", "surrogatepass").decode()
        raise ValueError(f"`{shown}` is no path that is safe")
    return ArchivePath(text)


def _require_toml(block: str) -> None:
    try:
        read_toml(block)
    except BadBlock as error:
        raise ValueError(f"its block cannot be read: {error}") from error


def _require_texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a text is something else")
