"""Kernel layers that the machine's users share.

Each home has a small folder of its own for one: its ``layer.json``, which says where it is from,
and a link to its packages. So a record names a shared layer as it names any other, and kernels
find it in the same place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipy_scriptenv.files import read_regular, write_atomically
from ipy_scriptenv.kernels.wholeness import damaged_packages
from ipy_scriptenv.shared import SharedFolder, shared_folder

__all__ = ["INFO", "SHARED", "is_reference", "refer", "refusal", "still_stands"]

INFO = "layer.json"
SHARED = "shared"
"""Key of a layer's description: the shared folder that it is in."""

_PACKAGES = "site-packages"
_LARGEST = 1 << 20


def is_reference(layer: Path) -> bool:
    """Say whether a layer in a home stands for a shared one."""
    try:
        return SHARED in json.loads(read_regular(layer / INFO, limit=_LARGEST))
    except (OSError, ValueError, TypeError):
        return False


def still_stands(description: Mapping[str, Any], name: str) -> bool:
    """Say whether a layer, if it is a shared one, can still be used."""
    if SHARED not in description:
        return True
    folder = str(description[SHARED])
    shared = shared_folder(last=Path(folder))
    if shared is None or str(shared.store.home) != folder:
        return False
    layer = shared.store.layers / name
    return (layer / INFO).is_file() and shared.why_not(layer / _PACKAGES) is None


def refer(build: Path, name: str) -> Path | None:
    """Make what stands in a home for the shared layer of that name, if that is there and whole.

    :param build: where it is made; no such folder is there yet
    :returns: the folder made; ``None``: the home needs a layer of its own
    """
    shared = shared_folder()
    if shared is None or refusal(shared, name) is not None:
        return None
    layer = shared.store.layers / name
    description = {**json.loads(read_regular(layer / INFO, limit=_LARGEST))}
    description[SHARED] = str(shared.store.home)
    made = build / "ready"
    made.mkdir(parents=True, mode=0o700)
    (made / _PACKAGES).symlink_to(layer / _PACKAGES)
    write_atomically(made / INFO, json.dumps(description, indent=1).encode())
    return made


def refusal(shared: SharedFolder, name: str) -> str | None:
    """Say why the shared layer of that name is not used; ``None``: it is."""
    layer = shared.store.layers / name
    try:
        described = isinstance(json.loads(read_regular(layer / INFO, limit=_LARGEST)), dict)
    except FileNotFoundError:
        return f"The kernel layer `{name}` is not in it."
    except (OSError, ValueError) as error:
        return f"The kernel layer `{name}` in it cannot be read: {error}."
    why = shared.why_not(layer / _PACKAGES, whole=True)
    if why is None and (not described or damaged_packages(layer / _PACKAGES)):
        return f"The kernel layer `{name}` in it is damaged."
    return why
