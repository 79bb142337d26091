"""What of an environment travels: the files that its distributions brought, and nothing else.

Left out is what the other machine makes anew (interpreter, ``pyvenv.cfg``, activation scripts),
byte code, and whatever came there by itself. Nothing that is packed names this machine.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from ipy_scriptenv.environments.archiving import Entry
from ipy_scriptenv.environments.manifests import ENVIRONMENT, KERNEL
from ipy_scriptenv.errors import NotPortable
from ipy_scriptenv.files import entries, read_regular
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.record import Python
from ipy_scriptenv.venvs import site_packages

__all__ = ["Distribution", "distributions", "files_of", "layer_files"]

_LARGEST = 1 << 24
_ORIGIN = "direct_url.json"
_OF_THIS_MACHINE = frozenset({"uv_build.json", "uv_cache.json"})
"""What uv notes beside a distribution about how it was built here, times among it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One installed distribution.

    :param info: name of its metadata folder
    :param editable: the folder that it is imported from, if that is not the environment's
    """

    name: str
    version: str
    info: str
    editable: Path | None


def distributions(environment: Path, python: Python) -> tuple[Distribution, ...]:
    """List what is installed in an environment, by name.

    :raises NotPortable: if something is installed that is no distribution as installers make them
    """
    site, found = site_packages(environment, python), []
    for entry in sorted(entries(site), key=lambda entry: entry.name):
        if entry.name.endswith((".egg-link", ".egg-info", ".egg")):
            msg = f"`{entry.name}` was installed in a way that has no list of its files."
            raise NotPortable(msg)
        if entry.name.endswith(".dist-info"):
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            found.append(
                Distribution(
                    name=canonicalize_name(name),
                    version=version,
                    info=entry.name,
                    editable=_editable(_origin(Path(entry.path))),
                )
            )
    return tuple(found)


def files_of(environment: Path, python: Python, distribution: Distribution) -> Iterator[Entry]:
    """Give the files of a distribution, as its ``RECORD`` lists them, in their order there.

    :raises NotPortable: if they are not as they were installed, or lead to this machine
    """
    site = site_packages(environment, python)
    prefix = site.relative_to(environment).as_posix()
    origin = _portable(_origin(site / distribution.info))
    rows = []
    for row in _rows(site / distribution.info / "RECORD", distribution):
        path = posixpath.normpath(f"{prefix}/{row[0]}")
        folder, _, name = path.rpartition("/")
        in_info = folder == f"{prefix}/{distribution.info}"
        if path.startswith(("../", "/")) or Path(row[0]).is_absolute():
            raise NotPortable(f"`{distribution.name}` has files outside of its environment.")
        if folder.endswith("/__pycache__") or (in_info and name in _OF_THIS_MACHINE):
            continue
        if in_info and name == "RECORD":
            rows.append([row[0], "", ""])
        elif in_info and name == _ORIGIN:
            if origin is not None:
                rows.append([row[0], *_hashed(origin)])
                yield Entry(path=f"{ENVIRONMENT}/{path}", content=origin)
        else:
            rows.append(row)
            yield _file(environment, path, row[2], distribution)
    content = io.StringIO(newline="")
    csv.writer(content, lineterminator="\n").writerows(rows)
    record = f"{ENVIRONMENT}/{prefix}/{distribution.info}/RECORD"
    yield Entry(path=record, content=content.getvalue().encode())


def _file(environment: Path, path: str, size: str, distribution: Distribution) -> Entry:
    """Give one file, unless it is not as it was installed or leads to this machine."""
    place = environment / path
    try:
        found = place.stat()
    except OSError:
        found = None
    if found is None or not place.is_file() or size not in ("", str(found.st_size)):
        msg = f"`{path}` of `{distribution.name}` is not as it was installed."
        raise NotPortable(msg, hint="Make it whole: `jupyter scriptenv rebuild SOURCE`.")
    if path.endswith(".pth"):
        _refuse_paths(place, distribution)
    is_script = path.startswith(("bin/", "Scripts/"))
    if is_script and os.fsencode(environment) in place.read_bytes():
        msg = f"The command `{path}` of `{distribution.name}` names the folder that it stands in."
        raise NotPortable(msg)
    executable = sys.platform != "win32" and bool(found.st_mode & 0o100)
    return Entry(path=f"{ENVIRONMENT}/{path}", content=place, executable=executable)


def _refuse_paths(path: Path, distribution: Distribution) -> None:
    """Refuse a path file that leads out of the environment; lines of code are left alone."""
    for line in read_regular(path, limit=_LARGEST).decode("utf-8", "replace").splitlines():
        place = line.strip()
        is_path = place and not place.startswith(("#", "import ", "import\t"))
        if is_path and (Path(place).is_absolute() or ".." in Path(place).parts):
            msg = f"`{distribution.name}` is imported from a folder outside: `{path.name}`."
            raise NotPortable(msg)


def _rows(record: Path, distribution: Distribution) -> list[list[str]]:
    """Read the list of a distribution's files, as the packaging specification has it."""
    try:
        lines = read_regular(record, limit=_LARGEST * 4).decode().splitlines()
        rows = [[*row, "", ""][:3] for row in csv.reader(lines) if row]
    except (OSError, ValueError, csv.Error):
        rows = []
    if f"{distribution.info}/METADATA" not in {row[0] for row in rows}:
        msg = f"The list of the files of `{distribution.name}` cannot be read."
        raise NotPortable(msg, hint="Make it whole: `jupyter scriptenv rebuild SOURCE`.")
    return rows


def _origin(info: Path) -> dict[str, Any]:
    """Read where a distribution came from, if not from an index (PEP 610); empty where it did."""
    try:
        data = json.loads(read_regular(info / _ORIGIN, limit=_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _editable(origin: dict[str, Any]) -> Path | None:
    folder = origin.get("dir_info")
    if not isinstance(folder, dict) or folder.get("editable") is not True:
        return None
    # On Windows a drive stands behind the slash.
    path = unquote(urlsplit(str(origin.get("url"))).path)
    return Path(path.lstrip("/") if sys.platform == "win32" else path)


def _portable(origin: dict[str, Any]) -> bytes | None:
    """Give an origin as it may be told elsewhere; ``None`` for a place on this machine."""
    url = origin.get("url")
    if not isinstance(url, str) or url.lower().startswith(("file:", "git+file:")):
        return None
    return json.dumps({**origin, "url": without_credentials(url)}, sort_keys=True).encode()


def _hashed(data: bytes) -> tuple[str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(data))


def layer_files(site: Path) -> Iterator[Entry]:
    """Give the files of a kernel layer's packages but for byte code, by path."""
    found = []
    for folder, folders, names in os.walk(site):
        # A kernel that runs may be writing there.
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc")]
    for path in sorted(found):
        if path.is_file():
            yield Entry(path=f"{KERNEL}/{path.relative_to(site).as_posix()}", content=path)
