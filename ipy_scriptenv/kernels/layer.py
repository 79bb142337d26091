"""The kernel layer: ipykernel and what it needs, installed once per Python ABI.

A layer is a folder ``<abi>-<digest of the hash-locked list>`` with ``site-packages`` and
``layer.json``, which is written before the folder gets its name. Nothing but Python's byte code
changes in it after that.
The launcher appends it to ``sys.path`` after the environment's own packages, so an environment
holds exactly what its source declares.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ipy_scriptenv import processes, settings
from ipy_scriptenv.errors import EngineFailed, Interrupted, ScriptEnvError
from ipy_scriptenv.files import explained, remove_tree, write_atomically
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernels import shared_layers
from ipy_scriptenv.kernels.wholeness import damaged_packages
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
    "describe",
    "ensure_layer",
    "find_layer",
    "layer_digest",
    "layer_list",
    "layer_name",
]

_INFO = shared_layers.INFO


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
    """Look for a layer that stands; what a link leads to is none.

    One that leads to a shared folder stands as long as that is there, is named and is fit.
    """
    if (store.layers / name).is_symlink():
        return None
    try:
        data = json.loads((store.layers / name / _INFO).read_text("utf-8"))
        if not shared_layers.still_stands(data, name):
            return None
        requires = {key: tuple(value) for key, value in data["requires"].items()}
        return Layer(
            name=name, packages=data["packages"], requires=requires, curve=bool(data["curve"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def ensure_layer(store: Store, uv: Uv, python: Python, *, own: bool = False) -> Layer:
    """Give the layer for an interpreter; build it if it is missing, once, whoever asks.

    Where the machine's users share a folder that has it, it is taken from there.

    :param own: whether one of this home alone will do, to share it with others
    :raises ScriptEnvError: if it cannot be built, in uv's words
    """
    name = layer_name(python)
    found = _found(store, name, own=own)
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
        found = _found(store, name, own=own)
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
                taken = None if own else shared_layers.refer(build, name)
                ready = taken or _build(build, heir, python, final=store.layers / name)
                ready.rename(store.layers / name)
            if taken is None:
                _compile_later(python, store.layers / name / "site-packages")
        finally:
            remove_tree(build)
    found = find_layer(store, name)
    if found is None:
        msg = f"The kernel layer `{name}` was built but cannot be read."
        raise EngineFailed(msg)
    return found


def _found(store: Store, name: str, *, own: bool) -> Layer | None:
    if own and shared_layers.is_reference(store.layers / name):
        return None
    return find_layer(store, name)


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


def describe(folder: Path, python: Python) -> None:
    """Describe a layer whose packages came from another machine; nothing of them is run."""
    info = json.dumps(asdict(_describe(folder / "site-packages", python)), indent=1)
    write_atomically(folder / _INFO, info.encode())


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
