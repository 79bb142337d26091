"""``ipy_scriptenv.cluster`` as a kernel has it: the notebook's own packages, or another source's.

A host puts together what goes: it knows the lock, and it has uv, which builds wheels.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

from ..failing import Failed, named
from . import with_dask, with_ray, with_spark
from .shipment import Shipment

__all__ = ["ray_runtime_env", "scriptenv_plugin", "spark_conf"]


def scriptenv_plugin(source: Any = None, *, wheels: Sequence[str] = ()) -> Any:
    """Give the plugin by which a Dask cluster gets a notebook's packages.

    ``client.register_plugin(scriptenv_plugin())``: every worker, now and later, has the versions
    that are installed here.

    :param source: a notebook or script; default: this notebook
    :param wheels: names of packages that are sent as they are installed here, because workers do
        not reach where they came from
    """
    try:
        _require(source, "distributed", '"dask[distributed]"')
        shipment, folder = _shipped(source, wheels, with_dask.ENGINE)
        return with_dask.plugin(shipment, folder)
    except Failed as failed:
        raise named(failed) from None


def ray_runtime_env(
    source: Any = None, *, wheels: Sequence[str] = (), installer: str = "uv", **fields: Any
) -> dict[str, Any]:
    """Give the runtime environment by which a Ray cluster gets a notebook's packages.

    ``ray.init(runtime_env=ray_runtime_env())``.

    :param source: a notebook or script; default: this notebook
    :param wheels: as for :func:`scriptenv_plugin`
    :param installer: Ray's field, ``uv`` or ``pip``
    :param fields: what else the runtime environment is to hold, such as ``env_vars``
    """
    try:
        _require(source, "ray", '"ray"')
        shipment, folder = _shipped(source, wheels, with_ray.ENGINE)
        return with_ray.runtime_env(shipment, folder, installer=installer, fields=fields)
    except Failed as failed:
        raise named(failed) from None


def spark_conf(
    source: Any = None, *, archive: Any = None, with_python: bool | None = None
) -> dict[str, str]:
    """Give the settings by which Spark's executors get a notebook's environment.

    ``SparkSession.builder.config(map=spark_conf())``. ``PYSPARK_PYTHON`` is set in this process.

    :param source: a notebook or script; default: this notebook
    :param archive: where the environment is packed to, a ``.tar.gz``; default: a file that goes
        with this kernel
    :param with_python: whether the interpreter goes along; default: if uv has installed it
    """
    try:
        _require(source, "pyspark", '"pyspark"')
        shipment, folder = _shipped(source, (), with_spark.ENGINE)
        target = os.path.join(folder, f"{shipment.name}.tar.gz") if archive is None else archive
        return with_spark.conf(shipment, folder, archive=os.fspath(target), with_python=with_python)
    except Failed as failed:
        raise named(failed) from None


def _require(source: Any, module: str, dependency: str) -> None:
    """Make sure that this notebook has its engine.

    :raises Failed: if it has not
    """
    if source is None and importlib.util.find_spec(module) is None:
        raise with_dask.missing_engine(module, dependency)


def _shipped(source: Any, wheels: Sequence[str], engine: Sequence[str]) -> tuple[Shipment, str]:
    """Have a host put together what goes; give it, and the folder with its wheels.

    :raises Failed: with the host's error
    """
    from IPython import get_ipython

    from ..below import Below
    from ..kernel import ScriptEnvKernel

    folder = tempfile.mkdtemp(prefix="scriptenv-cluster-")
    # The cluster may ask for it as long as this kernel lives.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    request = {
        "op": "ship",
        "source": None if source is None else os.path.abspath(os.fspath(source)),
        "wheels": [wheels] if isinstance(wheels, str) else [*wheels],
        "engine": [*engine],
        "built": folder,
    }
    with Below(get_ipython()).working() as tell:
        answer = ScriptEnvKernel.completion.answered(request, tell)
    shipment = Shipment.from_dict(answer["shipment"])
    for sentence in shipment.warnings:
        warnings.warn(sentence, stacklevel=3)
    return shipment, folder
