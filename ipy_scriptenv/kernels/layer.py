"""The kernel layer: ipykernel and what it needs, installed once per Python ABI.

A layer is a folder ``<abi>-<digest of the hash-locked list>`` with ``site-packages`` and
``layer.json``, which is written before the folder gets its name. Nothing but Python's byte code
changes in it after that.
The launcher appends it to ``sys.path`` after the environment's own packages, so an environment
holds exactly what its source declares.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ipy_scriptenv import processes, settings
from ipy_scriptenv.errors import EngineFailed, Interrupted, ScriptEnvError
from ipy_scriptenv.files import explained, remove_tree, write_atomically
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.plan import marker_environment
from ipy_scriptenv.processes import Cancel
from ipy_scriptenv.record import Python
from ipy_scriptenv.store import Store
from ipy_scriptenv.uv import Uv
from ipy_scriptenv.venvs import site_packages

__all__ = [
    "Layer",
    "damaged_packages",
    "ensure_layer",
    "find_layer",
    "layer_digest",
    "layer_list",
    "layer_name",
]

_INFO = "layer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that stands.

    :param name: its folder's name
    :param packages: version of each distribution in it
    :param requires: what each distribution in it requires, markers already decided
    :param curve: whether its ipykernel can encrypt its connections
    """

    name: str
    packages: Mapping[str, str]
    requires: Mapping[str, tuple[str, ...]]
    curve: bool


def layer_list() -> bytes:
    """Give the hash-locked list: the administrator's, or the one that comes with this package."""
    chosen = settings.layer_lock()
    if chosen is not None:
        with explained(chosen):
            return chosen.read_bytes()
    return Path(__file__).with_name("layer.txt").read_bytes()


def layer_name(python: Python) -> str:
    """Name the layer for an interpreter, there or not."""
    return f"{python.abi}-{layer_digest()}"


def layer_digest() -> str:
    """Give the last part of the present layers' names: the digest of their list."""
    return hashlib.sha256(layer_list()).hexdigest()[:12]


def find_layer(store: Store, name: str) -> Layer | None:
    """Look for a layer that stands; what a link leads to is none."""
    if (store.layers / name).is_symlink():
        return None
    try:
        data = json.loads((store.layers / name / _INFO).read_text("utf-8"))
        requires = {key: tuple(value) for key, value in data["requires"].items()}
        return Layer(
            name=name, packages=data["packages"], requires=requires, curve=bool(data["curve"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def ensure_layer(store: Store, uv: Uv, python: Python) -> Layer:
    """Give the layer for an interpreter; build it if it is missing, once, whoever asks.

    :raises ScriptEnvError: if it cannot be built, in uv's words
    """
    name = layer_name(python)
    found = find_layer(store, name)
    if found is not None:
        return found

    def tell() -> None:
        uv.on_event({"event": "waiting", "for": "the kernel layer"})

    with exclusive(
        store.lock(f"layer-{name}"),
        timeout=settings.lock_timeout(),
        on_wait=tell,
        cancelled=lambda: uv.cancel.is_set,
    ) as held:
        found = find_layer(store, name)
        if found is not None:
            return found
        _sweep(store, name)
        if (store.layers / name).is_dir() and not (store.layers / name).is_symlink():
            # It stands and cannot be read.
            store.remove_folder(store.layers / name)
        build = store.layers / f".building-{name}-{secrets.token_hex(4)}"
        heir = replace(uv, held=held)
        try:
            with explained(build):
                ready = _build(build, heir, python, final=store.layers / name)
                ready.rename(store.layers / name)
            _compile_later(python, store.layers / name / "site-packages")
        finally:
            remove_tree(build)
    found = find_layer(store, name)
    if found is None:
        msg = f"The kernel layer `{name}` was built but cannot be read."
        raise EngineFailed(msg)
    return found


def damaged_packages(site: Path) -> tuple[str, ...]:
    """Name the distributions in a folder of packages of which files are missing or cut short."""
    found = [
        canonicalize_name(name.partition("-")[0])
        for name in sorted(name for name in _names(site) if name.endswith(".dist-info"))
        if not _is_whole(site, name)
    ]
    return tuple(found)


def _is_whole(site: Path, info: str) -> bool:
    """Say whether the files that a distribution's ``RECORD`` lists are there in their sizes."""
    try:
        text = (site / info / "RECORD").read_text("utf-8")
        # The packaging specification makes it a CSV file of path, hash and size.
        rows = [(row[0], row[2]) for row in csv.reader(text.splitlines()) if row]
    except (OSError, ValueError, IndexError, csv.Error):
        return False
    # Scripts stand outside; byte code comes and goes.
    inside = (row for row in rows if not row[0].endswith(".pyc") and ".." not in row[0].split("/"))
    has_itself = any(path == f"{info}/METADATA" for path, _ in rows)
    # Thousands of files: `Path` would take as long as the disk.
    return has_itself and all(_has_size(f"{site}{os.sep}{path}", size) for path, size in inside)


def _has_size(path: str, size: str) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116 - see above
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and size in ("", str(found.st_size))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def supports_curve(site: Path) -> bool:
    """Say whether the ipykernel in a folder of packages can encrypt its connections."""
    try:
        return "curve_secretkey" in (site / "ipykernel" / "kernelapp.py").read_text("utf-8")
    except OSError:
        return False


def _build(build: Path, uv: Uv, python: Python, *, final: Path) -> Path:
    """Make a complete layer inside the folder *build*; *final* is where it will stand."""
    from ipy_scriptenv.kernels import borrow

    environment, ready = build / "environment", build / "ready"
    ready.mkdir(parents=True, mode=0o700)
    uv.create(environment, python=Path(python.base))
    site = site_packages(environment, python)
    text = layer_list()
    uv.on_event({"event": "installing", "text": f"Preparing the kernel for Python {python.minor}"})
    borrowed = python.abi == host_python().abi and borrow.from_host(text.decode(), site)
    if not borrowed:
        listing = build / "layer.txt"
        listing.write_bytes(text)
        _install(uv, environment, listing)
    _compile(python, site, final / "site-packages", uv.cancel)
    site.rename(ready / "site-packages")
    info = _describe(ready / "site-packages", python)
    write_atomically(ready / _INFO, json.dumps(asdict(info), indent=1).encode())
    return ready


def _install(uv: Uv, environment: Path, listing: Path) -> None:
    options = ("--require-hashes", "--only-binary", ":all:", "--no-deps")
    try:
        uv.install(environment, *options, "--requirements", str(listing))
    except ScriptEnvError as error:
        # It is not the notebook's block that has to be mended.
        error.hint = "The kernel's own packages are fetched once: check uv's index and the network."
        raise


def _compile(python: Python, site: Path, final: Path, cancel: Cancel) -> None:
    """Compile for its final place what a start imports, so that none has to."""
    argv = _importing(python, "early", site, final)
    # What it says or how it ends is no matter: a start compiles what is missing.
    finished = processes.run(argv, cwd=site, env=settings.child_environment(), cancel=cancel)
    if finished.cancelled:
        msg = "Preparing the kernel was interrupted."
        raise Interrupted(msg)


def _compile_later(python: Python, site: Path) -> None:
    """Compile in the background what a kernel imports after its start."""
    argv = _importing(python, "later", site, site)
    with contextlib.suppress(OSError):
        processes.start_idle(argv, cwd=site, env=settings.child_environment())


def _importing(python: Python, part: str, site: Path, final: Path) -> list[str]:
    script = Path(__file__).with_name("first_imports.py")
    return [python.base, "-I", "-S", str(script), part, str(site), str(final)]


def _describe(site: Path, python: Python) -> Layer:
    """Read what a layer holds and requires."""
    from importlib import metadata

    markers = marker_environment(python.version)
    packages: dict[str, str] = {}
    requires: dict[str, tuple[str, ...]] = {}
    for found in metadata.distributions(path=[str(site)]):
        name = canonicalize_name(found.metadata["Name"])
        packages[name] = found.version
        requires[name] = tuple(_decided(found.requires or (), markers))
    return Layer(name="", packages=packages, requires=requires, curve=supports_curve(site))


def _decided(requirements: list[str] | tuple[()], environment: dict[str, str]) -> list[str]:
    decided = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate(environment):
            decided.append(f"{requirement.name}{requirement.specifier}")
    return decided


def _sweep(store: Store, name: str) -> None:
    for left in store.layers.glob(f".building-{name}-*"):
        remove_tree(left)
