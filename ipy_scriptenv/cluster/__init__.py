"""The same environment on a cluster: plugins and settings for Dask, Ray and Spark.

Here by source path, or in an environment that has this package. Kernels have the same three
functions under the same name, although nothing is installed there
(``kernel_side/cluster/asking.py``). Each engine is imported only where it is used.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipy_scriptenv import environments
from ipy_scriptenv.cluster.shipping import ship
from ipy_scriptenv.environments import Context
from ipy_scriptenv.errors import ScriptEnvError, WrongCall
from ipy_scriptenv.identity import EnvironmentName
from ipy_scriptenv.kernel_side.cluster import with_dask, with_ray, with_spark
from ipy_scriptenv.kernel_side.cluster.shipment import Shipment
from ipy_scriptenv.kernel_side.failing import Failed
from ipy_scriptenv.store import Store

__all__ = ["ray_runtime_env", "scriptenv_plugin", "spark_conf"]


def scriptenv_plugin(
    source: str | os.PathLike[str] | None = None, *, wheels: Sequence[str] = ()
) -> Any:
    """Give the plugin by which a Dask cluster gets a source's packages.

    ``client.register_plugin(scriptenv_plugin("analysis.ipynb"))``: every worker, now and later, has
    the versions that are installed in the source's environment, which is completed first.

    :param source: a notebook or script; default: the one in whose environment this process runs
    :param wheels: names of packages that are sent as they are installed there, because workers do
        not reach where they came from
    :raises ScriptEnvError: if the environment cannot be completed, something in it cannot travel,
        or distributed is not here
    """
    with _told():
        if source is not None and importlib.util.find_spec("distributed") is None:
            msg = "`distributed` cannot be imported here."
            raise WrongCall(msg, hint='Install it: `pip install "ipy-scriptenv[dask]"`.')
        shipment, folder = _shipped(source, wheels, with_dask.ENGINE)
        return with_dask.plugin(shipment, folder)


def ray_runtime_env(
    source: str | os.PathLike[str] | None = None,
    *,
    wheels: Sequence[str] = (),
    installer: str = "uv",
    **fields: Any,
) -> dict[str, Any]:
    """Give the runtime environment by which a Ray cluster gets a source's packages.

    ``ray.init(runtime_env=ray_runtime_env("analysis.ipynb"))``, or for a job that is submitted.

    :param source: as for :func:`scriptenv_plugin`, and so *wheels*
    :param installer: Ray's field, ``uv`` or ``pip``
    :param fields: what else the runtime environment is to hold, such as ``env_vars``
    :raises ScriptEnvError: as there
    """
    with _told():
        shipment, folder = _shipped(source, wheels, with_ray.ENGINE)
        return with_ray.runtime_env(shipment, folder, installer=installer, fields=fields)


def spark_conf(
    source: str | os.PathLike[str] | None = None,
    *,
    archive: str | os.PathLike[str] | None = None,
    with_python: bool | None = None,
) -> dict[str, str]:
    """Give the settings by which Spark's executors get a source's environment.

    ``SparkSession.builder.config(map=spark_conf("analysis.ipynb"))``. ``PYSPARK_PYTHON`` is set in
    this process.

    :param source: as for :func:`scriptenv_plugin`
    :param archive: where the environment is packed to, a ``.tar.gz``; default: a file that goes
        with this process
    :param with_python: whether the interpreter goes along; default: if uv has installed it
    :raises ScriptEnvError: as there
    """
    with _told():
        shipment, folder = _shipped(source, (), with_spark.ENGINE)
        target = Path(folder, f"{shipment.name}.tar.gz") if archive is None else archive
        return with_spark.conf(shipment, folder, archive=os.fspath(target), with_python=with_python)


def _shipped(
    source: str | os.PathLike[str] | None, wheels: Sequence[str], engine: Sequence[str]
) -> tuple[Shipment, str]:
    """Put together what goes; give it, and the folder with its wheels."""
    folder = tempfile.mkdtemp(prefix="scriptenv-cluster-")
    # The cluster may ask for it as long as this process lives.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    context, name = Context(), None
    if source is None:
        context, name = _own()
    shipment = ship(
        None if source is None else environments.locate(source),
        context=context,
        name=name,
        engine=engine,
        wheels=[wheels] if isinstance(wheels, str) else wheels,
        built=Path(folder),
    )
    for sentence in shipment.warnings:
        warnings.warn(sentence, stacklevel=3)
    return shipment, folder


def _own() -> tuple[Context, EnvironmentName]:
    """Give the environment in which this process runs, and the store that it is in.

    :raises WrongCall: if it is none of ours
    """
    path = Path(sys.prefix)
    store = Store(path.parent.parent)
    if path.parent != store.environments or store.read_record(path) is None:
        msg = "This process runs in no environment of ipy-scriptenv."
        raise WrongCall(msg, hint="Name the notebook or script whose packages the workers need.")
    return Context(store=store), EnvironmentName(path.name)


@contextmanager
def _told() -> Iterator[None]:
    """Raise every error as one of the host's, with its hint where Python shows it."""
    try:
        yield
    except Failed as failed:
        error: ScriptEnvError = WrongCall(str(failed), hint=str(failed.error["hint"]))
        error.add_note(error.hint)
        raise error from None
    except ScriptEnvError as error:
        if error.hint:
            error.add_note(error.hint)
        raise
