"""The runtime environment by which a Ray cluster gets a notebook's packages."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from ..failing import wrong_call
from .shipment import Parcel, Shipment

__all__ = ["ENGINE", "INSTALLERS", "runtime_env"]

ENGINE = ("ray", "uv", "virtualenv")
"""What the nodes have already: Ray refuses to change itself, and makes environments with these."""

INSTALLERS = ("uv", "pip")
"""Ray's fields for packages."""

_WHEELS = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
"""Where Ray unpacks the working directory, before it installs packages."""


def runtime_env(
    shipment: Shipment, folder: str, *, installer: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Make what ``ray.init(runtime_env=…)`` takes.

    :param folder: where the shipment's wheels are, until the cluster has them; it goes if there
        are none
    :param installer: one of :data:`INSTALLERS`
    :param fields: what else the runtime environment is to hold
    :raises Failed: if a field says what only the notebook's block does
    """
    if installer not in INSTALLERS:
        raise wrong_call(f"Ray has no installer `{installer}`.", "Choose `uv` or `pip`.")
    own = [name for name in (*INSTALLERS, "conda") if name in fields]
    if own:
        raise wrong_call(
            f"`{own[0]}` would be beside the notebook's packages.",
            "Declare the packages in the notebook's block.",
        )
    wheels = [parcel for parcel in shipment.parcels if parcel.wheel is not None]
    if wheels and "working_dir" in fields:
        names = ", ".join(parcel.name for parcel in wheels)
        raise wrong_call(
            f"{names} cannot be installed from an index: their wheels travel in `working_dir`, "
            "which is given already.",
            "Leave `working_dir` out and give Ray the modules as `py_modules`, or put the "
            "packages on an index that the workers reach.",
        )
    if not wheels:
        shutil.rmtree(folder, ignore_errors=True)
    explicit = dict.fromkeys(each.index for each in shipment.parcels if each.index is not None)
    options = ["--no-deps", *shipment.indexes.options]
    more = [url for url in explicit if url not in options]
    options += [word for url in more for word in shipment.indexes.beside(url)]
    # The versions are pinned, and Ray asks for all of them at once.
    strategy = "unsafe-best-match" if explicit else shipment.indexes.strategy
    if strategy is not None and installer == "uv":
        options += ["--index-strategy", strategy]
    packages = [_guard(shipment), *map(_requirement, shipment.parcels)]
    # Both turn Ray's own options into ours, so what it gives by default is said again.
    words: dict[str, Any] = {"uv_pip_install_options": ["--no-cache", *options]}
    if installer == "pip":
        words = {"pip_check": False, "pip_install_options": [*_PIP, *options]}
    made: dict[str, Any] = {installer: {"packages": packages, **words}}
    return {**made, **({"working_dir": folder} if wheels else {}), **fields}


_PIP = ("--disable-pip-version-check", "--no-cache-dir")


def _requirement(parcel: Parcel) -> str:
    marker = "" if parcel.marker is None else f" ; {parcel.marker}"
    if parcel.wheel is None:
        return parcel.pin + marker
    return f"{_WHEELS}/{parcel.wheel}{marker}"


def _guard(shipment: Shipment) -> str:
    """Give a requirement that can be installed in no other Python, and says so by its name.

    Ray compares the Pythons of driver and cluster; a job that is submitted has its driver there.
    """
    python = shipment.python
    place = f"file:///the-notebook-runs-python-{python}-and-this-cluster-another.whl"
    return f"another-python @ {place} ; python_version != '{python}'"
