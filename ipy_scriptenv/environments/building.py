"""Make environments: a new one beside the old, its record, and what goes into it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from ipy_scriptenv import __version__, policy
from ipy_scriptenv.environments.condition import Standing
from ipy_scriptenv.environments.standing import Context, deciding, now
from ipy_scriptenv.environments.wanted import Wanted
from ipy_scriptenv.errors import EnvironmentInUse, Problem, ScriptEnvError
from ipy_scriptenv.files import explained, read_regular, remove_tree, write_atomically
from ipy_scriptenv.kernels.layer import find_layer, supports_curve
from ipy_scriptenv.kernels.side import ensure_kernel_side, launcher
from ipy_scriptenv.kernels.specs import register, tidy, unregister
from ipy_scriptenv.layout import LAUNCHER
from ipy_scriptenv.locks import Held, RunningKernel
from ipy_scriptenv.record import OWN, Host, Python, Record, Source, SourceKind
from ipy_scriptenv.uv import find_uv
from ipy_scriptenv.venvs import site_packages

__all__ = [
    "building",
    "carried_over",
    "first_record",
    "furnish",
    "in_use",
    "kernel_can_encrypt",
    "publish",
    "this_host",
    "with_host",
]

_HOSTS_KEPT = 5


@contextlib.contextmanager
def building(context: Context, standing: Standing, python: Python, held: Held) -> Iterator[Path]:
    """Make an empty virtual environment beside the old one; what is not placed is removed."""
    store = context.store
    path = store.new_build(standing.name)
    try:
        with explained(path):
            context.uv(held).create(path, python=Path(python.base))
            path.chmod(0o700)
        yield path
    finally:
        if path.exists():
            remove_tree(path)


def first_record(
    context: Context, source: Source, python: Python, wanted: Wanted, *, kernel: str
) -> Record:
    """Describe an environment in which nothing is installed yet."""
    record = Record(
        source=source,
        python=python,
        block=wanted.recorded,
        source_stat=wanted.stat,
        kernel=kernel,
        kernel_side=ensure_kernel_side(context.store),
        hosts=(this_host(),),
        uv=uv_version(),
        created=now(),
        last_used=now(),
    )
    decides = deciding(source, wanted.block, python=python)
    if not wanted.requires_nothing:
        return replace(record, watch=decides.watch, settings=decides.settings)
    return replace(
        record,
        fingerprint=decides.fingerprint,
        lock_sha256=decides.lock_sha256,
        watch=decides.watch,
        settings=decides.settings,
    )


def carried_over(old: Record | None, new: Record) -> Record:
    """Give the record of an environment that is built anew what outlives its packages."""
    if old is None:
        return new
    return replace(new, created=old.created, hosts=with_host(old.hosts), register=old.register)


def furnish(context: Context, path: Path, record: Record) -> None:
    """Write launcher and record into an environment."""
    with explained(path):
        text = launcher()
        place = path / LAUNCHER
        if _content(place) != text:
            write_atomically(place, text)
    context.store.write_record(path, record)


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=1 << 20)
    except OSError:
        return None


def publish(context: Context, standing: Standing, record: Record) -> bool:
    """Write or remove the kernelspec of an environment; say whether its kernel can encrypt.

    Only files have one. A Jupyter folder that cannot be written costs the entry in the picker, not
    the kernel.
    """
    curve = kernel_can_encrypt(context, standing.path, record)
    # An earlier version wrote one for addresses too, where anybody could read their queries.
    is_file, is_address = (record.source.kind is kind for kind in (SourceKind.FILE, SourceKind.URL))
    if not is_file and not is_address:
        return curve
    try:
        tidy(standing.name)
        if is_file and record.register and policy.current().register:
            register(standing.name, record.source, standing.path, curve=curve)
        else:
            unregister(standing.name, trash=context.store.building)
    except (ScriptEnvError, OSError, ValueError) as error:
        context.on_event({"event": "warning", "text": str(error)})
    return curve


def kernel_can_encrypt(context: Context, path: Path, record: Record) -> bool:
    """Say whether the kernel of an environment can encrypt its connections."""
    if record.kernel == OWN:
        return supports_curve(site_packages(path, record.python))
    layer = find_layer(context.store, record.kernel)
    return layer is not None and layer.curve


def this_host() -> Host:
    """Describe the Python that runs this code."""
    return Host(python=sys.executable, version=__version__, uv=str(find_uv()))


def with_host(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    """Put this host first in a record's list."""
    here = this_host()
    others = [host for host in hosts if host.python != here.python]
    return (here, *others[: _HOSTS_KEPT - 1])


@cache
def uv_version() -> str:
    """Give the version of the uv in use, by the name of its metadata folder.

    `importlib.metadata` would load the parsers of mail for that, while a cell waits.
    """
    import uv

    folders = (Path(uv.__file__).parent.parent).glob("uv-*.dist-info")
    found = [folder.name.removesuffix(".dist-info").partition("-")[2] for folder in folders]
    if len(found) == 1:
        return found[0]
    from importlib.metadata import version

    return version("uv")


def in_use(
    name: str, others: list[RunningKernel], what: str = "must be rebuilt"
) -> EnvironmentInUse:
    """Say that kernels stand in the way of *what* is to happen to an environment."""
    processes = ", ".join(str(kernel.pid) for kernel in others)
    msg = f"The environment `{name}` {what}, and kernels run in it (process {processes})."
    return EnvironmentInUse(
        msg, problems=tuple(Problem(message=f"process {kernel.pid}") for kernel in others)
    )
