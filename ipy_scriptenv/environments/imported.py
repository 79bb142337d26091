"""Which distributions running kernels have imported, and which versions of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name

from ipy_scriptenv.kernels.layer import find_layer
from ipy_scriptenv.metadata import Declaration
from ipy_scriptenv.plan import Loaded
from ipy_scriptenv.record import OWN, Record
from ipy_scriptenv.store import Store
from ipy_scriptenv.venvs import site_packages

__all__ = ["importers", "requirements_on", "shadowed"]


class _Kernel(Protocol):
    @property
    def kernel(self) -> str: ...
    @property
    def loaded(self) -> Loaded: ...


def importers(site: Path, names: Iterable[str], imported: Iterable[str]) -> tuple[str, ...]:
    """Name the distributions among *names* of which something is imported.

    :param site: the folder of packages
    :param imported: paths of modules, relative to *site*, with forward slashes
    """
    loaded = set(imported)
    if not loaded:
        return ()
    return tuple(sorted(name for name in names if loaded & _files(site, name)))


def shadowed(store: Store, asker: _Kernel, record: Record) -> dict[str, str]:
    """Give the version that *asker* has loaded of each distribution that is now shadowed.

    It came from the layer, and is now the environment's own in another version.
    """
    if asker.kernel == OWN or not asker.loaded.layer:
        return {}
    layer = find_layer(store, asker.kernel)
    if layer is None:
        return {}
    differing = [
        package.name
        for package in record.packages
        if layer.packages.get(package.name, package.version) != package.version
    ]
    site = store.layers / asker.kernel / "site-packages"
    loaded = importers(site, differing, asker.loaded.layer)
    return {name: layer.packages[name] for name in loaded}


def requirements_on(
    path: Path, record: Record, declaration: Declaration | None, versions: Mapping[str, str]
) -> tuple[str, ...]:
    """Collect what the block, the lock and the installed distributions require of *versions*.

    With a lock, exactly the version that it led to is required.
    """
    if not versions:
        return ()
    from importlib import metadata

    texts = list(declaration.dependencies if declaration else ())
    if record.lock_sha256 is not None:
        texts += [
            f"{each.name}=={each.version}" for each in record.packages if each.name in versions
        ]
    site = site_packages(path, record.python)
    for found in metadata.distributions(path=[str(site)]):
        texts += found.requires or ()
    return tuple(texts)


def _files(site: Path, name: str) -> set[str]:
    for info in site.glob("*.dist-info"):
        if canonicalize_name(info.name.removesuffix(".dist-info").partition("-")[0]) == name:
            try:
                with (info / "RECORD").open(newline="", encoding="utf-8") as file:
                    return {row[0] for row in csv.reader(file) if row}
            except (OSError, csv.Error):
                return set()
    return set()
