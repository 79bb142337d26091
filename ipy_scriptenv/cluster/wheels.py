"""A wheel of what is installed: for what workers can get from no index.

What was built from a folder, a repository or an address is packed as it is installed (PEP 376, PEP
427): the very files that the notebook runs with, without its credentials and without another build.
An editable project is built anew, because it is not there.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from ipy_scriptenv.errors import NotPortable
from ipy_scriptenv.files import read_regular

__all__ = ["wheel_of"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold
_LARGEST = 1 << 31

_OF_THIS_INSTALLATION = frozenset(
    {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
"""What an installer notes beside a distribution; the next one notes its own."""

_SHEBANG = re.compile(rb"\A#!(?:/bin/sh\n'''exec'[^\n]*\n' '''|[^\n]*python[^\n]*)\n")
"""The first lines of a script that an installer has led to its interpreter."""


def wheel_of(
    distribution: Distribution, *, build: Callable[[Path, Path], Path], folder: Path
) -> str:
    """Put the wheel of an installed distribution into a folder; give the file's name.

    The same installation gives the same bytes.

    :param build: builds the wheel of a project into an empty folder, and gives the file
    :raises NotPortable: if nobody knows which files belong to it
    :raises ScriptEnvError: if an editable project cannot be built, as *build* has it
    :raises OSError: if a file cannot be read or written
    """
    project = _editable(distribution)
    if project is None:
        return _packed(distribution, folder)
    with tempfile.TemporaryDirectory(prefix="scriptenv-") as empty:
        wheel = build(project, Path(empty))
        with zipfile.ZipFile(wheel) as built:
            # Most build backends write times into it.
            members = {
                each.filename: (built.read(each), each.external_attr)
                for each in built.infolist()
                if not each.is_dir()
            }
        _write(folder / wheel.name, members)
        return wheel.name


def _editable(distribution: Distribution) -> Path | None:
    """Give the folder of an editable project; ``None`` for every other distribution."""
    told = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(told["url"]).path))


def _packed(distribution: Distribution, folder: Path) -> str:
    name = re.sub(r"[-_.]+", "_", distribution.metadata["Name"]).lower()
    stem = f"{name}-{distribution.version.replace('-', '_')}"
    about, listed = distribution.read_text("WHEEL"), distribution.read_text("RECORD")
    if about is None or not listed:
        msg = f"{distribution.metadata['Name']} was installed in a way that has no list of files."
        raise NotPortable(msg)
    content = dict(sorted(_content(distribution, listed, stem).items()))
    content[f"{stem}.dist-info/RECORD"] = _record(content, f"{stem}.dist-info/RECORD")
    file = f"{stem}-{_tags(about)}.whl"
    attributes = {path: 0o755 if ".data/scripts/" in path else 0o644 for path in content}
    _write(folder / file, {path: (content[path], attributes[path] << 16) for path in content})
    return file


def _write(file: Path, members: dict[str, tuple[bytes, int]]) -> None:
    """Write a zip file whose bytes depend on its members alone, each with its attributes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, (data, attributes) in members.items():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.external_attr, info.compress_type = attributes, zipfile.ZIP_DEFLATED
            wheel.writestr(info, data)


def _content(distribution: Distribution, listed: str, stem: str) -> dict[str, bytes]:
    """Read the files of a distribution, each where a wheel has it.

    :param listed: its ``RECORD``; ``Distribution.files`` would leave out what is gone
    """
    entry_points = {
        each.name
        for group in ("console_scripts", "gui_scripts")
        for each in distribution.entry_points.select(group=group)
    }
    found = {}
    for row in filter(None, csv.reader(listed.splitlines())):
        place = _place(PurePosixPath(row[0]), distribution, stem, entry_points)
        if place is not None:
            data = read_regular(Path(str(distribution.locate_file(row[0]))), limit=_LARGEST)
            if ".data/scripts/" in place:
                data = _SHEBANG.sub(b"#!python\n", data)
            found[place] = data
    return found


def _place(
    path: PurePosixPath, distribution: Distribution, stem: str, entry_points: set[str]
) -> str | None:
    """Say where a wheel has an installed file; ``None`` where an installer makes it anew."""
    if path.parent.name == "__pycache__":
        return None
    if path.parts[0].endswith(".dist-info"):
        is_noted = str(path.relative_to(path.parts[0])) in _OF_THIS_INSTALLATION
        return None if is_noted else str(PurePosixPath(f"{stem}.dist-info", *path.parts[1:]))
    outside = [part for part in path.parts if part != ".."]
    if len(outside) == len(path.parts):
        return str(path)
    if outside[0] in ("bin", "Scripts"):
        is_made_anew = path.name.removesuffix(".exe") in entry_points
        return None if is_made_anew else f"{stem}.data/scripts/{path.name}"
    if outside[0] == "include":
        key = canonicalize_name(distribution.metadata["Name"])
        below = [part for part in outside if canonicalize_name(part) == key]
        rest = outside[outside.index(below[0]) + 1 :] if below else outside[1:]
        return f"{stem}.data/headers/{'/'.join(rest)}"
    return f"{stem}.data/data/{'/'.join(outside)}"


def _tags(about: str) -> str:
    """Join the tags of a wheel's metadata as its name has them: each part once (PEP 425)."""
    tags = [line[4:].strip().split("-") for line in about.splitlines() if line.startswith("Tag:")]
    return "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))


def _record(content: dict[str, bytes], own: str) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(data)))
    rows.writerow((own, "", ""))
    return text.getvalue().encode()
