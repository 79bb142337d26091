"""Fill the folder that a machine's users share, as its administrator.

Each part is made beside and renamed. What stands and is whole stays, and other versions stay too:
kernels may run on them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipy_scriptenv import policy, processes, settings
from ipy_scriptenv.bytecode import sharing
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.syncing import sync
from ipy_scriptenv.errors import EngineFailed, Interrupted, NoPython, PermissionRefused, WrongCall
from ipy_scriptenv.files import entries, explained, remove_tree
from ipy_scriptenv.interpreters import choose, host_python, inspect_python, newest_first
from ipy_scriptenv.kernels import shared_layers
from ipy_scriptenv.kernels.layer import ensure_layer, layer_digest
from ipy_scriptenv.kernels.wholeness import damaged_packages
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import Python, Source
from ipy_scriptenv.shared import why_not
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import site_packages

__all__ = ["SharedLayer", "SharedParts", "named_folder", "pythons_here", "share", "share_python"]

_FOLDER, _FILE = 0o755, 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLayer:
    """A kernel layer in the shared folder.

    :param action: ``created``, ``rebuilt`` where it was damaged or open to others, ``kept``,
        ``old`` for another version's that still stands, ``removed``
    """

    name: str
    path: Path
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    """What is in the shared folder now.

    :param wheels: names of the wheels whose byte code was asked for and is there
    :param problem: why users take nothing from it as it is; empty: they do
    """

    folder: Path
    layers: tuple[SharedLayer, ...]
    wheels: tuple[str, ...]
    problem: str


def named_folder() -> Path:
    """Give the shared folder that the policy names.

    :raises PolicyBroken: if the policy cannot be read
    :raises WrongCall: if it names none
    """
    named = policy.current().shared
    if named is None:
        msg = "The policy names no shared folder."
        hint = 'Write `shared = "/srv/scriptenv"` into it, or say --folder (docs/hub.md).'
        raise WrongCall(msg, hint=hint)
    return named.folder


def pythons_here(context: Context) -> tuple[Python, ...]:
    """Give one interpreter of each minor version that uv finds on this machine, and the host's."""
    context.store.prepare()
    found = {host_python().abi: host_python()}
    for each in newest_first(context.uv().pythons(configured=True)):
        with contextlib.suppress(NoPython):
            python = inspect_python(Path(each.path))
            found.setdefault(python.abi, python)
    return tuple(found.values())


def share_python(request: str, *, context: Context) -> Python:
    """Find the interpreter that is asked for, such as ``3.12``.

    :raises NoPython: if there is none
    """
    context.store.prepare()
    return choose(context.uv(), request=request, requires_python=None, configured=True)


def share(
    folder: Path,
    pythons: Iterable[Python],
    sources: Sequence[Source] = (),
    *,
    context: Context,
    remove_old: bool = False,
) -> SharedParts:
    """Put the kernel layers for *pythons* into the shared folder, and byte code for *sources*.

    :param sources: notebooks and scripts: their environments are completed in the caller's own
        home, and what is installed there is compiled for all
    :param remove_old: whether layers of other versions go; kernels of users may run on them
    :raises ScriptEnvError: if it cannot be done; what stands is whole all the same
    """
    shared = Store(folder)
    _prepare(shared)
    context.store.prepare()
    with exclusive(folder / ".lock", timeout=settings.lock_timeout()):
        _sweep(shared)
        wanted = {python.abi: python for python in pythons}
        wheels: set[str] = set()
        for source in sources:
            synced = sync(source, context=context)
            python = synced.record.python
            wanted.setdefault(python.abi, python)
            site = site_packages(synced.path, python)
            wheels.update(
                sharing.fill(shared, context.store.work, site, python, cancel=context.cancel)
            )
        layers = [_share_layer(shared, python, context) for python in wanted.values()]
        layers += _old(shared, {layer.name for layer in layers}, remove=remove_old)
    parts = [layer.path / "site-packages" for layer in layers]
    parts += [shared.bytecode / wheel for wheel in sorted(wheels)]
    there = filter(os.path.exists, parts)
    said = (why_not(shared.layers), *(why_not(part, whole=True) for part in there))
    problem = next(filter(None, said), None)
    return SharedParts(
        folder=folder,
        layers=tuple(layers),
        wheels=tuple(sorted(wheels)),
        problem="" if problem is None else problem,
    )


def _prepare(shared: Store) -> None:
    """Make the folders that are missing, for all to read.

    :raises PermissionRefused: if this user may not write there
    """
    with explained(shared.home):
        for folder in (shared.home, shared.layers, shared.bytecode):
            missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
            folder.mkdir(parents=True, exist_ok=True)
            for each in missing:
                each.chmod(_FOLDER)
    if not os.access(shared.layers, os.W_OK):
        msg = f"You may not write to `{shared.home}`."
        raise PermissionRefused(msg, hint="Only the account that it belongs to fills it.")


def _sweep(shared: Store) -> None:
    """Remove what a kill left; the caller holds the lock."""
    for folder in (shared.layers, shared.bytecode):
        for entry in entries(folder):
            if entry.name.startswith((".building-", ".replaced-", ".removed-")):
                remove_tree(Path(entry.path))


def _share_layer(shared: Store, python: Python, context: Context) -> SharedLayer:
    own = ensure_layer(context.store, context.uv(), python, own=True)
    target = shared.layers / own.name
    stood = os.path.lexists(target)
    if stood and _is_fit(target / "site-packages"):
        with contextlib.suppress(OSError):
            if (target / shared_layers.INFO).read_bytes() == _info(context.store, own.name):
                return SharedLayer(name=own.name, path=target, action="kept")
    build = shared.layers / f".building-{own.name}-{secrets.token_hex(4)}"
    try:
        with explained(build):
            _copy(context, context.store.layers / own.name, build, python, final=target)
            if stood:
                target.rename(shared.layers / f".replaced-{own.name}-{secrets.token_hex(4)}")
            build.rename(target)
    finally:
        remove_tree(build)
        _sweep(shared)
    return SharedLayer(name=own.name, path=target, action="rebuilt" if stood else "created")


def _is_fit(site: Path) -> bool:
    """Say whether packages are whole, and nobody else can write to any of them.

    What is wrong with the folders above is not mended by making them anew.
    """
    return not damaged_packages(site) and why_not(site, whole=True) == why_not(site)


def _info(store: Store, name: str) -> bytes:
    return (store.layers / name / shared_layers.INFO).read_bytes()


def _copy(context: Context, own: Path, build: Path, python: Python, *, final: Path) -> None:
    """Copy a layer of one's own, compile all of it for its final place, and let all read it.

    It is no link to anything of the administrator's, which might change under its users.
    """
    damaged = damaged_packages(own / "site-packages")
    if damaged:
        msg = f"Your own kernel layer `{own}` is damaged: {', '.join(damaged)}."
        raise EngineFailed(msg, hint="Mend it first: `jupyter scriptenv doctor --fix`.")
    without = shutil.ignore_patterns("__pycache__")
    # Until all is as it will be, others see nothing of it, whatever the umask.
    build.mkdir(mode=0o700)
    shutil.copytree(own, build, ignore=without, copy_function=shutil.copyfile, dirs_exist_ok=True)
    site, seen_at = build / "site-packages", final / "site-packages"
    # Users cannot keep what is compiled at their imports: there is nothing left to compile.
    argv = [python.base, "-I", "-S", "-m", "compileall", "-q", "-s", str(site), "-p", str(seen_at)]
    # What it says or how it ends is no matter: packages bring templates that are no Python.
    finished = processes.run(
        [*argv, str(site)],
        cwd=build,
        env=settings.child_environment(),
        cancel=context.cancel,
    )
    if finished.cancelled:
        msg = "Filling the shared folder was interrupted."
        raise Interrupted(msg)
    for path in (*build.rglob("*"), build):
        path.chmod(_FOLDER if path.is_dir() else _FILE)


def _old(shared: Store, present: set[str], *, remove: bool) -> list[SharedLayer]:
    """Find the layers of other versions, and remove them where that was asked for."""
    found = []
    for entry in entries(shared.layers):
        path = Path(entry.path)
        is_layer = entry.name[0] != "." and (path / shared_layers.INFO).is_file()
        if not is_layer or entry.name in present or entry.name.endswith(f"-{layer_digest()}"):
            continue
        if remove:
            gone = shared.layers / f".removed-{secrets.token_hex(8)}"
            with explained(path):
                path.rename(gone)
            remove_tree(gone)
        action = "removed" if remove else "old"
        found.append(SharedLayer(name=entry.name, path=path, action=action))
    return sorted(found, key=lambda layer: layer.name)
