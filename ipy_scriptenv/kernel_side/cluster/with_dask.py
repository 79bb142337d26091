"""The plugin by which a Dask cluster gets a notebook's packages."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import Any

from ..failing import Failed, wrong_call
from .shipment import Shipment

__all__ = ["ENGINE", "plugin"]

ENGINE = ("dask", "distributed")
"""What the scheduler and the workers talk with: they have it already, in the same version."""

_MOST_BYTES = 64 * 2**20
"""Bytes of wheels that the scheduler keeps, and sends to each worker."""


def plugin(shipment: Shipment, folder: str) -> Any:
    """Make the plugin for ``client.register_plugin``.

    :param folder: where the shipment's wheels are; it goes, for the plugin holds them
    :raises Failed: if distributed is not here, or the wheels are too large
    """
    try:
        from .on_workers import ScriptEnvInstall
    except ImportError as error:
        raise missing_engine("distributed", '"dask[distributed]"', f" ({error})") from None
    packages = _packages(shipment, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return ScriptEnvInstall(
        {
            "source": shipment.source,
            "name": shipment.name,
            "environment": shipment.environment,
            "python": shipment.python,
            "engine": dict(shipment.engine),
            "indexes": shipment.indexes.options,
            "strategy": shipment.indexes.strategy,
            "packages": packages,
        }
    )


def missing_engine(module: str, dependency: str, words: str = "") -> Failed:
    """Make the failure of a call without its engine."""
    return wrong_call(
        f"`{module}` cannot be imported here{words}.",
        f"Declare it: add {dependency} to the dependencies in the notebook's block, in the "
        "version that the cluster has.",
    )


def _packages(shipment: Shipment, folder: str) -> list[dict[str, Any]]:
    found, total = [], 0
    for parcel in shipment.parcels:
        entry: dict[str, Any] = {
            "name": parcel.name,
            "version": parcel.version,
            "marker": parcel.marker,
            "index": None if parcel.index is None else shipment.indexes.alone(parcel.index),
        }
        if parcel.wheel is not None:
            with open(os.path.join(folder, parcel.wheel), "rb") as file:
                data = file.read()
            total += len(data)
            digest = hashlib.sha256(data).hexdigest()[:16]
            entry["wheel"] = {"file": parcel.wheel, "data": data, "digest": digest}
        found.append(entry)
    if total > _MOST_BYTES:
        raise wrong_call(
            f"The wheels of {shipment.source} are too large to be sent: {total >> 20} MiB, of "
            f"{_MOST_BYTES >> 20} that a scheduler is to keep.",
            "Put the large packages on an index that the workers reach, or into their image.",
        )
    return found
