"""A ``Containerfile`` for a source: its environment is built from the lock, for a plain user.

A notebook opens in JupyterLab; a script runs. The source, its lock and its local projects are
copied from the source's folder; nothing secret is written down.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from packaging.version import Version

from ipy_scriptenv import __version__
from ipy_scriptenv.environments.building import uv_version
from ipy_scriptenv.environments.resolving import Resolvable
from ipy_scriptenv.environments.sources import Lock
from ipy_scriptenv.errors import NoLock, NotPortable
from ipy_scriptenv.kernel_side.credentials import without_credentials
from ipy_scriptenv.metadata import Origin, origins_of_block, origins_of_lock

__all__ = ["containerfile"]

_OLDEST_HOST = Version("3.11")
"""The oldest Python that this package itself runs on."""

_NEWEST_HOST = "3.13"
_USER, _HOME = 1000, "/home/jovyan"
"""As the images of the Jupyter project have them."""

_NAME = re.compile(r"[\w.+][\w .+-]*")
"""Names that mean themselves in a ``COPY``, which knows patterns and variables, and to commands."""

_PUBLIC = ("https://pypi.org/", "https://files.pythonhosted.org/")
"""What nobody logs in to."""


def containerfile(found: Resolvable) -> str:
    """Write the file for a source that has a lock.

    :raises NoLock: if it has none
    :raises NotPortable: if it needs what is not in its folder, would take a password along, or is a
        document of Quarto's
    """
    name = Path(found.source.path or "").name
    if found.lock is None:
        raise NoLock(f"`{found.source}` has no lock, which a container is built from.")
    if name.lower().endswith(".qmd"):
        msg = f"`{name}` is rendered by Quarto, which no image of this package has."
        hint = "In an image with Quarto: `jupyter-scriptenv sync --frozen`, then render it."
        raise NotPortable(msg, hint=hint)
    if without_credentials(found.toml) != found.toml:
        msg = f"The block of `{name}` holds a password or a token, and goes into the image."
        hint = "Keep it out: uv reads it from `~/.netrc`, which a build can get as a secret."
        raise NotPortable(msg, hint=hint)
    origins = (*origins_of_block(found.toml, folder=found.folder), *_of_lock(found.lock))
    files = [name, *([] if found.lock.embedded else [found.lock.path.name])]
    local = _local(found, origins)
    for each in (*files, *(part for place in local for part in PurePosixPath(place).parts)):
        if not _NAME.fullmatch(each):
            msg = f"The name `{each}` would mean something else in a Containerfile."
            raise NotPortable(msg, hint="Give it another name.")
    needs_git = any(origin.address.startswith("git+") for origin in origins)
    is_private = needs_git or any(map(_is_private, origins))
    is_notebook = name.lower().endswith(".ipynb")
    sections = [
        _begin(name, is_notebook=is_notebook, is_private=is_private),
        _base(found.python.minor, is_notebook=is_notebook, needs_git=needs_git),
        _copied(found.folder, files, local),
        _synced(name, python=found.python.minor, is_private=is_private),
        _end(name, is_notebook=is_notebook),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _of_lock(lock: Lock) -> Iterator[Origin]:
    """Give what the lock alone tells: a configured index, and what comes with what is declared.

    A path of this machine may stand in the image too; of that `lock` has warned.
    """
    for origin in origins_of_lock(lock.content.decode("utf-8", "replace")):
        if not Path(origin.address).is_absolute() and not origin.address.startswith("file:"):
            yield origin


def _is_private(origin: Origin) -> bool:
    address = origin.address
    return address.startswith(("http:", "https:")) and not f"{address}/".startswith(_PUBLIC)


def _begin(name: str, *, is_notebook: bool, is_private: bool) -> list[str]:
    image = re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-") or "notebook"
    secret = "--secret id=netrc,src=$HOME/.netrc " if is_private else ""
    port = "-p 127.0.0.1:8888:8888 " if is_notebook else ""
    where = "in JupyterLab, " if is_notebook else ""
    return [
        "# syntax=docker/dockerfile:1",
        f"# {name} {where}with the packages of its lock. In its folder:",
        f"#   docker build {secret}-t {image} -f Containerfile .",
        f"#   docker run --rm {port}{image}",
    ]


def _base(minor: str, *, is_notebook: bool, needs_git: bool) -> list[str]:
    base = minor if Version(minor) >= _OLDEST_HOST else _NEWEST_HOST
    wanted = [f"ipy-scriptenv=={__version__}", f"uv=={uv_version()}"]
    if is_notebook:
        wanted.append(f"jupyterlab=={_version('jupyterlab') or '4.*'}")
    return [
        # The slim image has no git.
        f"FROM python:{base}{'' if needs_git else '-slim'}",
        f"RUN pip install --no-cache-dir {' '.join(wanted)} \\",
        f"    && useradd --create-home --uid {_USER} jovyan \\",
        # Some engines would make it root's.
        f"    && install -d -o {_USER} -g {_USER} {_HOME}/work",
        f"USER {_USER}",
        f"WORKDIR {_HOME}/work",
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _copied(folder: Path, files: list[str], local: list[str]) -> list[str]:
    lines = [f"COPY --chown={_USER} {json.dumps([*files, './'], ensure_ascii=False)}"]
    for each in local:
        # The content of a folder is copied, not the folder.
        target = f"{each}/" if (folder / each).is_dir() else each
        lines.append(f"COPY --chown={_USER} {json.dumps([each, target])}")
    return lines


def _synced(name: str, *, python: str, is_private: bool) -> list[str]:
    sync = f"jupyter-scriptenv sync --frozen {shlex.quote(name)}"
    fetch = f"uv python install {python} && " if Version(python) < _OLDEST_HOST else ""
    command = f"{fetch}{sync} && uv cache clean"
    if not is_private:
        return [f"RUN {command}"]
    return [
        "# A login for an index or a repository is there during this step alone.",
        f"RUN --mount=type=secret,id=netrc,target={_HOME}/.netrc,uid={_USER} \\",
        f"    {command}",
    ]


def _end(name: str, *, is_notebook: bool) -> list[str]:
    if not is_notebook:
        return [f"CMD {json.dumps(['jupyter-scriptenv', 'run', name])}"]
    command = ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", name]
    return ["EXPOSE 8888", f"CMD {json.dumps(command)}"]


def _local(found: Resolvable, origins: tuple[Origin, ...]) -> list[str]:
    """Name the local projects, wheels and folders of wheels, relative to the source's folder.

    :raises NotPortable: if one is outside of it, where no build can copy it from, or a repository
    """
    places = []
    for origin in origins:
        address = origin.address
        if address.startswith("file://"):
            address = unquote(address.removeprefix("file://"))
        is_repository_here = address.startswith("git+file:")
        if "://" in address and not is_repository_here:
            continue
        path = Path(os.path.normpath(found.folder / address))
        is_inside = path.is_relative_to(found.folder) and path != found.folder
        if is_repository_here or not is_inside:
            msg = f"`{origin.key}` leads to `{address}`, which is not in the source's folder."
            raise NotPortable(msg, hint="A container is built from that folder alone.")
        places.append(path.relative_to(found.folder).as_posix())
    return sorted(set(places))
