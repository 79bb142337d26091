"""What tests set on the stage: sources, kernels that seem to run, calls of the command line."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Asker, Context, Start, Synced
from ipy_scriptenv.interpreters import inspect_python
from ipy_scriptenv.kernels.layer import layer_name
from ipy_scriptenv.layout import CHANGING, RECORD
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.record import Python, Record
from ipy_scriptenv.store import Store

__all__ = [
    "ALPHA",
    "BASE",
    "GENERIC",
    "HOST",
    "PROGRAM",
    "WANTED",
    "asker",
    "assert_whole",
    "assert_works",
    "block_of",
    "call",
    "changes",
    "commented",
    "environment_of",
    "exclusively_held",
    "installed",
    "listing",
    "pretend_layer",
    "record_of",
    "record_rows",
    "running_kernel",
    "site_of",
    "start",
    "state_of",
    "sync",
    "throw_away_base",
    "write_notebook",
    "write_project",
    "write_script",
    "write_source",
]

BASE = getattr(sys, "_base_executable", sys.executable)
"""The interpreter that the host's own environment was made from."""

HOST = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""Minor version of the host's Python, such as ``3.12``."""

ALPHA = "alpha/__init__.py"
"""A file that a kernel has imported, where it has imported ``alpha``."""

WANTED = frozenset({"alpha==2.0", "beta==1.0"})
"""What a source that declares ``beta`` has installed."""

GENERIC = "scriptenv"
"""Name of the generic kernelspec, which a shared notebook should name."""

PROGRAM = (sys.executable, "-m", "ipy_scriptenv")

_BACKEND = """
import pathlib, tomllib, zipfile

HERE = pathlib.Path(__file__).parent
VERSION = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]


def write(directory, files):
    info = f"local-{VERSION}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: local\\nVersion: {VERSION}\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    name = f"local-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name


def build_wheel(directory, config_settings=None, metadata_directory=None):
    return write(directory, {"local.py": (HERE / "local.py").read_text()})


def build_editable(directory, config_settings=None, metadata_directory=None):
    return write(directory, {"local.pth": str(HERE)})
"""


def block_of(*dependencies: str, requires_python: str | None = None, uv: str = "") -> str:
    """Give the TOML of a block.

    :param uv: lines of its ``tool.uv`` table
    """
    lines = [] if requires_python is None else [f'requires-python = "{requires_python}"']
    lines.append(f"dependencies = {json.dumps(dependencies)}")
    return "\n".join([*lines, *(["[tool.uv]", uv] if uv else [])])


def write_script(
    path: Path,
    *dependencies: str,
    requires_python: str | None = None,
    uv: str = "",
    code: str = "",
) -> Path:
    """Write a script with a block, and give its path."""
    path.write_text(
        commented(block_of(*dependencies, requires_python=requires_python, uv=uv), code)
    )
    return path


def write_source(path: Path, *dependencies: str, **options: str | None) -> Path:
    """Write a script, or a notebook of one cell where its name says so, and give its path.

    :param options: as :func:`write_script` has them
    """
    write_script(path, *dependencies, **options)  # type: ignore[arg-type]
    return write_notebook(path, path.read_text()) if path.suffix == ".ipynb" else path


def commented(toml: str, code: str = "") -> str:
    """Give the text of a block, and code below it."""
    lines = [f"# {line}" if line else "#" for line in toml.split("\n")]
    return "\n".join(["# /// script", *lines, "# ///", code])


def write_notebook(path: Path, *cells: str, kernel_name: str = GENERIC) -> Path:
    """Write a notebook of code cells that have not run, and give its path.

    :param path: its folder is made where it is missing
    :param kernel_name: the kernelspec that its metadata name
    """
    content = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": cell,
            }
            for number, cell in enumerate(cells, 1)
        ],
        "metadata": {
            "kernelspec": {
                "name": kernel_name,
                "display_name": "Python (scriptenv)",
                "language": "python",
            }
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def write_project(folder: Path, version: str = "1.0") -> Path:
    """Write a project whose build backend needs nothing but itself."""
    folder.mkdir(exist_ok=True)
    (folder / "local.py").write_text(f"VERSION = {version!r}\n")
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "local"\nversion = "{version}"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(_BACKEND)
    return folder


def sync(path: Path, **options: Any) -> Synced:
    """Sync the environment of the source at *path*."""
    return environments.sync(environments.locate(path), context=Context(), **options)


def start(path: Path, **options: Any) -> Start:
    """Get or init for the source at *path*, as for the start of a kernel."""
    return environments.start(environments.locate(path), context=Context(), **options)


def environment_of(path: Path) -> Path:
    """Give the place of the environment of the source at *path*."""
    return Context().store.environment(environments.name_of(environments.locate(path)))


def state_of(path: Path) -> str:
    """Give the state of the source at *path*, as ``status`` tells it."""
    return environments.status(environments.locate(path), context=Context()).state


def changes(synced: Synced) -> set[tuple[str, str, str]]:
    """Give what a sync changed: name, version, action."""
    return {(each.name, each.version, each.action) for each in synced.changes}


def asker(synced: Synced, uuid: str = "me", *, fresh: bool = False, imported: str = "") -> Asker:
    """Describe a kernel that runs in an environment and asks for a sync."""
    record = synced.record
    loaded = Loaded(environment=frozenset({imported} if imported else ()))
    return Asker(
        uuid=uuid, fresh=fresh, python=record.python.base, kernel=record.kernel, loaded=loaded
    )


def record_of(environment: Path) -> Record:
    """Read the record of an environment."""
    return Record.from_json((environment / RECORD).read_text())


def site_of(environment: Path) -> Path:
    """Where an environment keeps its packages."""
    (site,) = environment.glob("lib/python*/site-packages")
    return site


def installed(environment: Path) -> set[str]:
    """Name what is installed in an environment, such as ``alpha==1.0``."""
    infos = [path.stem.partition("-") for path in site_of(environment).glob("*.dist-info")]
    return {f"{canonicalize_name(name)}=={version}" for name, _, version in infos}


def assert_whole(environment: Path) -> None:
    """Check that an environment is not half changed, and that each file has its size."""
    assert not (environment / CHANGING).exists()
    assert all(path.stat().st_size == size for path, size in record_rows(environment) if size)


def assert_works(environment: Path, packages: AbstractSet[str]) -> None:
    """Check that an environment has these packages, whole, and that its Python imports them."""
    assert installed(environment) == packages
    assert all(path.stat().st_size == size for path, size in record_rows(environment) if size)
    modules = [package.partition("==")[0].replace("-", "_") for package in packages]
    question = f"import sys, {', '.join(['os', *modules])}; print(sys.prefix)"
    python = environment / "bin" / "python"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(environment)


@contextlib.contextmanager
def running_kernel(
    scriptenv: Path, name: str, *, imported: Iterable[str] = (), kernel: str = ""
) -> Iterator[str]:
    """Hold a live lock, as a kernel does that runs in an environment; give the lock's name.

    :param scriptenv: the folder with everything of ours
    :param name: of the environment
    :param imported: what the kernel has imported from there, relative to its site-packages
    """
    folder = scriptenv / "locks" / f"{name}.kernels"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / uuid.uuid4().hex
    with exclusively_held(lock):
        told = {"pid": os.getpid(), "kernel": kernel, "imported": [*imported]}
        lock.write_text(json.dumps(told))
        yield lock.name


@contextlib.contextmanager
def exclusively_held(lock: Path) -> Iterator[int]:
    """Hold a lock file as another process would, and give its descriptor."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def pretend_layer(scriptenv: Path, python: Path) -> None:
    """Make it seem that the kernel layer for an interpreter stands; no kernel could run on it."""
    layer = Store(scriptenv).layers / layer_name(_described(python))
    layer.mkdir(parents=True, exist_ok=True, mode=0o700)
    (layer / "site-packages").mkdir(exist_ok=True)
    content = {"name": "", "packages": {}, "requires": {}, "curve": True}
    (layer / "layer.json").write_text(json.dumps(content))


@cache
def _described(python: Path) -> Python:
    return inspect_python(python)


def record_rows(environment: Path) -> list[tuple[Path, int | None]]:
    """Give every file that the installed distributions name, with the size it should have."""
    rows = []
    for file in site_of(environment).glob("*.dist-info/RECORD"):
        with file.open(newline="") as lines:
            for name, _, size in csv.reader(lines):
                rows.append((file.parent.parent / name, int(size) if size else None))
    return rows


def throw_away_base(folder: Path) -> Path:
    """Make a base interpreter that may be harmed, and give its path.

    Its standard library is the host's, by links; its folder of packages is its own, with one
    distribution in it.
    """
    library = Path(sysconfig.get_path("stdlib"))
    minor = f"python{HOST}"
    python, packages = folder / "bin" / minor, folder / "lib" / minor / "site-packages"
    python.parent.mkdir(parents=True)
    packages.mkdir(parents=True)
    shutil.copy(Path(BASE).resolve(), python)
    for entry in library.iterdir():
        if entry.name not in {"site-packages", "dist-packages", "__pycache__"}:
            (packages.parent / entry.name).symlink_to(entry)
    info = packages / "precious-1.0.dist-info"
    info.mkdir()
    (packages / "precious.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: precious\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "precious.py,,0\nprecious-1.0.dist-info/METADATA,,\nprecious-1.0.dist-info/RECORD,,\n"
    )
    return python


def listing(folder: Path) -> set[tuple[str, int, int]]:
    """Name everything in a folder with its size and time, but for uv's own lock file."""
    return {
        (str(path.relative_to(folder)), path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def call(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Call the command line, and wait for its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
