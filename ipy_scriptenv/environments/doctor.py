"""Find everything that can be wrong, explain it, and mend what can be mended."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, requires
from pathlib import Path

from jupyter_core.paths import jupyter_path
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ipy_scriptenv import policy
from ipy_scriptenv.environments.ailments import Finding, examine_environments, removal
from ipy_scriptenv.environments.building import uv_version
from ipy_scriptenv.environments.items import ItemKind
from ipy_scriptenv.environments.removing import remove_layer
from ipy_scriptenv.environments.shared_ailments import examine_shared
from ipy_scriptenv.environments.standing import Context
from ipy_scriptenv.environments.starting import start
from ipy_scriptenv.environments.superfluous import is_dead
from ipy_scriptenv.environments.unused import leftovers
from ipy_scriptenv.errors import ScriptEnvError
from ipy_scriptenv.files import is_gone
from ipy_scriptenv.identity import is_environment_name, kernelspec_name
from ipy_scriptenv.kernels import specs
from ipy_scriptenv.kernels.layer import damaged_packages, find_layer
from ipy_scriptenv.kernels.shared_layers import is_reference
from ipy_scriptenv.locks import exclusive
from ipy_scriptenv.record import SourceKind
from ipy_scriptenv.settings import lock_timeout
from ipy_scriptenv.uv import find_uv

__all__ = ["Finding", "examine", "mend"]

_LITTLE = 500_000_000
"""Bytes of free space below which a new environment may not fit."""


def examine(context: Context) -> list[Finding]:
    """Look at everything of ours; nothing is changed."""
    found: list[Finding] = []
    for look in (
        _home,
        _engine,
        _policy,
        _jupyter,
        # First: an environment that a kill took its name gets it again.
        _leftovers,
        _entries,
        examine_environments,
        _layers,
        examine_shared,
        _kernelspecs,
    ):
        try:
            found += look(context)
        except Exception as error:  # noqa: BLE001 - one thing that is odd hides no other
            what = look.__name__.removeprefix("examine").strip("_")
            message = f"Looking at the {what} failed: {error!r}."
            found.append(Finding(code="unforeseen", message=message, hint="Please report this."))
    return found


def mend(findings: Sequence[Finding], context: Context) -> list[str | None]:
    """Mend what can be mended; give for each why it could not be, ``None`` if it is.

    A finding counts as mended if another examination does not find it again.
    """
    outcomes = [_cured(finding) for finding in findings]
    still = {(each.code, each.path) for each in examine(context)}
    return [
        (why or "It is still so.") if (finding.code, finding.path) in still else None
        for finding, why in zip(findings, outcomes, strict=True)
    ]


def _cured(finding: Finding) -> str | None:
    if finding.cure is None:
        return finding.hint or "A person has to decide."
    try:
        finding.cure()
    except ScriptEnvError as error:
        return f"{error} {error.hint}".strip()
    except OSError as error:
        return str(error)
    return None


def _home(context: Context) -> Iterator[Finding]:
    """Folders that are not the user's alone, file systems without locks, a full disk."""
    store = context.store
    for folder in (store.home, *store.folders):
        try:
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
            message = f"`{folder}` is no folder of ours."
            hint = "Move it away; nothing works as long as it is there."
            yield Finding(code="foreign-folder", message=message, path=folder, hint=hint)
        elif hasattr(os, "getuid") and found.st_uid != os.getuid():
            message = f"`{folder}` belongs to another user."
            hint = "Choose a folder of your own with SCRIPTENV_HOME."
            yield Finding(code="foreign-folder", message=message, path=folder, hint=hint)
        elif os.name == "posix" and found.st_mode & (0o077 if store.is_own(folder) else 0o022):
            message = f"Others may enter `{folder}`."
            yield Finding(code="open-folder", message=message, path=folder, cure=store.prepare)
    if not store.home.is_dir():
        return
    free = shutil.disk_usage(store.home).free
    if free < _LITTLE:
        message = f"The disk of `{store.home}` is nearly full ({free / 1e6:.0f} MB are free)."
        hint = "Make room: `jupyter scriptenv prune --unused-for 30d`, `uv cache prune`."
        yield Finding(code="little-space", message=message, path=store.home, hint=hint)
    if not store.locks.is_dir():
        return
    try:
        with exclusive(store.lock("doctor"), timeout=1), contextlib.suppress(OSError):
            store.lock("doctor").unlink()
    except ScriptEnvError as error:
        yield Finding(code="no-locks", message=str(error), path=store.locks, hint=error.hint)


def _engine(_context: Context) -> Iterator[Finding]:
    try:
        find_uv()
        version = uv_version()
    except (ScriptEnvError, ImportError) as error:
        hint = "Install it again: `pip install --force-reinstall uv`."
        yield Finding(code="no-uv", message=str(error), hint=hint)
        return
    supported = _supported_uv()
    if not supported.contains(version, prereleases=True):
        message = f"uv {version} is installed; ipy-scriptenv was tried with uv{supported}."
        hint = f"`pip install 'uv{supported}'`"
        yield Finding(code="other-uv", message=message, hint=hint)


def _supported_uv() -> SpecifierSet:
    """Give the versions of uv that this package's own metadata asks for."""
    with contextlib.suppress(PackageNotFoundError):
        for text in requires("ipy-scriptenv") or ():
            requirement = Requirement(text)
            if requirement.name == "uv":
                return requirement.specifier
    return SpecifierSet()


def _policy(_context: Context) -> Iterator[Finding]:
    try:
        policy.current()
    except ScriptEnvError as error:
        yield Finding(code="broken-policy", message=str(error), hint=error.hint)


def _jupyter(_context: Context) -> Iterator[Finding]:
    """What Jupyter needs to find here: the generic kernelspec and the provisioner."""
    hint = "Install it again: `pip install --force-reinstall ipy-scriptenv`."
    places = [Path(folder) / "scriptenv" for folder in jupyter_path("kernels")]
    if not any((place / "kernel.json").is_file() for place in places):
        message = "Jupyter does not find the kernel `Python (scriptenv)`."
        yield Finding(code="no-kernelspec", message=message, hint=hint)
    group = entry_points(group="jupyter_client.kernel_provisioners")
    if specs.PROVISIONER not in group.names:
        message = "Jupyter does not find the provisioner of our kernels."
        yield Finding(code="no-provisioner", message=message, hint=hint)


def _entries(context: Context) -> Iterator[Finding]:
    """What stands among the environments and is none."""
    folder = context.store.environments
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if not is_environment_name(name) or not context.store.is_ours(path):
            message = f"`{path}` stands among the environments and is not ours."
            hint = "Move it away; it is never touched."
            yield Finding(code="foreign-entry", message=message, path=path, hint=hint)


def _layers(context: Context) -> Iterator[Finding]:
    store = context.store
    try:
        names = sorted(os.listdir(store.layers))
    except OSError:
        return
    for name in names:
        path = store.layers / name
        if name.startswith("."):
            continue
        is_layer = (path / "site-packages").is_dir() or is_reference(path)
        if path.is_symlink() or not is_layer:
            message = f"`{path}` stands among the kernel layers and is none."
            hint = "Move it away; it is never touched."
            yield Finding(code="foreign-entry", message=message, path=path, hint=hint)
            continue
        broken = find_layer(store, name) is None or damaged_packages(path / "site-packages")
        if broken:
            message = f"The kernel layer `{name}` is damaged."
            cure = _layer_renewal(context, name)
            yield Finding(code="broken-layer", message=message, path=path, cure=cure)


def _layer_renewal(context: Context, name: str) -> Callable[[], None]:
    def renew() -> None:
        remove_layer(name, context=context)
        for environment in context.store.names():
            record = context.store.record_of(environment)
            is_file = record is not None and record.source.kind is SourceKind.FILE
            if record is not None and is_file and record.kernel == name:
                start(record.source, context=context, wait=lock_timeout(), launching=False)

    return renew


def _kernelspecs(context: Context) -> Iterator[Finding]:
    for spec in specs.ours():
        if is_dead(context.store, spec) and is_gone(spec.environment):
            message = f"The kernelspec `{kernelspec_name(spec.name)}` starts nothing any more."
            cure = removal(context, ItemKind.KERNELSPEC, kernelspec_name(spec.name), spec.folder)
            yield Finding(code="dead-kernelspec", message=message, path=spec.folder, cure=cure)


def _leftovers(context: Context) -> Iterator[Finding]:
    for item in leftovers(context.store):
        message = f"A crash left `{item.path}`."
        cure = removal(context, item.kind, item.name, item.path)
        yield Finding(code="leftover", message=message, path=item.path, cure=cure)
