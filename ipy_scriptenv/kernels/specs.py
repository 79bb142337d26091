"""Kernelspecs: one folder per source in the user's Jupyter data folder."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ipy_scriptenv.errors import Foreign
from ipy_scriptenv.files import entries, explained, remove_tree, write_atomically
from ipy_scriptenv.identity import EnvironmentName, kernelspec_name
from ipy_scriptenv.kernels.found_specs import (
    PROVISIONER,
    Spec,
    config_in,
    content_of,
    folders_alike,
    is_named_by,
    kernelspec_folder,
    kernelspecs_folder,
    ours,
    read,
)
from ipy_scriptenv.layout import LAUNCHER
from ipy_scriptenv.record import Source
from ipy_scriptenv.venvs import environment_python

__all__ = [
    "PROVISIONER",
    "Spec",
    "hand_on",
    "is_named_by",
    "kernelspec",
    "kernelspec_folder",
    "kernelspecs_folder",
    "leave_alias",
    "ours",
    "read",
    "register",
    "tidy",
    "unregister",
]

_LOGOS = ("logo-svg.svg", "logo-32x32.png", "logo-64x64.png")


def kernelspec(
    source: Source,
    environment: Path,
    *,
    curve: bool,
    title: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the content of ``kernel.json`` for a file.

    It works without the provisioner too: the interpreter is the environment's, and the launcher
    finds the record beside it. The display name holds no path, because it is saved into notebooks.

    :param curve: whether the kernel's ipykernel can encrypt its connections; a kernel that was
        promised it and cannot never becomes ready
    :param title: what the picker shows behind ``scriptenv:``; the file's name where left out
    :param config: how the provisioner is configured, such as the one that launches in its place
    """
    provisioner: dict[str, Any] = {"provisioner_name": PROVISIONER}
    if config:
        provisioner["config"] = dict(config)
    metadata: dict[str, Any] = {
        "debugger": True,
        "kernel_provisioner": provisioner,
        "scriptenv": {"source": source.path, "environment": str(environment)},
    }
    if curve:
        metadata["supported_encryption"] = ["curve"]
    return {
        "argv": [
            str(environment_python(environment)),
            str(environment / LAUNCHER),
            "-f",
            "{connection_file}",
        ],
        "display_name": f"scriptenv: {title or _file_name(source)}",
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": metadata,
    }


def register(name: EnvironmentName, source: Source, environment: Path, *, curve: bool) -> str:
    """Write a file's kernelspec if it is missing or differs; give its name.

    Where another source's file has the same name, both display names tell the folder too. How the
    user has configured the provisioner there stays.
    """
    found = content_of(kernelspec_folder(name))
    kept = config_in(found)
    written = kernelspec(source, environment, curve=curve, config=kept)
    if found is not None and _same_but_title(found, written):
        return kernelspec_name(name)
    before = read(kernelspec_folder(name))
    titles = _titles(name, source)
    title = titles.pop(name)
    written = kernelspec(source, environment, curve=curve, title=title, config=kept)
    _write(name, written)
    if before is not None and PurePath(before.source).name != _raw_name(source):
        titles |= _titles(name, None, file=PurePath(before.source).name)
    for other, title in titles.items():
        _retitle(other, title, beside=kernelspec_folder(name))
    return kernelspec_name(name)


def hand_on(name: EnvironmentName, config: Mapping[str, Any]) -> None:
    """Configure the provisioner in a source's kernelspec, if that does not say how yet.

    :param config: as in the kernelspec that its kernel was started by
    """
    folder = kernelspec_folder(name)
    found = content_of(folder)
    if not config or found is None or read(folder) is None or config_in(found):
        return
    found["metadata"]["kernel_provisioner"]["config"] = dict(config)
    _rewrite(name, found, beside=folder)


def unregister(name: EnvironmentName, *, trash: Path, retitle: bool = True) -> bool:
    """Remove the kernelspec of an environment, if it is ours; say whether it was there.

    :param trash: a folder of ours, out of which ``.removed-*`` is swept
    :param retitle: whether the name of another that told two files apart becomes short again
    """
    folder = kernelspec_folder(name)
    spec = read(folder)
    if spec is None:
        return False
    if retitle:
        with contextlib.suppress(OSError):
            for other, title in _titles(name, None, file=PurePath(spec.source).name).items():
                _retitle(other, title, beside=folder)
    with explained(folder):
        removed = trash / f".removed-{secrets.token_hex(8)}"
        try:
            # Whole or not at all, so that a kill leaves no half of it.
            folder.rename(removed)
        except OSError:
            # On another file system. Without this file it is no kernelspec any more.
            (folder / "kernel.json").unlink()
            removed = folder
    remove_tree(removed)
    return True


def tidy(name: EnvironmentName) -> None:
    """Remove what a kill left in the folder of an environment's kernelspec.

    The caller holds the environment's lock. A folder of ours without ``kernel.json`` is no
    kernelspec any more: it goes, with our logos.
    """
    folder = kernelspec_folder(name)
    if folder.is_symlink():
        return
    for entry in entries(folder):
        if entry.name.startswith((".kernel.json-", *(f".{logo}-" for logo in _LOGOS))):
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()
    left = {entry.name for entry in entries(folder)}
    if "kernel.json" not in left and left <= set(_LOGOS):
        remove_tree(folder)


def leave_alias(
    name: EnvironmentName,
    target: EnvironmentName,
    source: Source,
    environment: Path,
    *,
    trash: Path,
) -> None:
    """Deal with the kernelspec *name* of an environment that has become *target*.

    It goes, unless the notebook itself names it: then it starts the environment where that is now.

    :param trash: as for :func:`unregister`
    """
    found = content_of(kernelspec_folder(name))
    if found is None or read(kernelspec_folder(name)) is None:
        return
    if not is_named_by(source.path, name):
        unregister(name, trash=trash)
        return
    curve = bool(found["metadata"].get("supported_encryption"))
    title = f"{_file_name(source)} (before it was renamed)"
    config = config_in(found)
    written = kernelspec(source, environment, curve=curve, title=title, config=config)
    written["metadata"]["scriptenv"]["alias"] = target
    beside = kernelspec_folder(target)
    with explained(beside):
        beside.mkdir(parents=True, exist_ok=True)
    _rewrite(name, written, beside=beside)


def _same_but_title(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    shown = str(found.get("display_name"))
    plain = wanted["display_name"]
    has_title = shown == plain or (shown.startswith(f"{plain} (") and shown.endswith(")"))
    return has_title and {**found, "display_name": plain} == wanted


def _write(name: EnvironmentName, data: dict[str, Any]) -> None:
    folder = kernelspec_folder(name)
    if folder.is_symlink():
        msg = f"`{folder}` is a link; kernelspecs of ours never are."
        raise Foreign(msg)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for logo in _LOGOS:
            # The pictures come with the generic kernelspec; a kernel works without them.
            shipped = Path(sys.prefix, "share", "jupyter", "kernels", "scriptenv", logo)
            with contextlib.suppress(OSError):
                write_atomically(folder / logo, shipped.read_bytes(), mode=0o644)
        text = json.dumps(data, indent=1)
        write_atomically(folder / "kernel.json", text.encode(), mode=_mode(data))


def _retitle(name: EnvironmentName, title: str, *, beside: Path) -> None:
    """Give another's kernelspec its display name; *beside* is the folder of one's own."""
    data = content_of(kernelspec_folder(name))
    if data is not None and data.get("display_name") != f"scriptenv: {title}":
        _rewrite(name, {**data, "display_name": f"scriptenv: {title}"}, beside=beside)


def _rewrite(name: EnvironmentName, data: dict[str, Any], *, beside: Path) -> None:
    """Change a kernelspec that is there.

    :param beside: where it is written first: what a kill leaves there is found by the next start
    """
    path = kernelspec_folder(name) / "kernel.json"
    with explained(path):
        text = json.dumps(data, indent=1)
        write_atomically(path, text.encode(), mode=_mode(data), beside=beside)


def _mode(data: Mapping[str, Any]) -> int:
    """Say who may read a kernelspec: what a provisioner is configured with may be a secret."""
    return 0o644 if config_in(data) is None else 0o600


def _titles(
    name: EnvironmentName, source: Source | None, *, file: str | None = None
) -> dict[EnvironmentName, str]:
    """Give what tells the sources apart whose files have one name, by environment.

    :param source: what *name* is for; ``None`` where that goes
    """
    file = _raw_name(source) if source is not None else file
    paths: dict[EnvironmentName, PurePath] = {}
    # The names of equal files begin alike: only those are read.
    for spec in filter(None, map(read, folders_alike(name))):
        if not spec.alias and PurePath(spec.source).name == file:
            paths[spec.name] = PurePath(spec.source)
    if source is not None:
        paths[name] = PurePath(source.path or "")
    return _told_apart(paths)


def _told_apart(paths: dict[EnvironmentName, PurePath]) -> dict[EnvironmentName, str]:
    """Name each file by as many of its folders as tell it from the others."""
    found: dict[EnvironmentName, str] = {}
    depth, rest = 0, dict(paths)
    while rest:
        counts = Counter(path.parent.parts[-depth:] if depth else () for path in rest.values())
        for name, path in list(rest.items()):
            folders = path.parent.parts[-depth:] if depth else ()
            if counts[folders] == 1 or depth >= len(path.parent.parts):
                where = f" ({_shown(PurePath(*folders).as_posix())})" if folders else ""
                found[name] = _shown(path.name) + where
                del rest[name]
        depth += 1
        if depth == 1 and found:
            # It is alone with its name.
            return found
    return found


def _file_name(source: Source) -> str:
    return _shown(_raw_name(source))


def _raw_name(source: Source) -> str:
    return PurePath(source.path or "").name


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode() if not name.isprintable() else name
