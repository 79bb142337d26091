"""The kernelspecs that are there: whose they are, and what they say."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ipy_scriptenv.files import read_regular
from ipy_scriptenv.identity import EnvironmentName, is_environment_name, kernelspec_name

__all__ = [
    "PROVISIONER",
    "Spec",
    "config_in",
    "content_of",
    "folders_alike",
    "is_named_by",
    "kernelspec_folder",
    "kernelspecs_folder",
    "ours",
    "read",
]

PROVISIONER = "scriptenv-provisioner"
"""The entry point's name of our kernel provisioner."""

_PREFIX = "scriptenv-"
_LARGEST = 1 << 20
_LARGEST_NOTEBOOK = 2 << 30
"""Bytes of the largest file that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A kernelspec of ours that is there.

    :param name: of the environment that it was written for
    :param source: path or address that it names
    :param environment: path of the environment that it starts
    :param alias: whether the environment has another name by now
    """

    name: EnvironmentName
    folder: Path
    source: str
    environment: Path
    alias: bool


def kernelspec_folder(name: EnvironmentName) -> Path:
    """Where the kernelspec of an environment is or would be."""
    return kernelspecs_folder() / kernelspec_name(name)


def ours(
    without: frozenset[EnvironmentName] = frozenset(), *, shuffled: bool = False
) -> Iterator[Spec]:
    """Give every kernelspec of a source in the user's Jupyter folder that this package wrote.

    :param without: names that are passed over unread
    :param shuffled: whether in another order each time
    """
    folders = _folders()
    if shuffled:
        random.shuffle(folders)
    for folder in folders:
        known = folder.name.removeprefix(_PREFIX) in without
        spec = None if known else read(folder)
        if spec is not None:
            yield spec


def is_named_by(path: str | None, name: EnvironmentName) -> bool:
    """Say whether a notebook has the kernelspec of *name* saved as its kernel."""
    if path is None:
        return False
    try:
        data = json.loads(read_regular(path, limit=_LARGEST_NOTEBOOK))
        return bool(data["metadata"]["kernelspec"]["name"] == kernelspec_name(name))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return False


def kernelspecs_folder() -> Path:
    """Where the user's kernelspecs are."""
    return Path(jupyter_data_dir()) / "kernels"


def folders_alike(name: EnvironmentName) -> list[Path]:
    """List the other folders whose names differ from the one for *name* in the digest alone."""
    slug, mine = name.rpartition("-")[0], kernelspec_name(name)
    found = _folders(slug)
    return [each for each in found if len(each.name) == len(mine) and each.name != mine]


def _folders(words: str = "") -> list[Path]:
    """List the folders whose names begin as ours do, with *words* at the beginning of the slug."""
    folder = kernelspecs_folder()
    try:
        names = [name for name in os.listdir(folder) if name.startswith(_PREFIX + words)]
    except OSError:
        return []
    ours = (name for name in sorted(names) if is_environment_name(name.removeprefix(_PREFIX)))
    return [folder / name for name in ours]


def read(folder: Path) -> Spec | None:
    """Read a kernelspec, if it is one of ours; a folder that merely has such a name is not."""
    data = content_of(folder)
    try:
        if data is None or folder.is_symlink():
            return None
        told = data["metadata"]["scriptenv"]
        if data["metadata"]["kernel_provisioner"]["provisioner_name"] != PROVISIONER:
            return None
        return Spec(
            name=EnvironmentName(folder.name.removeprefix(_PREFIX)),
            folder=folder,
            source=str(told["source"]),
            environment=Path(told["environment"]),
            alias="alias" in told,
        )
    except (LookupError, TypeError):
        return None


def content_of(folder: Path) -> dict[str, Any] | None:
    """Read what a folder's ``kernel.json`` says, whoever wrote it; ``None`` if it says nothing."""
    try:
        data = json.loads(read_regular(folder / "kernel.json", limit=_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def config_in(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Give how the provisioner is configured in a kernelspec."""
    try:
        config = found["metadata"]["kernel_provisioner"]["config"] if found is not None else None
    except (LookupError, TypeError):
        return None
    return config if isinstance(config, dict) else None
